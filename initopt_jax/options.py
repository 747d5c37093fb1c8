"""A config's options held against the signature of the function that they are for."""

import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.types import option_names


def swept_axes(
    kind: str,
    name: str,
    function: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    static: Mapping[str, Any] | None = None,
    skip: int = 0,
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Split options in swept numbers and static structure; check their names and types."""
    what = f"{kind} {name!r}"
    given = list(option_names(function))[:skip]
    check_options(what, function, {**options, **(static or {})}, given=given)
    axes: dict[str, list[float]] = {}
    fixed = dict(static or {})
    for key, value in options.items():
        if kind == "initializer" and _counts(function, key):
            fixed[key] = _whole(what, key, value)
            continue
        values = value if isinstance(value, list) else [value]
        if not values:
            raise ConfigError(f"{what}: {key} is an empty list; give at least one value")
        if all(isinstance(item, int | float) and not isinstance(item, bool) for item in values):
            axes[key] = [float(item) for item in values]
            if len(set(axes[key])) < len(values):
                raise ConfigError(f"{what}: {key} holds a value twice: {values}")
        elif isinstance(value, bool) or (isinstance(value, str) and _takes_text(function, key)):
            fixed[key] = value
        else:
            wrong = next(v for v in values if isinstance(v, bool) or not isinstance(v, int | float))
            raise ConfigError(f"{what}: {key} must be a number or a list of numbers, got {wrong!r}")
    return axes, fixed


def _counts(function: Callable[..., Any], option: str) -> bool:
    """Whether an option is a number of something, by its default: structure, never swept."""
    return type(option_names(function).get(option)) is int


def _whole(what: str, key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{what}: {key} must be one whole number, got {value!r}")
    return value


def _takes_text(function: Callable[..., Any], option: str) -> bool:
    default = option_names(function).get(option)
    return isinstance(default, str)


def check_options(
    what: str, function: Callable[..., Any], options: Mapping[str, Any], given: Sequence[str] = ()
) -> None:
    """Unknown and missing options of a function, by its signature."""
    parameters = inspect.signature(function).parameters.values()
    known = {key: value for key, value in option_names(function).items() if key not in given}
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        for option in options:
            if option not in known:
                raise ConfigError(f"{what}: " + unknown_name("option", option, known))
    missing = [
        key
        for key, default in known.items()
        if default is inspect.Parameter.empty and key not in options
    ]
    if missing:
        raise ConfigError(f"{what} needs {', '.join(missing)}")


def call_with(what: str, function: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Call with a config's options; what they get wrong is the user's to mend."""
    try:
        return function(**options)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{what}: {error}") from error


def grid(axes: Mapping[str, Sequence[float]]) -> list[dict[str, float]]:
    """Every combination of the axes' values; the last axis runs fastest."""
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
