"""What is recorded of a lane: variables, their dimensions, and those that follow from others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from initopt_jax.tasks.metrics import Target

LANE = ("lane",)
CURVE = ("lane", "eval")


@dataclass(frozen=True)
class Variable:
    """Dimensions (the first is `lane`) and dtype of one recorded variable."""

    dims: tuple[str, ...]
    dtype: str = "float32"


def variables(
    metrics: Sequence[str],
    probes: Mapping[str, Sequence[str]],
    target: Target | None,
    dtype: str = "float32",
) -> dict[str, Variable]:
    """Every variable of a study's results.

    Args:
        metrics: of the task.
        probes: what a probe gives, to its dimensions after `lane` and `eval`.
        target: what counts as reached, where there is one.
        dtype: of what is measured.
    """
    curves = [f"{split}_{metric}" for split in ("train", "val") for metric in metrics]
    table = {
        "step": Variable(CURVE, "float64"),
        "examples_seen": Variable(CURVE, "float64"),
        "batch_loss": Variable(CURVE, dtype),
        **{name: Variable(CURVE, dtype) for name in curves},
        **{f"test_{metric}": Variable(LANE, dtype) for metric in metrics},
        "diverged": Variable(LANE, "bool"),
        "diverged_step": Variable(LANE, "float64"),
        "flops_per_step": Variable(LANE, "float64"),
        **{name: Variable((*CURVE, *dims), dtype) for name, dims in probes.items()},
    }
    if target:
        table |= {
            f"{unit}_to_target": Variable(LANE, "float64")
            for unit in ("steps", "examples", "flops")
        }
    return table


def complete(
    raw: Mapping[str, np.ndarray],
    *,
    steps_between: int,
    batch: int,
    flops_per_step: float,
    target: Target | None,
) -> dict[str, np.ndarray]:
    """All variables of a tile's lanes [w, ...] from what its programs measured.

    Args:
        raw: curves [w, E], test metrics [w], probes [w, E, ...], `diverged_step` [w] (-1: never;
            see `divergence`), `last_eval` [w], the evaluation at which the lane ended.
        steps_between: optimizer steps between evaluations.
        batch: examples of one step.
        flops_per_step: floating-point operations of one lane's step, see `operations`.
        target: what counts as reached; `*_to_target` is NaN for a lane that never reached it;
            what comes after a lane has diverged, or with a loss that is not finite, never counts.
    """
    lanes, evals = raw["val_loss"].shape
    raw = dict(raw)
    number = np.broadcast_to(np.arange(evals, dtype=np.float64), (lanes, evals))
    step = np.where(number <= raw.pop("last_eval")[:, None], number * steps_between, np.nan)
    diverged = raw["diverged_step"] >= 0
    record = {
        **raw,
        "step": step,
        "examples_seen": step * batch,
        "diverged": diverged,
        "diverged_step": np.where(diverged, raw["diverged_step"], np.nan).astype(np.float64),
        "flops_per_step": np.full(lanes, flops_per_step, np.float64),
    }
    if target:
        calm = ~diverged[:, None] | (step <= raw["diverged_step"][:, None])
        calm &= np.isfinite(raw["train_loss"]) & np.isfinite(raw["val_loss"])
        good = target.reached(raw[target.metric]) & calm
        first = np.where(good.any(axis=1), np.argmax(good, axis=1) * float(steps_between), np.nan)
        record |= {
            "steps_to_target": first,
            "examples_to_target": first * batch,
            "flops_to_target": first * flops_per_step,
        }
    return record
