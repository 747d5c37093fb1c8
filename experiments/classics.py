"""Where do optimizers stand on the classic test functions of two variables, and where does yours?

Command: `python -m experiments.classics [--fast] [--with module:transform ...] [--rates 0.01,0.1]
[--functions himmelblau,ravine] [--out DIR]`
Cost: about two minutes on two CPU cores; with `--fast` (few optimizers, rates, starts and steps)
half a minute for all functions.
Result to expect: a study per function, with a map, an animation and a report in its folder, and one
page `index.html` that compares the optimizers over all functions: a table of places, performance
profiles, and a sentence on each transform given by `--with`.

All optimizers get the same starts, the same number of steps and the same learning rates to choose
from. Each chooses its rate per function on random starts of their own: the one that brings most of
them to the target, then the one that does it in fewest steps. What is compared are the steps from
the starts of a grid at the chosen rate. A problem is one function with one start.

Exit code 0 if done, 2 if the input is wrong, 3 if stopped (the same command resumes).
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import initopt_jax
from experiments.classics_page import NEAR, Entrant, Field, page, place_text, sentences
from initopt_jax.errors import ConfigError, Interrupted, StudyError, unknown_name
from initopt_jax.lookup.names import find_transform, importable_from
from initopt_jax.reports.charts.function_maps import common_starts, share_text
from initopt_jax.reports.charts.results import make_results
from initopt_jax.reports.charts.trajectories import make_trajectories
from initopt_jax.tasks.functions import REGISTRY as FUNCTIONS
from initopt_jax.transforms import REGISTRY as TRANSFORMS
from initopt_jax.types import option_names

OPTIMIZERS = ("gd", "momentum", "nesterov", "adagrad", "rmsprop", "adadelta", "adam")
# Ten rates, each about three times the one before: wide enough for all of them on all functions.
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
# A function counts as solved at its own target, but no stricter than this: the race is about the
# way to the minimum, not about its last digits.
CLOSE = 1e-3
# Functions that fall without end have no cost that solves them; there, to get away is the task.
AWAY = -1.0
# Where a lattice of minima holds what starts far off, the grid lies around the lowest of them.
BOXES = {"rastrigin": 1.5, "ackley": 2.0}


@dataclass(frozen=True)
class Size:
    """How much is run: optimizers, learning rates, starts of the grid and of tuning, steps."""

    optimizers: tuple[str, ...]
    rates: tuple[float, ...]
    starts: int
    tuning: int
    steps: int
    eval_every: int


# Grids with an even side have no start on an axis of symmetry, nor on a minimum at the origin.
FULL = Size(OPTIMIZERS, RATES, starts=100, tuning=20, steps=1000, eval_every=4)
FAST = Size(("gd", "momentum", "adam"), (0.003, 0.03, 0.3), 16, 4, steps=60, eval_every=3)


def optimizer_entries(
    size: Size, own: Sequence[str], rates: Sequence[float]
) -> dict[str, dict[str, Any]]:
    """Label to config entry: the classics, then one's own transforms by the function's name.

    Raises:
        ConfigError: a transform cannot be found, or two have the same label.
    """
    made: dict[str, dict[str, Any]] = {
        name: {"name": name, "learning_rate": list(size.rates)} for name in size.optimizers
    }
    for name in own:
        label = name.rpartition(":")[2]
        if label in made:
            raise ConfigError(f"--with {name}: {label!r} is already the name of an optimizer here")
        entry: dict[str, Any] = {"name": name, "label": label}
        if "learning_rate" in option_names(find_transform(name, TRANSFORMS).make):
            entry["learning_rate"] = list(rates or size.rates)
        elif rates:
            raise ConfigError(f"--rates: {name} takes no learning_rate")
        made[label] = entry
    return made


def study_config(
    function: str, size: Size, optimizers: Mapping[str, dict[str, Any]]
) -> dict[str, Any]:
    """The config of one function's study."""
    own, box = FUNCTIONS[function].target, BOXES.get(function)
    return {
        "name": f"classics_{function}",
        "task": {"name": "test_function", "function": function},
        "initializers": ["grid" if box is None else {"name": "grid", "low": -box, "high": box}],
        "optimizers": list(optimizers.values()),
        "seeds": size.starts,
        "tuning": {"seeds": size.tuning, "metric": "steps_to_target"},
        "steps": size.steps,
        "eval_every": size.eval_every,
        "target": {"metric": "val_loss", "at_most": AWAY if own is None else max(own, CLOSE)},
    }


