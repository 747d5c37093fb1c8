"""Hostile labels: names are text, in every file and every picture; none gets another's number."""

import contextlib
import csv
import functools
import html
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from hypothesis import strategies as st

from initopt_jax.studies import run
from tests.fuzz.config_tries import command
from tests.fuzz.hostile import NAMES
from tests.fuzz.outcome import OK, Outcome, attempt

SECONDS = 60.0
FEW, PLAIN = 2, ("first", "second")
CONFIG: dict[str, Any] = {
    "name": "labels",
    "task": {"name": "test_function", "function": "himmelblau"},
    "seeds": 1,
    "tuning": {"seeds": 0},
    "steps": 2,
    "eval_every": 1,
}


def words() -> st.SearchStrategy[str]:
    """Labels that somebody may give, or a program; empty ones are refused by the schema."""
    plain = [name for name in NAMES if 0 < len(name) <= 300]
    return st.sampled_from(plain) | st.sampled_from(plain) | st.text(min_size=1, max_size=12)


@st.composite
def tries(draw: Any) -> dict[str, Any]:
    """Two labels of initializers, two of optimizers."""
    pair = st.lists(words(), min_size=FEW, max_size=FEW, unique=True)
    return {"initializers": draw(pair), "optimizers": draw(pair)}


def _config(given: Mapping[str, Any]) -> dict[str, Any]:
    starts = ({"name": "constant", "value": 0.5}, {"name": "constant", "value": 1.5})
    rates = ({"name": "gd", "learning_rate": 0.01}, {"name": "adam", "learning_rate": 0.1})
    pairs = zip(given["initializers"], starts, strict=True)
    others = zip(given["optimizers"], rates, strict=True)
    return CONFIG | {
        "initializers": [{**entry, "label": label} for label, entry in pairs],
        "optimizers": [{**entry, "label": label} for label, entry in others],
    }


def try_labels(given: Mapping[str, Any], folder: Path) -> Outcome:
    """A study with these labels, beside one with plain ones: the same numbers in the same order."""
    with warnings.catch_warnings(), contextlib.chdir(folder):
        warnings.simplefilter("ignore")
        return attempt(lambda: _check(given, folder), SECONDS)


def _check(given: Mapping[str, Any], folder: Path) -> Outcome:
    done = run.run(_config(given), folder / "study", devices=1)
    lanes, summary = done.lanes, done.summary()
    wanted, _ = _plain()
    for column in (f"{kind[:-1]}" for kind in ("initializers", "optimizers")):
        labels = given[f"{column}s"]
        for place, table in (("lanes", lanes), ("summary", summary)):
            if (got := list(dict.fromkeys(table[column]))) != labels:
                return Outcome("wrong number", f"labels of {place}", f"{labels} -> {got}")
        names = dict(zip(PLAIN, labels, strict=True))
        if list(summary[column]) != [names[label] for label in wanted[column]]:
            return Outcome("wrong number", "order of the summary", str(summary)[:600])
    numbers = [name for name in wanted if wanted[name].dtype.kind == "f"]
    if not summary[numbers].reset_index(drop=True).equals(wanted[numbers].reset_index(drop=True)):
        return Outcome("wrong number", "numbers of the summary", str(summary[numbers])[:600])
    return _printed(given, folder / "study")


def _printed(given: Mapping[str, Any], folder: Path) -> Outcome:
    """What the commands say, and the files for other programs."""
    for flags in ((), ("--markdown",)):
        code, out, err = command("report", folder, *flags)
        if code != 0 or "Traceback" in out + err:
            return Outcome("traceback", f"report {flags} ended with {code}", (out + err)[-900:])
    with (folder / "summary.csv").open(newline="") as file:
        for row in csv.reader(file):
            bad = [cell for cell in row if cell[:1] in ("=", "@", "\t", "\r")]
            if bad:
                return Outcome("wrong number", "a formula in summary.csv", str(bad))
    page, plain = (folder / "report.html").read_text(), _plain()[1]
    for label in (*given["initializers"], *given["optimizers"]):
        own = plain.count(label)  # "</script>" is in every page
        if "<" in label and label != html.escape(label) and page.count(label) > own:
            return Outcome("wrong number", "markup of a label in report.html", label)
    return OK


@functools.cache
def _plain() -> tuple[pd.DataFrame, str]:
    """The summary and the report of the study with plain labels."""
    plain = {"initializers": list(PLAIN), "optimizers": list(PLAIN)}
    with tempfile.TemporaryDirectory() as folder:
        done = run.run(_config(plain), Path(folder) / "study", devices=1)
        return done.summary(), (done.dir / "report.html").read_text()
