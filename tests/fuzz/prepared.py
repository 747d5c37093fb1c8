"""Small finished studies that tries damage copies of, made once."""

import atexit
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from initopt_jax.studies import run

VARIABLE = "INITOPT_FUZZ_STUDIES"  # where they are, if another process has made them
NETWORK: dict[str, Any] = {
    "name": "network",
    "task": {"name": "classification", "dataset": "iris", "batch_size": 16},
    "model": {"name": "mlp", "hidden": [3]},
    "initializers": ["glorot_uniform", {"name": "normal", "stddev": 0.1}],
    "optimizers": [{"name": "sgd", "learning_rate": [0.01, 0.1]}],
    "seeds": 2,
    "tuning": {"seeds": 1},
    "steps": 4,
    "eval_every": 2,
    "keep": "final",
    "landscapes": [{"name": "slice", "points": 3}],
    "probes": ["weight_norm", "distance", "weight_histogram"],
    "target": {"metric": "val_accuracy", "at_least": 0.5},
    "tile_width": 2,
}
FUNCTION: dict[str, Any] = {
    "name": "function",
    "task": {"name": "test_function", "function": "himmelblau"},
    "initializers": ["grid"],
    "optimizers": [{"name": "gd", "learning_rate": [0.01, 0.003]}],
    "seeds": 4,
    "tuning": {"seeds": 1},
    "steps": 4,
    "eval_every": 2,
    "tile_width": 2,
}
STUDIES = {
    "network": NETWORK,
    "function": FUNCTION,
    # As large as the first, so that files of one fit in the other.
    "other": NETWORK | {"seeds": {"all": 2, "first": 7}},
}


def root() -> Path:
    """Where prepared studies are."""
    if VARIABLE not in os.environ:
        os.environ[VARIABLE] = tempfile.mkdtemp(prefix="studies-")
        atexit.register(shutil.rmtree, os.environ[VARIABLE], ignore_errors=True)
    return Path(os.environ[VARIABLE])


def study_folder(name: str) -> Path:
    """The folder of a finished study, which is only to be copied."""
    folder = root() / name
    if not folder.exists():
        run.run(STUDIES[name], folder, devices=1)
    return folder


def make_all() -> None:
    """Run every study that is not there yet."""
    for name in STUDIES:
        study_folder(name)
