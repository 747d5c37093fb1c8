"""What do initialization and optimization do to learning? The default study, answered in words.

Command: `python -m experiments.effects [--fast] [--out DIR] [--config PATH]`
Cost: a few minutes on two CPU cores; with `--fast` (fewer seeds and steps) about a minute.
Result to expect: the tuned table of initializers and optimizers, one sentence per finding with its
interval, and a list of claims that theory makes about such networks, each with what was measured:

- weights that start at zero stay there, and such networks learn nothing from their inputs;
- weights that all start equal keep the units of a layer equal, which costs accuracy;
- very small weights make a slow start for plain SGD, very large ones a start with a high cost;
- momentum is faster than plain SGD at the same small learning rate.

Exit code 0 if every claim holds; 1 if one fails, or cannot be decided by a full run.
Taking the command up again after an interruption resumes the study.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

import initopt_jax
from initopt_jax.reports.charts import captions
from initopt_jax.reports.charts.numbers import score
from initopt_jax.reports.charts.results import Results, make_results
from initopt_jax.reports.page.tables import best_table
from initopt_jax.stats import Interval, compare_cells
from initopt_jax.stats.cells import RATE

FAST = ("seeds=2", "tuning.seeds=1", "steps=60", "eval_every=30")
CONFIG = Path(__file__).resolve().parents[1] / "configs" / "effects_digits.yaml"
REFERENCE = "glorot_uniform"

Verdict = Literal["holds", "undecided", "fails", "not in this study"]


@dataclass(frozen=True)
class Claim:
    """What theory says, what was measured, and whether the two agree."""

    statement: str
    measured: str
    verdict: Verdict


def judged(interval: Interval) -> Verdict:
    """Whether a difference that should be positive is: by its interval, not by its mean.

    >>> judged(Interval(1.0, 0.5, 1.5, 10)), judged(Interval(1.0, -0.5, 2.5, 10))
    ('holds', 'undecided')
    """
    if interval.low > 0:
        return "holds"
    return "fails" if interval.high < 0 else "undecided"


def described(interval: Interval, unit: str) -> str:
    """A difference with its interval and the number of seeds behind it."""
    bounds = f" [{interval.low:+.3f}, {interval.high:+.3f}]" if np.isfinite(interval.low) else ""
    return f"{interval.mean:+.3f}{bounds} {unit} over {interval.n} seeds"


# --- the claims ---------------------------------------------------------------------------------


def zeros_stay_zero(results: Results) -> Claim:
    """With tanh and zero weights each kernel's gradient is a product with a zero factor."""
    statement = "Kernels that start at zero stay exactly zero, whatever the optimizer"
    cells = results.summary.index[results.summary["initializer"] == "zeros"]
    if not len(cells) or "weight_norm" not in results.dataset:
        return Claim(statement, "", "not in this study")
    kernels = [leaf for leaf in results.dataset["leaf"].values if str(leaf).endswith("kernel")]
    lanes = results.finals.index[results.finals["cell"].isin(cells)]
    norms = results.dataset["weight_norm"].sel(lane=lanes, leaf=kernels).values
    largest = float(np.nanmax(norms, initial=0.0))
    measured = f"largest norm of {len(kernels)} kernels in {len(lanes)} networks: {largest:g}"
    return Claim(statement, measured, "holds" if largest == 0 else "fails")


def zeros_learn_nothing(results: Results) -> Claim:
    """Only the last bias moves, so the prediction is the same for every input."""
    statement = "Networks that start at zero score no more than a prediction that ignores its input"
    info, metric = results.info, results.metric
    lanes = results.finals[results.finals["initializer"] == "zeros"]
    values = lanes.loc[lanes["role"] == "report", metric].dropna()
    if values.empty or info.chance is None:
        return Claim(statement, "", "not in this study")
    # A score is a float32 count over the test examples: equality up to its rounding.
    above = int((values > info.chance + 1e-6).sum())
    measured = (
        f"highest of {len(values)} networks: {score(float(values.max()), metric)}; "
        f"possible without the input: {score(info.chance, metric)}"
    )
    return Claim(statement, measured, "fails" if above else "holds")


def equal_weights_cost_accuracy(results: Results) -> Claim:
    """Units that start equal get equal gradients: each layer stays as narrow as one unit."""
    label = first_label(results, "constant", "ones")
    statement = f"Equal weights ({label or 'constant'}) end below {REFERENCE}, both at their best"
    ranked = captions.ranking(results)
    best = {name: ranked.loc[ranked["initializer"] == name, "cell"] for name in (REFERENCE, label)}
    if label is None or any(cells.empty for cells in best.values()):
        return Claim(statement, "", "not in this study")
    better, worse = (int(best[name].iloc[0]) for name in (REFERENCE, label))
    gap = compare_cells(results.finals, better, worse, results.metric)
    return Claim(statement, described(gap, f"in test {results.info.primary}"), judged(gap))


def small_weights_start_slowly(results: Results) -> Claim:
    """Gradients reach a layer through its neighbours' weights, and are scaled down with them."""
    label = first_label(results, "normal(stddev=0.01")
    name = label or "normal(stddev=0.01)"
    statement = f"At the sgd rate tuned for {REFERENCE}, {name} learns more slowly under sgd"
    rate = tuned_rate(results, REFERENCE, "sgd")
    quick, slow = (find_cell(results, name, "sgd", rate) for name in (REFERENCE, label))
    if quick is None or slow is None:
        return Claim(statement, "", "not in this study")
    gap = compare_cells(results.finals, slow, quick, "mean_loss")
    return Claim(statement, described(gap, "in the mean loss of the run"), judged(gap))


