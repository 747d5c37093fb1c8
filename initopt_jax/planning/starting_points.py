"""Initializers of a study of a test function: starting points placed, or drawn like weights."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from initopt_jax import initializers
from initopt_jax.config.entries import InitializerConfig, SeedsConfig
from initopt_jax.config.schema import Config
from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.initializers.exact import exact_distribution
from initopt_jax.lookup.names import OWN, lookup
from initopt_jax.planning.sweep import InitializerCell, distinct, expand_initializers
from initopt_jax.precision import param_dtype
from initopt_jax.tasks.function_task import TestFunction
from initopt_jax.tasks.functions import Domain, Point
from initopt_jax.tasks.functions.starts import STARTS, Place, make_fixed, make_grid, side_of
from initopt_jax.types import DistributionSpec, Shape

BOUNDS = ("low", "high")
KNOWN = {**STARTS, **initializers.REGISTRY}


def expand_starts(config: Config, test_function: TestFunction) -> tuple[InitializerCell, ...]:
    """Every start of a config; what is no start is an initializer that draws points.

    Raises:
        ConfigError: an unknown name or option, seeds that fill no square grid, or an initializer
            that only a network can have.
    """
    cells: list[InitializerCell] = []
    for spec in config.initializers:
        if spec.name == "grid":
            cells.append(_grid(spec, config.seeds, test_function.domain))
        elif spec.name == "points":
            cells += _points(spec, config.seeds)
        elif spec.name in initializers.MODEL_LEVEL:
            raise ConfigError(
                f"initializer {spec.name!r} sees a whole network; a test function has none"
            )
        elif ":" not in spec.name and not spec.name.startswith("jax."):
            lookup("initializer", spec.name, KNOWN, "; or jax.<name>" + OWN)
            cells += expand_initializers([spec])
        else:
            cells += expand_initializers([spec])
    return distinct(cells)


def _grid(spec: InitializerConfig, seeds: SeedsConfig, domain: Domain) -> InitializerCell:
    _check_names(spec, BOUNDS)
    low = _bound(spec, "low", domain[0::2])
    high = _bound(spec, "high", domain[1::2])
    if not (low[0] < high[0] and low[1] < high[1]):
        raise ConfigError(f"initializer 'grid': low {low} must lie below high {high}")
    count = seeds.all or seeds.init or 0
    side = side_of(count)
    if side is None:
        below = int(count**0.5)
        raise ConfigError(
            f"initializer 'grid' needs a square number of seeds, got {count}; nearest: "
            f"{below**2} or {(below + 1) ** 2}"
        )
    box = (low[0], high[0], low[1], high[1])
    return _cell(spec.label or "grid", {}, make_grid(box, side, seeds.first), seeds)


def _bound(spec: InitializerConfig, option: str, default: Sequence[float]) -> Point:
    """One number for both axes, or one for each."""
    value = spec.options.get(option, list(default))
    numbers = value if isinstance(value, list) else [value, value]
    return _point(f"initializer 'grid': {option} must be a number, or two (x, y)", numbers)


def _points(spec: InitializerConfig, seeds: SeedsConfig) -> list[InitializerCell]:
    _check_names(spec, ("points",))
    given = spec.options.get("points")
    what = "initializer 'points': points must be a list of points, as in [[-1.2, 1.0], [0, 0]]"
    if not isinstance(given, list) or not given:
        raise ConfigError(f"{what}; got {given!r}")
    cells = []
    for item in given:
        x, y = _point(what, item)
        text = f"({x:g}, {y:g})"
        label = text if spec.label is None else f"{spec.label}{text if len(given) > 1 else ''}"
        cells.append(_cell(label, {"x": x, "y": y}, make_fixed((x, y)), seeds))
    return cells


def _point(what: str, value: Any) -> Point:
    numbers = value if isinstance(value, list) else []
    if len(numbers) != 2 or not all(type(number) in (int, float) for number in numbers):
        raise ConfigError(f"{what}; got {value!r}")
    return float(numbers[0]), float(numbers[1])


def _check_names(spec: InitializerConfig, allowed: Sequence[str]) -> None:
    for option in spec.options:
        if option not in allowed:
            message = unknown_name("option", option, allowed)
            raise ConfigError(f"initializer {spec.name!r}: {message}")


def _cell(
    label: str, hyperparameters: dict[str, float], place: Place, seeds: SeedsConfig
) -> InitializerCell:
    """A cell whose distribution is the point of the first seed, which the audit looks at."""
    first = place(np.array([seeds.first]))[0].astype(param_dtype())

    def draw(key: Any, shape: Shape, dtype: Any) -> Any:
        del key, shape
        return first.astype(dtype)

    def distribution(shape: Shape) -> DistributionSpec:
        del shape
        return exact_distribution(first)

    rules: tuple[tuple[str, Callable[..., Any]], ...] = (("*", draw),)
    return InitializerCell(label, hyperparameters, rules, {"*": distribution}, place=place)
