"""The default experiment: its verdicts on made-up numbers, and a small real run."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from experiments import effects
from initopt_jax.reports.charts.results import make_results
from initopt_jax.stats import Interval, StudyInfo

INITIALIZERS = (
    "zeros",
    "constant(value=0.1)",
    "normal(stddev=0.01)",
    "normal(stddev=1)",
    "glorot_uniform",
)
ACCURACY = (0.10, 0.25, 0.96, 0.90, 0.98)
MEAN_LOSS = (2.3, 2.0, 1.2, 1.5, 0.5)
START = (2.3, 2.3, 2.3, 12.0, 2.5)

CONFIG = """
name: small_effects
task: {name: classification, dataset: digits, batch_size: 64}
model: {name: mlp, hidden: [16, 16], activation: tanh}
initializers: [zeros, {name: normal, stddev: [0.01, 1.0]}, glorot_uniform]
optimizers:
  - {name: sgd, learning_rate: [0.03, 0.1]}
  - {name: momentum, learning_rate: [0.03], decay: 0.9}
seeds: 10
tuning: {seeds: 3, metric: val_loss}
steps: 300
eval_every: 30
"""


def made_up(**changes: Any):
    """Five initializers with sgd and momentum at one rate, six seeds, as theory expects them."""
    found = {"accuracy": ACCURACY, "mean": MEAN_LOSS, "start": START, "norm": 0.0, "faster": 0.3}
    found |= changes
    rows, columns = [], {"score": [], "start": [], "end": [], "norm": []}
    for place, label in enumerate(INITIALIZERS):
        for optimizer in ("sgd", "momentum"):
            for seed in range(6):  # equal differences tell of no spread below six
                rows.append(
                    {
                        "cell": 2 * place + (optimizer == "momentum"),
                        "role": "report",
                        "initializer": label,
                        "optimizer": optimizer,
                        "optimizer.learning_rate": 0.03,
                        "optimizer.batch_size": 64,
                        "init_seed": seed,
                        "data_seed": seed,
                        "noise_seed": seed,
                    }
                )
                gain = found["faster"] * (optimizer == "momentum")
                # Seeds differ by a little, and the two optimizers in opposite directions.
                jitter = 0.002 * (-1.0) ** (seed + (optimizer == "momentum"))
                jitter *= label != "zeros"
                columns["score"].append(found["accuracy"][place] + jitter)
                columns["start"].append(found["start"][place] + jitter)
                end = 2 * (found["mean"][place] - gain + jitter) - found["start"][place]
                columns["end"].append(end)
                columns["norm"].append(found["norm"] if label == "zeros" else 1.0)
    lanes = pd.DataFrame(rows).rename_axis("lane")
    many, curve = len(lanes), ("lane", "eval")
    loss = np.stack([columns["start"], columns["end"]], axis=1)
    step = np.tile([0.0, 300.0], (many, 1))
    dataset = xr.Dataset(
        {
            "step": (curve, step),
            "examples_seen": (curve, step * 64),
            "train_loss": (curve, loss),
            "val_loss": (curve, loss),
            "test_accuracy": (("lane",), np.array(columns["score"])),
            "diverged": (("lane",), np.zeros(many, bool)),
            "weight_norm": (
                ("lane", "eval", "leaf"),
                np.repeat(np.array(columns["norm"])[:, None, None], 2, 1),
            ),
        },
        {"lane": lanes.index.to_numpy(), "leaf": ["dense_0/kernel"]},
    )
    info = StudyInfo("made_up", "classification", "digits", "mlp", chance=0.11)
    return make_results(dataset, lanes, info)


def verdicts(results) -> dict[str, str]:
    return {claim.__name__: claim(results).verdict for claim in effects.CLAIMS}


def test_every_claim_holds_where_theory_does():
    assert set(verdicts(made_up()).values()) == {"holds"}


@pytest.mark.parametrize(
    ("claim", "changes"),
    [
        ("zeros_stay_zero", {"norm": 1e-6}),
        ("zeros_learn_nothing", {"accuracy": (0.12, *ACCURACY[1:])}),
        ("equal_weights_cost_accuracy", {"accuracy": (0.1, 0.99, *ACCURACY[2:])}),
        ("small_weights_start_slowly", {"mean": (2.3, 2.0, 0.4, 1.5, 0.5)}),
        ("large_weights_start_high", {"start": (2.3, 2.3, 2.3, 2.0, 2.5)}),
        ("momentum_is_faster", {"faster": -0.3}),
    ],
)
def test_each_claim_fails_alone_where_its_numbers_do(claim, changes):
    found = verdicts(made_up(**changes))
    assert {name for name, verdict in found.items() if verdict == "fails"} == {claim}


def test_an_interval_around_zero_decides_nothing():
    assert effects.judged(Interval(0.1, -0.1, 0.3, 5)) == "undecided"
    assert effects.judged(Interval(0.1, np.nan, np.nan, 1)) == "undecided"
    assert verdicts(made_up(faster=0.0))["momentum_is_faster"] == "undecided"


def test_only_a_fast_run_may_leave_claims_undecided():
    claims = [effects.Claim("", "", "holds"), effects.Claim("", "", "undecided")]
    assert effects.passed(claims, fast=True)
    assert not effects.passed(claims, fast=False)
    assert not effects.passed([effects.Claim("", "", "fails")], fast=True)
    assert effects.passed([effects.Claim("", "", "not in this study")], fast=False)


def test_a_study_without_the_initializers_claims_nothing():
    results = made_up()
    lanes = results.lanes[results.lanes["initializer"] == "glorot_uniform"]
    part = make_results(results.dataset.sel(lane=lanes.index), lanes, results.info)
    found = verdicts(part)
    assert found.pop("momentum_is_faster") == "holds"
    assert set(found.values()) == {"not in this study"}


def test_fast_run_answers_and_reports(working_dir: Path, capsys: pytest.CaptureFixture[str]):
    config = working_dir / "small_effects.yaml"
    config.write_text(CONFIG)
    assert effects.main(["--fast", "--config", str(config)]) == 0
    shown = " ".join(capsys.readouterr().out.split())  # lines wrap at the console's width
    assert "What theory says" in shown
    assert "Every kernel stayed exactly zero" in shown
    assert (working_dir / "runs" / "small_effects_fast" / "report.html").is_file()
