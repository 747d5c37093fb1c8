"""Every config that ships is valid and trains, in its fast form."""

from pathlib import Path

import numpy as np
import pytest

import initopt_jax as iox
from initopt_jax.config.schema import read_config
from initopt_jax.planning.fast_form import STEPS, fast_form
from initopt_jax.studies import preview

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs").glob("*.yaml"))
SWEPT = {
    "name": "swept",
    "task": {"name": "classification", "dataset": "digits"},
    "model": "linear",
    "initializers": ["he_normal"],
    "optimizers": [
        {"name": "gd", "learning_rate": [1.0, 3.0], "steps": 60, "eval_every": 3},
        {"name": "adam", "learning_rate": [1.0e-3, 0.1], "b1": [0.5, 0.9]},
        "sgd",
    ],
    "seeds": {"init": 5, "data": 5},
    "steps": 300,
}


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_fast_form_of_a_config_trains(path, working_dir):
    config = read_config(path)
    settings = ["tile_width=2"]  # small tiles compile sooner
    if config.task.dataset and config.task.dataset.name == "tfds:mnist":
        settings.append("task.dataset=digits")  # as many classes, and there on every machine
    short = read_config(fast_form(config), settings)
    whole = preview.plan(short, devices=1)  # resolves every name and option
    assert len({program.label for program in whole.programs}) == len(short.optimizers)
    few = short.model_copy(update={"optimizers": short.optimizers[-1:]})  # a program to compile
    study = iox.run(few, devices=1)
    assert study.manifest["name"] == f"{path.stem}-fast"
    assert study.dataset.sizes["eval"] == 2
    lost = study.dataset["diverged"].values
    assert not lost.all()
    assert bool(study.dataset["val_loss"].notnull().all(dim="eval").values[~lost].all())


def test_the_fast_form_is_short_and_keeps_all_that_is_studied():
    config = read_config(SWEPT)
    short = fast_form(config)
    assert (short.name, short.steps, short.eval_every) == ("swept-fast", STEPS, STEPS)
    assert (short.seeds.all, short.tuning.seeds) == (1, 1)
    assert [optimizer.name for optimizer in short.optimizers] == ["gd", "adam", "sgd"]
    assert short.optimizers[0].steps == STEPS
    assert np.isclose(short.optimizers[1].options["learning_rate"], 1e-3)
    assert short.optimizers[1].options["b1"] == 0.5
    assert short.initializers == config.initializers
    assert short.task == config.task


def test_less_is_not_made_more():
    few = SWEPT | {"steps": 3, "tuning": {"seeds": 0}, "optimizers": ["sgd"]}
    short = fast_form(read_config(few))
    assert (short.steps, short.eval_every, short.tuning.seeds) == (3, 3, 0)