def large_weights_start_high(results: Results) -> Claim:
    """Large weights give large, arbitrary outputs: confident mistakes."""
    label = first_label(results, "normal(stddev=1")
    statement = f"{label or 'Large normal'} starts at a higher cost than {REFERENCE}"
    cells = [
        results.best.loc[results.best["initializer"] == name, "cell"] for name in (label, REFERENCE)
    ]
    if any(found.empty for found in cells):
        return Claim(statement, "", "not in this study")
    gap = first_loss_gap(results, *(int(found.iloc[0]) for found in cells))
    return Claim(statement, described(gap, "in the loss before training"), judged(gap))


def momentum_is_faster(results: Results) -> Claim:
    """Far below the stable limit, momentum beta acts as a 1 / (1 - beta) times larger rate."""
    statement = f"From {REFERENCE}, momentum learns faster than sgd at the same small learning rate"
    rates = [
        set(results.summary.loc[results.summary["optimizer"] == name, RATE].dropna())
        if RATE in results.summary
        else set()
        for name in ("momentum", "sgd")
    ]
    shared = sorted(rates[0] & rates[1])
    rate = shared[0] if shared else None
    quick, slow = (find_cell(results, REFERENCE, name, rate) for name in ("momentum", "sgd"))
    if quick is None or slow is None:
        return Claim(statement, "", "not in this study")
    gap = compare_cells(results.finals, slow, quick, "mean_loss")
    told = described(gap, f"in the mean loss of the run at rate {rate:g}")
    return Claim(statement, told, judged(gap))


CLAIMS: tuple[Callable[[Results], Claim], ...] = (
    zeros_stay_zero,
    zeros_learn_nothing,
    equal_weights_cost_accuracy,
    small_weights_start_slowly,
    large_weights_start_high,
    momentum_is_faster,
)


def first_label(results: Results, *starts: str) -> str | None:
    """The first initializer whose label begins with one of some words."""
    return next((label for label in results.initializers if label.startswith(starts)), None)


def tuned_rate(results: Results, initializer: str, optimizer: str) -> float | None:
    """The learning rate chosen for a pair."""
    best = results.best
    rows = best[(best["initializer"] == initializer) & (best["optimizer"] == optimizer)]
    return float(rows[RATE].iloc[0]) if len(rows) and RATE in rows else None


def find_cell(
    results: Results, initializer: str | None, optimizer: str, rate: float | None
) -> int | None:
    """The first cell of a pair at a learning rate."""
    if initializer is None or rate is None:
        return None
    table = results.summary
    same = (table["initializer"] == initializer) & (table["optimizer"] == optimizer)
    cells = table.index[same & (table[RATE] == rate)]
    return int(cells[0]) if len(cells) else None


def first_loss_gap(results: Results, higher: int, lower: int) -> Interval:
    """The paired difference of two cells' training losses before the first step."""
    start = pd.Series(
        results.dataset["train_loss"].values[:, 0].astype(np.float64),
        results.dataset["lane"].values,
    )
    finals = results.finals.assign(start=start)
    return compare_cells(finals, higher, lower, "start")


# --- what is printed ----------------------------------------------------------------------------


def show(results: Results, claims: Sequence[Claim], console: Console) -> None:
    """Print the tuned table, the answers and the claims."""
    found = best_table(results.best, results.lanes, results.info)
    table = Table(*found.headings, title="Every pair at its tuned setting, on fresh seeds")
    for row in found.rows:
        table.add_row(*(entry.text for entry in row))
    console.print(table)
    answers = {
        "The study": [captions.scale_sentence(results), captions.best_sentence(results)],
        "Which optimizer for which initializer?": captions.comparison_sentences(results),
        "Which initializer for which optimizer?": captions.comparison_sentences(
            results, by="optimizer"
        ),
        "What do equal starting weights do?": captions.constant_sentences(results),
        "What does speed cost in accuracy?": captions.speed_sentences(results),
        "What diverged?": captions.divergence_sentences(results),
        "Was the grid wide enough?": [
            captions.edge_sentence(results) or "No chosen rate was at an edge."
        ],
    }
    for heading, sentences in answers.items():
        if sentences:
            console.print(f"\n{heading}", style="bold", markup=False, highlight=False)
            for sentence in sentences:
                console.print(f"  {sentence}", markup=False, highlight=False)
    verdicts = Table("claim", "measured", "verdict", title="\nWhat theory says")
    colors = {"holds": "green", "fails": "red", "undecided": "yellow"}
    for claim in claims:
        verdicts.add_row(
            claim.statement, claim.measured, claim.verdict, style=colors.get(claim.verdict)
        )
    console.print(verdicts)


def passed(claims: Sequence[Claim], *, fast: bool) -> bool:
    """Whether no claim failed; a full run must also decide each (a fast one has too few seeds)."""
    wrong = {"fails"} if fast else {"fails", "undecided"}
    return not any(claim.verdict in wrong for claim in claims)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m experiments.effects", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--fast", action="store_true", help="two seeds and sixty steps")
    made.add_argument("--out", type=Path, help="the study's folder (default: runs/<name>)")
    made.add_argument("--config", type=Path, default=CONFIG, help="another study's config")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, print its answers, and judge the claims."""
    options = parser().parse_args(arguments)
    out = options.out or Path("runs") / (options.config.stem + ("_fast" if options.fast else ""))
    study = initopt_jax.run(options.config, out=out, overrides=FAST if options.fast else ())
    results = make_results(study.dataset.load(), study.lanes, study.info)
    claims = [claim(results) for claim in CLAIMS]
    console = Console()
    show(results, claims, console)
    console.print(f"\nReport: {study.dir / 'report.html'}", markup=False, highlight=False)
    return 0 if passed(claims, fast=options.fast) else 1


if __name__ == "__main__":
    sys.exit(main())
