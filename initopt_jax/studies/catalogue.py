"""What a config may name: the entries of all registries."""

from typing import Any, NamedTuple

from initopt_jax import (
    augmentations,
    data,
    initializers,
    models,
    modifiers,
    probes,
    schedules,
    tasks,
    transforms,
)
from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.lookup.names import jax_initializers, optax_optimizers
from initopt_jax.tasks import functions
from initopt_jax.tasks.functions.starts import STARTS


class Listed(NamedTuple):
    """An entry in words: its name, its formula in one line of text, and where it is from."""

    name: str
    formula: str
    reference: str


def catalogue(kind: str | None = None) -> dict[str, list[Listed]]:
    """The entries of every registry, or of one.

    Args:
        kind: such as `initializers` or `transforms`; by default all.

    Returns:
        Kind to entries, in the order of the registry.

    Raises:
        ConfigError: there is no such kind.

    >>> [entry.name for entry in catalogue("transforms")["transforms"]][:3]
    ['gd', 'sgd', 'momentum']
    """
    kinds = {
        "initializers": [
            *_entries(initializers.REGISTRY),
            *_entries(initializers.MODEL_LEVEL),
            *(Listed(name, "", "JAX") for name in jax_initializers()),
        ],
        "starts": _entries(STARTS),
        "transforms": [
            *_entries(transforms.REGISTRY),
            *(Listed(name, "", "Optax") for name in optax_optimizers()),
        ],
        "schedules": _entries(schedules.REGISTRY),
        "modifiers": _entries(modifiers.REGISTRY),
        "models": _entries(models.REGISTRY),
        "tasks": _entries(tasks.REGISTRY),
        "functions": _entries(functions.REGISTRY),
        "datasets": [Listed(e.name, e.description, e.reference) for e in data.REGISTRY.values()],
        "augmentations": _entries(augmentations.REGISTRY),
        "probes": _entries(probes.REGISTRY),
    }
    if kind is not None and kind not in kinds:
        raise ConfigError(unknown_name("kind", kind, kinds))
    return {kind: kinds[kind]} if kind else kinds


def _entries(registry: dict[str, Any]) -> list[Listed]:
    return [Listed(entry.name, entry.formula, entry.reference) for entry in registry.values()]
