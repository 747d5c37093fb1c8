"""A study whose labels look like numbers, gaps, formulas and each other."""

import io
import json

import numpy as np
import pandas as pd
import pytest

import initopt_jax as iox
from initopt_jax.config.entries import InitializerConfig
from initopt_jax.planning.sweep import expand_initializers
from initopt_jax.store.csv_table import csv_text
from initopt_jax.studies.verify import verify

LABELS = [
    "1", "01", "NA", "None", "null", "nan", "True", "inf", "a", "a\r", " a", "a ", '""', "=SUM(A1)",
    "'=1", "x,y", "e\u0301", "\u00e9", "ad\u0430m", "adam", "</script>", "x" * 300,
]  # fmt: skip
RATES = {label: 0.001 * (place + 1) for place, label in enumerate(LABELS)}


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    config = {
        "name": "labels",
        "task": {"name": "test_function", "function": "himmelblau"},
        "initializers": [{"name": "grid", "label": "-1"}],
        "optimizers": [
            {"name": "gd", "learning_rate": rate, "label": label} for label, rate in RATES.items()
        ],
        "seeds": 4,
        "tuning": {"seeds": 0},
        "steps": 2,
    }
    return iox.open_study(iox.run(config, tmp_path_factory.mktemp("labels") / "study").dir)


def test_every_label_keeps_its_own_numbers(study):
    """The study is read from its folder: every table has the label that the config gave."""
    for table in (study.lanes, study.frame(), study.summary()):
        rates = table.groupby("optimizer", sort=False)["optimizer.learning_rate"].agg(list)
        assert {label: set(found) for label, found in rates.items()} == {
            label: {rate} for label, rate in RATES.items()
        }
        assert set(table["initializer"]) == {"-1"}
    costs = study.dataset["test_loss"].values.reshape(len(LABELS), -1)[:, 0]
    best = study.summary().set_index("optimizer")
    assert best.index.tolist() == LABELS
    assert len(set(costs)) == len(LABELS)


def test_the_config_in_the_manifest_has_them_too(study):
    labels = [entry["label"] for entry in study.manifest["config"]["optimizers"]]
    assert labels == LABELS == [entry.label for entry in study.config.optimizers]
    json.loads((study.dir / "manifest.json").read_bytes())


def test_summary_csv_is_safe_for_spreadsheets(study, full_reports):
    study.report()
    content = (study.dir / "summary.csv").read_bytes()
    table = pd.read_csv(io.BytesIO(content), dtype={"optimizer": str}, keep_default_na=False)
    assert table["optimizer"].tolist() == [csv_text(label) for label in LABELS]
    assert {"'=SUM(A1)", "''=1"} <= set(table["optimizer"])
    np.testing.assert_allclose(table["optimizer.learning_rate"], list(RATES.values()), rtol=1e-8)


def test_it_can_be_verified_and_goes_on(study):
    assert verify(study.dir, sample=4).exit_code == 0
    again = iox.run(study.config, study.dir)
    pd.testing.assert_frame_equal(again.lanes, study.lanes)


def test_values_that_six_digits_do_not_tell_apart_have_labels_of_their_own():
    for values, written in (([0.1, 0.1000001], ["0.1", "0.1000001"]), ([0.25, 1.0], ["0.25", "1"])):
        cells = expand_initializers(
            [InitializerConfig.model_validate({"name": "normal", "stddev": values})]
        )
        assert [cell.label for cell in cells] == [f"normal(stddev={text})" for text in written]
