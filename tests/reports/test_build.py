"""The whole report, on full-size and on odd studies."""

import io
import re
from html.parser import HTMLParser

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from initopt_jax import reports
from initopt_jax.reports.charts.results import make_results
from initopt_jax.reports.page.assemble import figures

ALL = {
    "heatmap",
    "speed_accuracy",
    "learning_curves",
    "learning_curves_examples",
    "learning_rate",
    "weight_norms",
}

ODD = {
    "one_by_one": ({"initializers": 1, "optimizers": 1}, ALL - {"learning_curves_examples"}),
    "regression": (
        {"initializers": 2, "optimizers": 3, "regression": True},
        ALL - {"learning_curves_examples"},
    ),
    "no_target_no_sweep_one_seed": (
        {
            "initializers": 3,
            "optimizers": ["gd", "adam"],
            "rates": 1,
            "seeds": 1,
            "tuning": 0,
            "target": False,
        },
        ALL - {"speed_accuracy", "learning_rate"},
    ),
    "all_diverged": (
        {"initializers": 3, "optimizers": ["gd", "adam"], "diverge_all": True},
        ALL - {"speed_accuracy"},
    ),
    "no_probe": (
        {"initializers": 2, "optimizers": 2, "probe": False},
        ALL - {"weight_norms", "learning_curves_examples"},
    ),
}


class Ids(HTMLParser):
    """Element ids, and every address that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        if tag in {"script", "img", "link", "iframe"}:
            self.fetched += [found[name] for name in ("src", "href") if name in found]


def visible(html: str) -> str:
    return re.sub(r"(?s)<script>.*?</script>|<style>.*?</style>|<[^>]+>", " ", html)


@pytest.fixture(scope="module")
def full(make_study):
    return reports.build(*make_study(seeds=4, tuning=2, evals=5))


def test_full_report_has_every_figure_in_both_formats(full):
    expected = {f"figures/{name}.{ending}" for name in ALL for ending in ("png", "pdf")}
    assert set(full) == expected | {"summary.csv", "report.html"}
    for path, content in full.items():
        if path.endswith(".png"):
            image = Image.open(io.BytesIO(content))
            pixels = np.asarray(image.convert("L"))
            assert min(image.size) > 300
            # Nothing is cut off: the outermost pixels are paper.
            edges = [pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]]
            assert all((edge == 255).all() for edge in edges), path
            assert (pixels < 128).any()
        if path.endswith(".pdf"):
            assert content.startswith(b"%PDF")
            assert b"CreationDate" not in content


def test_html_is_one_file_that_fetches_nothing(full):
    html = full["report.html"].decode()
    page = Ids()
    page.feed(html)
    assert page.fetched == []
    assert set(page.ids) >= ALL
    assert "Plotly.newPlot(name" in html
    assert html.count("plotly.js v") >= 1
    assert "NaN" not in html.rpartition("const figures = ")[2].partition(";\nfor")[0]


def test_summary_csv_has_a_row_per_cell(full, make_study):
    frame = pd.read_csv(io.BytesIO(full["summary.csv"]))
    _, lanes, _ = make_study(seeds=4, tuning=2, evals=5)
    assert len(frame) == lanes["cell"].nunique() == 224
    assert frame["tuned"].sum() == 56
    assert list(frame.columns[:5]) == ["cell", "tuned", "at_edge", "initializer", "optimizer"]
    row = frame[frame["cell"] == 141].iloc[0]
    own = lanes[lanes["cell"] == 141].iloc[0]
    assert row["optimizer.learning_rate"] == own["optimizer.learning_rate"]
    assert row["n_seeds"] == 4
    assert {"test_accuracy_mean", "test_accuracy_low", "steps_to_target_median"} <= set(frame)


@pytest.mark.parametrize("case", ODD, ids=list(ODD))
def test_odd_studies(make_study, case):
    options, expected = ODD[case]
    files = reports.build(*make_study(**options))
    assert {path[8:-4] for path in files if path.endswith(".png")} == expected
    text = visible(files["report.html"].decode())
    assert not re.search(r"\bnan\b|\binf\b", text)


def test_equal_studies_give_equal_bytes_and_leave_matplotlib_alone(make_study):
    study = make_study(2, 2, 2, 3, 1, evals=4)
    before = dict(mpl.rcParams)
    first, second = reports.build(*study), reports.build(*study)
    assert first == second
    assert dict(mpl.rcParams) == before


def test_many_labels_wrap_into_new_styles_without_failing(make_study):
    dataset, lanes, info = make_study(1, 7, 2, 2, 1, evals=3)
    # Twelve initializers out of one: labels beyond the palette must stay apart.
    parts = []
    for number in range(12):
        part = lanes.copy()
        part["initializer"] = f"a_rather_long_initializer_name_{number}"
        part["cell"] += number * lanes["cell"].nunique()
        parts.append(part)
    many = pd.concat(parts, ignore_index=True).rename_axis("lane")
    wide = dataset.isel(lane=np.tile(np.arange(len(lanes)), 12))
    results = make_results(wide.assign_coords(lane=many.index.to_numpy()), many, info)
    assert len(set(results.initializer_styles.values())) == 12
    for shown in figures(results):
        assert shown.caption


def test_labels_are_escaped(make_study):
    dataset, lanes, info = make_study(1, 1, 1, 2, 0, evals=3)
    hostile = "<script>alert(1)</script>"
    html = reports.build(dataset, lanes.assign(initializer=hostile), info)["report.html"].decode()
    assert hostile not in html
    assert "&lt;script&gt;alert(1)" in html
