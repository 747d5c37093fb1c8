"""Every config that ships is valid and trains."""

from pathlib import Path

import pytest

import initopt_jax as iox
from initopt_jax.config import parse_yaml

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_config_runs_two_steps(path, working_dir):
    raw = parse_yaml(path.read_text())
    raw |= {"steps": 2, "eval_every": 1, "seeds": 1, "tuning": {"seeds": 1}, "tile_width": 2}
    for optimizer in raw["optimizers"]:
        optimizer.pop("steps", None)
        optimizer.pop("eval_every", None)
        optimizer["learning_rate"] = optimizer["learning_rate"][:1]
    try:
        study = iox.run(raw, devices=1)  # one copy of every program
    except iox.ConfigError as error:
        if "tfds:" in raw["task"]["dataset"] and "is not prepared" in str(error):
            pytest.skip(str(error))
        raise
    assert study.manifest["name"] == path.stem
    assert study.dataset.sizes["eval"] == 3
    assert bool(study.dataset["val_loss"].notnull().all())
