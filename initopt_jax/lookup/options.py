"""A config's options held against the signature of the function that they are for."""

import inspect
import itertools
import math
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.lookup.user_code import user_code
from initopt_jax.plain_values import refuse_equal
from initopt_jax.precision import param_dtype
from initopt_jax.types import option_names

MOST_CELLS = 10_000  # of one entry of a config


def swept_axes(
    kind: str,
    name: str,
    function: Callable[..., Any],
    options: Mapping[str, Any],
    *,
    static: Mapping[str, Any] | None = None,
    skip: int = 0,
    given: Sequence[str] = (),
    counts: bool = False,
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """Split options in swept numbers and static structure; check their names and types.

    Args:
        kind, name: of what the function is, for errors.
        function: by its signature options are known; one that is annotated as a mapping takes a
            mapping of numbers, an axis `option.key` each.
        options: as in the config.
        static: options that the user named as structure.
        skip: so many arguments come first that are no options.
        given: further arguments that are no options.
        counts: an option whose default is a whole number is structure, and never swept.
    """
    what = f"{kind} {name!r}"
    taken = [*list(option_names(function))[:skip], *given]
    check_options(what, function, {**options, **(static or {})}, given=taken)
    axes: dict[str, list[float]] = {}
    fixed = dict(static or {})
    for key, value in options.items():
        if counts and _counts(function, key):
            fixed[key] = _whole(what, key, value)
        elif _takes(function, key, Mapping):
            if not isinstance(value, Mapping) or not value:
                raise ConfigError(f"{what}: {key} must map names to numbers, got {value!r}")
            for part, numbers in value.items():
                axes[f"{key}.{part}"] = _numbers(what, f"{key}.{part}", numbers)
        elif _is_flag(function, key, value) or (
            isinstance(value, str) and _takes(function, key, str)
        ):
            fixed[key] = value
        elif _takes(function, key, str) and not _takes(function, key, float):
            fixed[key] = _texts(what, key, value, several=_takes(function, key, tuple))
        elif _takes(function, key, bool) and not _takes(function, key, float):
            raise ConfigError(
                f"{what}: {key} must be true or false, and is never swept: an entry for each; "
                f"got {value!r}"
            )
        else:
            axes[key] = _numbers(what, key, value)
    return axes, fixed


def _numbers(what: str, key: str, value: Any) -> list[float]:
    """A number or a list of different ones, as a list."""
    values = value if isinstance(value, list) else [value]
    if not values:
        raise ConfigError(f"{what}: {key} is an empty list; give at least one value")
    for item in values:
        if isinstance(item, bool) or not isinstance(item, int | float):
            raise ConfigError(f"{what}: {key} must be a number or a list of numbers, got {item!r}")
    numbers = [float(item) for item in values]
    refuse_equal(f"{what}: {key}", numbers, param_dtype())
    return numbers


def _texts(what: str, key: str, value: Any, *, several: bool) -> str | tuple[str, ...]:
    """A text, or a list of them where the option takes several."""
    listed = value if isinstance(value, list) else []
    if several and listed and all(isinstance(item, str) for item in listed):
        return tuple(listed)
    allowed = "text or a list of texts" if several else "one text, and is never swept"
    raise ConfigError(f"{what}: {key} must be {allowed}, got {value!r}")


def _counts(function: Callable[..., Any], option: str) -> bool:
    """Whether an option is a number of something, by its default: structure, never swept."""
    return type(option_names(function).get(option)) is int


def _whole(what: str, key: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"{what}: {key} must be one whole number, got {value!r}")
    return value


def _is_flag(function: Callable[..., Any], option: str, value: Any) -> bool:
    """Whether a value is true or false for an option that is not known to be something else."""
    other = any(_takes(function, option, kind) for kind in (str, int, float, tuple))
    return isinstance(value, bool) and (_takes(function, option, bool) or not other)


def _takes(function: Callable[..., Any], option: str, kind: type) -> bool:
    """Whether an option is of a kind, by its annotation or its default."""
    parameter = inspect.signature(function).parameters.get(option)
    if parameter is None:
        return False
    noted = parameter.annotation
    kinds = {typing.get_origin(part) or part for part in typing.get_args(noted) or ()}
    kinds |= {typing.get_origin(noted) or noted}
    return kind in kinds or isinstance(parameter.default, kind)


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


def required_options(function: Callable[..., Any]) -> tuple[str, ...]:
    """Options without a default."""
    empty = inspect.Parameter.empty
    return tuple(name for name, default in option_names(function).items() if default is empty)


def takes(function: Callable[..., Any], option: str) -> bool:
    """Whether a function has an option of this name, or takes any."""
    parameters = inspect.signature(function).parameters
    return option in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def call_with(
    what: str, function: Callable[..., Any], options: Mapping[str, Any], expects: str = ""
) -> Any:
    """Call with a config's options; what they, or the user's own code, get wrong is said in a line.

    Args:
        what: is called, for the message.
        function: to call.
        options: by name.
        expects: of a user's own function: how it is called and what it must return.

    Raises:
        ConfigError: whatever the function raised, with the place in the user's file.
    """
    with user_code(what, expects):
        return function(**options)


def grid(
    what: str, axes: Mapping[str, Sequence[float]], most: int = MOST_CELLS
) -> list[dict[str, float]]:
    """Every combination of the axes' values; the last axis runs fastest.

    Args:
        what: has the axes, for the message.
        axes: values by name.
        most: combinations.

    Raises:
        ConfigError: there are more than anybody trains.
    """
    count = math.prod(map(len, axes.values()))
    if count > most:
        sizes = " x ".join(f"{len(values):,} of {name}" for name, values in axes.items())
        raise ConfigError(
            f"{what} has {count:,} combinations of values ({sizes}); {most:,} are the most"
        )
    return [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
