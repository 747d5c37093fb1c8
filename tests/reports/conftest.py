"""Synthetic studies with plausible curves: shape and size as asked, no training."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from initopt_jax.stats import StudyInfo, Target

INITIALIZERS = {
    "zeros": None,
    "normal(stddev=0.01)": 0.45,
    "normal(stddev=1.0)": 0.7,
    "uniform(scale=0.05)": 0.55,
    "glorot_uniform": 1.0,
    "lecun_normal": 0.97,
    "he_normal": 1.02,
    "orthogonal": 1.1,
}
OPTIMIZERS = {
    "gd": (0.15, 0.8),
    "sgd": (0.6, 0.3),
    "momentum": (1.2, 0.05),
    "adagrad": (1.1, 0.05),
    "rmsprop": (1.3, 0.003),
    "adadelta": (0.9, 1.0),
    "adam": (1.5, 0.004),
}
LEAVES = [f"dense_{i}/{part}" for i in range(3) for part in ("bias", "kernel")]

Study = tuple[xr.Dataset, pd.DataFrame, StudyInfo]


def lane_table(initializers: list[str], optimizers: list[str], rates: int, seeds, tuning) -> Any:
    rows, cell = [], 0
    for initializer in initializers:
        for optimizer in optimizers:
            best = OPTIMIZERS[optimizer][1]
            for rate in best * 4.0 ** (np.arange(rates) - (rates - 1) // 2):
                for role, n, base in (("tuning", tuning, 1000), ("report", seeds, 0)):
                    rows += [
                        {
                            "cell": cell,
                            "role": role,
                            "initializer": initializer,
                            "optimizer": optimizer,
                            "optimizer.learning_rate": float(f"{rate:.2g}"),
                            "optimizer.rho": 0.95 if optimizer == "adadelta" else np.nan,
                            "optimizer.batch_size": 1078 if optimizer == "gd" else 64,
                            "optimizer.steps": 300,
                            "init_seed": base + seed,
                            "data_seed": base + seed,
                            "noise_seed": base + seed,
                        }
                        for seed in range(n)
                    ]
                cell += 1
    return pd.DataFrame(rows).rename_axis("lane")


def curves(lanes: pd.DataFrame, evals: int, noise: np.random.Generator) -> dict[str, Any]:
    n = len(lanes)
    quality = np.array([INITIALIZERS[name] or 0.0 for name in lanes["initializer"]])
    speed = np.array([OPTIMIZERS[name][0] for name in lanes["optimizer"]])
    tuned = np.array([OPTIMIZERS[name][1] for name in lanes["optimizer"]])
    off = np.log(lanes["optimizer.learning_rate"].to_numpy() / tuned)
    pace = speed * quality * np.exp(-0.35 * off**2) * np.exp(0.06 * noise.normal(size=n))
    fine = ~np.isin(lanes["optimizer"], ["adagrad", "adadelta"])
    diverged = (off > 2.5) & fine & (quality > 0) & (noise.random(n) < 0.6 * quality)
    step = np.broadcast_to(np.linspace(0, 300, evals), (n, evals))
    progress = 1 - np.exp(-pace[:, None] * step / 60)
    wiggle = np.exp(0.05 * noise.normal(size=(n, evals)))
    val_loss = (2.3 * (1 - progress) + 0.09 / np.maximum(quality, 0.3)[:, None] * progress) * wiggle
    accuracy = np.clip(0.1 + 0.878 * progress**0.6 - 0.02 * np.abs(wiggle - 1), 0.08, 1)
    at = np.where(diverged, noise.integers(1, evals, n), evals)
    gone = np.arange(evals) >= at[:, None]
    return {
        "step": step.copy(),
        "diverged": diverged,
        "diverged_step": np.where(diverged, at * 30.0 - 12, np.nan),
        "val_loss": np.where(gone, np.nan, val_loss),
        "train_loss": np.where(gone, np.nan, val_loss * 0.85),
        "val_accuracy": np.where(gone, 0.1, accuracy),
        "pace": pace,
        "gone": gone,
    }


def norms(lanes: pd.DataFrame, found: dict[str, Any]) -> np.ndarray:
    start = np.array([{"zeros": 0.0}.get(name, 8.0) for name in lanes["initializer"]])
    scale = np.array([INITIALIZERS[name] or 0.0 for name in lanes["initializer"]])
    start = np.where(
        np.char.startswith(lanes["initializer"].to_numpy(str), "normal(stddev=0.01"), 0.6, start
    )
    growth = found["pace"][:, None] * np.sqrt(found["step"]) * 0.3
    kernel = (start[:, None] * np.sign(scale)[:, None] + growth)[:, :, None] * [1.0, 1.2, 0.6]
    both = np.stack([np.broadcast_to(growth[:, :, None] * 0.1, kernel.shape), kernel], -1)
    both = both.reshape(*kernel.shape[:2], 6)
    return np.where(found["gone"][:, :, None], np.nan, both)


@pytest.fixture(scope="session")
def make_study() -> Callable[..., Study]:
    return build_study


def build_study(
    initializers: int | list[str] = 8,
    optimizers: int | list[str] = 7,
    rates: int = 4,
    seeds: int = 10,
    tuning: int = 3,
    *,
    evals: int = 11,
    regression: bool = False,
    target: bool = True,
    diverge_all: bool = False,
    probe: bool = True,
) -> Study:
    names = list(INITIALIZERS)[-initializers:] if isinstance(initializers, int) else initializers
    rules = list(OPTIMIZERS)[-optimizers:] if isinstance(optimizers, int) else optimizers
    lanes = lane_table(names, rules, rates, seeds, tuning)
    noise = np.random.default_rng(0)
    found = curves(lanes, evals, noise)
    if diverge_all:
        found["diverged"][:] = True
        found["diverged_step"][:] = 40.0
        found["gone"][:, 2:] = True
    gone, metric = found["gone"], "r2" if regression else "accuracy"
    score = np.where(gone, np.nan if regression else 0.1, found["val_accuracy"])
    reached = (score >= 0.95) & ~found["diverged"][:, None]
    first = np.where(
        reached.any(1),
        np.take_along_axis(found["step"], reached.argmax(1)[:, None], 1)[:, 0],
        np.nan,
    )
    batch = lanes["optimizer.batch_size"].to_numpy(float)
    two, one = ("lane", "eval"), ("lane",)
    lost = lambda x: np.where(gone, np.nan, x).astype(np.float32)  # noqa: E731
    variables = {
        "step": (two, found["step"]),
        "examples_seen": (two, found["step"] * batch[:, None]),
        "train_loss": (two, lost(found["train_loss"])),
        "val_loss": (two, lost(found["val_loss"])),
        f"train_{metric}": (two, score.astype(np.float32)),
        f"val_{metric}": (two, score.astype(np.float32)),
        "batch_loss": (two, lost(found["train_loss"])),
        "test_loss": (one, lost(found["val_loss"])[:, -1] * 1.02),
        f"test_{metric}": (
            one,
            (score[:, -1] - 0.004 * noise.random(len(lanes))).astype(np.float32),
        ),
        "diverged": (one, found["diverged"]),
        "diverged_step": (one, found["diverged_step"]),
        "steps_to_target": (one, first),
        "examples_to_target": (one, first * batch),
        "flops_to_target": (one, first * batch * 6 * 9000.0),
        "flops_per_step": (one, batch * 6 * 9000.0),
    }
    coords = {"lane": lanes.index.to_numpy()}
    if probe:
        variables["weight_norm"] = (("lane", "eval", "leaf"), norms(lanes, found))
        coords["leaf"] = np.array(LEAVES)
    info = StudyInfo(
        name="effects_digits",
        task="regression" if regression else "classification",
        dataset="digits",
        model="mlp 64-64-64-10, tanh",
        primary=metric,
        metrics={"loss": "min", metric: "max"},
        target=Target(f"val_{metric}", at_least=0.95) if target else None,
        chance=0.0 if regression else 0.104,
        manifest=(
            ("platform", "cpu"),
            ("jax", "0.10.2"),
            ("lanes", f"{len(lanes):,}"),
            ("compile seconds", "21.3"),
        ),
    )
    return xr.Dataset(variables, coords), lanes, info
