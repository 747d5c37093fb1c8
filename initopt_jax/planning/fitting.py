"""Whether what an optimizer does every so many steps fits in the steps that it has."""

import itertools
from collections.abc import Iterator
from typing import Any

from initopt_jax import modifiers, transforms
from initopt_jax.config.entries import ModifierConfig, OptimizerConfig
from initopt_jax.errors import ConfigError
from initopt_jax.types import Modifier, option_names

REFRESH = "refresh_every"  # of Shampoo and SOAP: steps between two decompositions


def refuse_idle(spec: OptimizerConfig, steps: int) -> None:
    """Refuse a modifier that would never act, naming its period and the steps that there are.

    Raises:
        ConfigError: such as for gradients of 10 steps that are accumulated in a run of 5.
    """
    for number, item in enumerate(spec.modifiers):
        left = _steps_left(spec, number, steps)
        for entry, options in _settings(item):
            if entry.acts and entry.acts(left, **options) == 0:
                given = ", ".join(f"{name} {value:g}" for name, value in options.items())
                fewer = f" ({steps} by batches)" if left != steps else ""
                raise ConfigError(
                    f"modifier {item.name!r} of optimizer {spec.name!r}: {given} does not fit in "
                    f"its {left} steps{fewer}: {entry.never}. Lower it, or give more steps"
                )


def idle(spec: OptimizerConfig, steps: int) -> list[int]:
    """Numbers of the modifiers that would never act in so many steps."""
    return [
        number
        for number, item in enumerate(spec.modifiers)
        if any(
            entry.acts and entry.acts(_steps_left(spec, number, steps), **options) == 0
            for entry, options in _settings(item)
        )
    ]


def leftovers(spec: OptimizerConfig, steps: int) -> list[str]:
    """What a run does not bring to its end, in words."""
    said = []
    for number, item in enumerate(spec.modifiers):
        left = _steps_left(spec, number, steps)
        for entry, options in _settings(item):
            if entry.pace and (rest := left % options[entry.pace]):
                said.append(
                    f"{item.name} of optimizer {spec.name!r}: {entry.pace} {options[entry.pace]:g} "
                    f"does not divide its {left} steps, so that the last {rest:g} gradients are "
                    "never used"
                )
    known = transforms.REGISTRY.get(spec.name)
    every = {**(option_names(known.make) if known else {}), **spec.static}.get(REFRESH)
    if isinstance(every, int) and every > 1 and steps <= every:
        said.append(
            f"optimizer {spec.name!r}: {REFRESH} {every} is not below its {steps} steps, so that "
            "what it decomposes first is never refreshed"
        )
    return said


def _steps_left(spec: OptimizerConfig, number: int, steps: int) -> int:
    """How many steps a modifier sees, by those that stand around it; the fewest where swept."""
    for item in spec.modifiers[number + 1 :]:
        paces = [options[entry.pace] for entry, options in _settings(item) if entry.pace]
        steps = int(steps // max(paces, default=1))
    return steps


def _settings(item: ModifierConfig) -> Iterator[tuple[Modifier, dict[str, Any]]]:
    """A modifier with every combination of the values that decide when it acts."""
    entry = modifiers.REGISTRY.get(item.name)
    if entry is None or entry.acts is None:
        return
    names = list(option_names(entry.acts, skip=("steps",)))
    known = {**option_names(entry.make), **item.options}
    values = [known[name] if isinstance(known[name], list) else [known[name]] for name in names]
    for chosen in itertools.product(*values):
        if all(isinstance(value, int | float) and value >= 0 for value in chosen):
            yield entry, dict(zip(names, chosen, strict=True))
