"""The study that tests kill: small, and always in the middle of something."""

from typing import Any

TINY: dict[str, Any] = {  # 6 tiles of 10 segments, after each of which a checkpoint is due
    "name": "tiny",
    "task": {"name": "regression", "dataset": "diabetes", "batch_size": 8},
    "model": {"name": "linear"},
    "initializers": ["zeros"],
    "optimizers": [{"name": "adam", "learning_rate": [0.01, 0.1]}],
    "seeds": 5,
    "tuning": {"seeds": 1},
    "steps": 40,
    "eval_every": 4,
    "checkpoint_every": 1e-6,
    "tile_width": 2,
    "audit": False,
}
