"""What has no contracts of its own (a schedule, a probe, data ...) tried in the smallest study."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax import schedules
from initopt_jax.augmentations import make_augment
from initopt_jax.config.schema import validate
from initopt_jax.conformance import Broken, Finding
from initopt_jax.conformance.finding import hold_to
from initopt_jax.errors import ConfigError
from initopt_jax.lookup.names import find_schedule
from initopt_jax.planning.resolve import find_task, resolve

RATE = {"name": "sgd", "learning_rate": 0.1}
LEARNT = {"classification": "digits", "regression": "diabetes", "reconstruction": "digits"}
STUDY = {
    "name": "check",
    "task": {"name": "classification", "dataset": "digits"},
    "model": {"name": "mlp", "hidden": [4]},
    "initializers": ["lecun_normal"],
    "optimizers": [RATE],
    "seeds": 1,
    "steps": 10,
}
SHAPES = ((8, 8, 3), (8, 8), (64,))  # of examples that an augmentation is tried on
RUNS = (10, 300)  # steps of the runs that a schedule is looked at over


def try_in_study(
    kind: str, name: str, options: Mapping[str, Any], folders: Sequence[Path] = ()
) -> list[Finding]:
    """Whether a study takes what a name stands for; nothing is trained.

    Args:
        kind: of `conformance.KINDS`, other than those that have contracts of their own.
        name: as in a config.
        options: values for its options, as in a config.
        folders: where relative paths of data are looked for.

    Returns:
        A finding per contract.

    Raises:
        ConfigError: there is no such task.
    """
    entry = {"name": name, **options}

    def takes(subject: Any) -> None:
        """A study takes it: its arguments, options, and what it gives fit."""
        faults = []
        for attempt in _attempts(kind, entry, folders):
            try:
                attempt()
                return
            except ConfigError as error:
                faults.append(str(error))
        raise Broken(faults[0])

    findings = [hold_to(takes, None)]
    if kind == "schedule" and findings[0].outcome == "ok":
        found = find_schedule(name, schedules.REGISTRY)
        findings.append(hold_to(_gives_factors, _at(found.multiplier, options)))
    return findings


def _attempts(
    kind: str, entry: Mapping[str, Any], folders: Sequence[Path]
) -> list[Callable[[], Any]]:
    """Ways to use an entry, of which one must do."""
    if kind == "augmentation":
        options = {key: value for key, value in entry.items() if key != "name"}
        named = [(str(entry["name"]), options)]
        return [functools.partial(make_augment, named, shape) for shape in SHAPES]
    configs = _configs(kind, entry)
    return [functools.partial(resolve, validate(STUDY | one), folders) for one in configs]


def _configs(kind: str, entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Configs that name an entry in its place; data go with the first task that takes them."""
    if kind == "data":
        tasks = ("classification", "regression")
        return [{"task": {"name": task, "dataset": entry, "batch_size": "full"}} for task in tasks]
    if kind == "task":
        return [{"task": {**entry, "dataset": LEARNT[find_task(str(entry["name"])).kind]}}]
    if kind == "function":
        task = {"name": "test_function", "function": entry}
        return [{"task": task, "model": None, "initializers": ["grid"]}]
    place = {
        "schedule": {"optimizers": [{**RATE, "schedule": entry}]},
        "modifier": {"optimizers": [{**RATE, "modifiers": [entry]}]},
        "probe": {"probes": [entry]},
    }
    return [place[kind]]


def _at(multiplier: Callable[..., Any], options: Mapping[str, Any]) -> Callable[..., Any]:
    return jax.vmap(lambda count, steps: multiplier(count, steps, **options), in_axes=(0, None))


def _gives_factors(multiplier: Callable[..., Any]) -> None:
    """It gives a finite number, at least 0, for every step of a run."""
    for steps in RUNS:
        factors = np.asarray(multiplier(jnp.arange(steps, dtype=jnp.float32), jnp.float32(steps)))
        wrong = np.flatnonzero(~(np.isfinite(factors) & (factors >= 0)))
        if len(wrong):
            raise Broken(f"step {wrong[0]} of {steps}: {factors[wrong[0]]:g}")