def measure(study: initopt_jax.Study) -> Entrant:
    """What a study says of its optimizers: steps to the target from the starts of the grid."""
    results = make_results(study.dataset.load(), study.lanes, study.info)
    trajectories = common_starts(make_trajectories(results))
    picture = study.dir / "figures" / "trails.png"
    return Entrant(
        function=study.info.dataset,
        formula=FUNCTIONS[study.info.dataset].formula,
        target=study.info.target_text,
        labels=tuple(one.label for one in trajectories),
        settings=tuple(one.setting for one in trajectories),
        times=np.stack([one.steps for one in trajectories], axis=1),
        picture=picture.read_bytes(),
        link=f"{study.dir.name}/report.html",
    )


def show(field: Field, own: Sequence[str], console: Console) -> None:
    """Print the table of places and the sentences."""
    # A row per function: the optimizers' names are shorter than the functions'.
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.title = "Places by steps to the target, start by start (=: shared)"
    table.add_column("", no_wrap=True)
    for row in field.order:
        label = field.labels[row]
        table.add_column(label, overflow="fold", style="bold" if label in own else None)
    for study, found in zip(field.studies, field.places, strict=True):
        table.add_row(study.function, *(place_text(found, row) for row in field.order))
    table.add_row()
    table.add_row("all problems", *(place_text(field.overall, row) for row in field.order))
    for what, shares in (("solved", field.solved), (f"within {NEAR:g}x", field.within)):
        table.add_row(what, *(share_text(float(shares[row])) for row in field.order))
    console.print(table)
    for sentence in sentences(field, own):
        console.print(sentence, markup=False, highlight=False)


def chosen_functions(text: str | None) -> list[str]:
    """The functions to run, all by default. Raises ConfigError for one that there is not."""
    names = [name.strip() for name in text.split(",")] if text else list(FUNCTIONS)
    for name in names:
        if name not in FUNCTIONS:
            raise ConfigError(unknown_name("function", name, FUNCTIONS))
    return list(dict.fromkeys(names))


def chosen_rates(text: str | None, own: Sequence[str]) -> list[float]:
    """The learning rates of one's own transforms. Raises ConfigError where they are none."""
    if text is None:
        return []
    if not own:
        raise ConfigError("--rates are those of a transform given by --with; there is none")
    try:
        rates = [float(part) for part in text.split(",")]
    except ValueError:
        rates = []
    if not rates or not all(np.isfinite(rate) and rate > 0 for rate in rates):
        raise ConfigError(f"--rates must be positive numbers with commas between, got {text!r}")
    return rates


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m experiments.classics", description=__doc__)
    made.formatter_class = argparse.RawDescriptionHelpFormatter
    made.add_argument("--fast", action="store_true", help="three optimizers, few starts and steps")
    made.add_argument(
        "--with", dest="own", action="append", default=[], metavar="MODULE:TRANSFORM",
        help="a transform of one's own to race (repeatable)",
    )  # fmt: skip
    made.add_argument("--rates", help="its learning rates, as in 0.01,0.1 (default: the classics')")
    made.add_argument("--functions", help="some of the functions, as in himmelblau,ravine")
    made.add_argument("--out", type=Path, help="folder (default: runs/classics)")
    return made


def race(options: argparse.Namespace, console: Console) -> Path:
    """Run what is missing, and write the page.

    Returns:
        The page.
    """
    size = FAST if options.fast else FULL
    functions = chosen_functions(options.functions)
    with importable_from(Path.cwd()):
        optimizers = optimizer_entries(size, options.own, chosen_rates(options.rates, options.own))
    out = options.out or Path("runs") / ("classics_fast" if options.fast else "classics")
    entrants = []
    for function in functions:
        console.print(f"{function} ...", markup=False, highlight=False)
        config = study_config(function, size, optimizers)
        entrants.append(measure(initopt_jax.run(config, out=out / function)))
    field = Field.of(entrants)
    own = [name.rpartition(":")[2] for name in options.own]
    show(field, own, console)
    path = out / "index.html"
    path.write_bytes(page(field, own, size.steps))
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the race, print the places, write the page."""
    console = Console()
    try:
        path = race(parser().parse_args(arguments), console)
    except Interrupted as error:
        print(f"stopped: {error}", file=sys.stderr)
        return 3
    except (ConfigError, StudyError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    console.print(f"\nPage: {path}", markup=False, highlight=False, soft_wrap=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
