"""From a name in a config to what it names: registries, Optax, JAX, the user's own files."""

import importlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import jax
import optax

from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.types import (
    Initializer,
    ModelInitializer,
    Modifier,
    Schedule,
    Transform,
    option_names,
)

T = TypeVar("T")
OWN = "; or 'module:function' from your own file"


@contextmanager
def importable_from(*folders: Path) -> Iterator[None]:
    """Let `module:function` find files in these folders for the time of the block.

    No bytecode is written: one of the same second and size could hide a change of the file.
    """
    added = [str(folder.resolve()) for folder in folders]
    sys.path[:0] = added
    writes_none, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes_none
        for folder in added:
            if folder in sys.path:
                sys.path.remove(folder)


def import_object(kind: str, reference: str) -> Any:
    """The object that `module:name` names. Raises ConfigError where it cannot be had."""
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"{kind} {reference!r} must be written 'module:function'")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and module_name.split(".")[0] == error.name.split(".")[0]:
            where = "the current folder, the config's folder and the installed packages"
            raise ConfigError(
                f"{kind} {reference!r}: no module {module_name!r} in {where}"
            ) from None
        raise ConfigError(f"{kind} {reference!r}: importing it failed: {error}") from error
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        raise ConfigError(f"{kind} {reference!r}: importing it failed: {what}") from error
    found: Any = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            public = [name for name in vars(module) if not name.startswith("_")]
            raise ConfigError(f"{kind} {reference!r}: " + unknown_name("name", part, public))
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"{kind} {reference!r} must be a function, got {type(found).__name__}")
    try:
        inspect.signature(found)
    except (TypeError, ValueError):
        raise ConfigError(
            f"{kind} {reference!r} does not say which arguments it takes; wrap it in a function"
        ) from None
    return found


def lookup(kind: str, name: str, registry: Mapping[str, T], also: str = OWN) -> T:
    """The registry's entry of a name. Raises ConfigError with the nearest match."""
    if name not in registry:
        raise ConfigError(unknown_name(kind, name, registry, also))
    return registry[name]


def find_transform(name: str, registry: Mapping[str, Transform]) -> Transform:
    """A transform by registry name, `optax.<name>` or `module:function`."""
    if ":" in name:
        make = import_object("optimizer", name)
        return Transform(name, make, _first_line(make), reference=name, origin="user")
    if name.startswith("optax."):
        make = _attribute("optimizer", name, optax, name.removeprefix("optax."))
        return Transform(name, make, _first_line(make), reference="Optax", origin="optax")
    return lookup("optimizer", name, registry, "; or optax.<name>" + OWN)


def find_schedule(name: str, registry: Mapping[str, Schedule]) -> Schedule:
    """A schedule by registry name or `module:function`: `(count, steps, **options) -> number`."""
    if ":" in name:
        found = import_object("schedule", name)
        if len(option_names(found)) < 2:
            raise ConfigError(f"schedule {name!r} must take (count, steps), then its options")
        return Schedule(name, found, _first_line(found), reference=name)
    return lookup("schedule", name, registry)


def find_modifier(name: str, registry: Mapping[str, Modifier]) -> Modifier:
    """A modifier by registry name or `module:function`.

    A user's function whose first parameter is called `inner` stands around the optimizer; of others
    the attribute `place` says whether they change gradients (by default) or updates.
    """
    if ":" in name:
        make = import_object("modifier", name)
        inside = next(iter(option_names(make)), "") == "inner"
        place = "around" if inside else getattr(make, "place", "gradient")
        if place not in ("gradient", "update", "around"):
            raise ConfigError(f"modifier {name!r}: its place must be gradient or update")
        return Modifier(name, place, make, _first_line(make), reference=name)
    return lookup("modifier", name, registry)


def find_initializer(
    name: str, registry: Mapping[str, Initializer | ModelInitializer]
) -> Initializer | ModelInitializer:
    """An initializer by registry name, `jax.<name>` or `module:function`.

    A user's function may carry its law as the attribute `law`: `(shape, **options) -> Law`; the
    audit then holds its draws to it. One whose second parameter is called `params` sees the whole
    network: `(key, params, network, **options) -> (params, info)`. It starts from weights of the
    initializer that its attribute `base` names, by default `lecun_normal`.
    """
    if ":" in name:
        draw = import_object("initializer", name)
        if list(option_names(draw))[1:2] == ["params"]:
            base = getattr(draw, "base", "lecun_normal")
            return ModelInitializer(name, draw, base, formula=_first_line(draw), reference=name)
        law = getattr(draw, "law", None)
        return Initializer(name, draw, law, formula=_first_line(draw), reference=name)
    if name.startswith("jax."):
        attribute = name.removeprefix("jax.")
        found = _attribute("initializer", name, jax.nn.initializers, attribute)
        return Initializer(
            name, _from_jax(attribute, found), None, formula=_first_line(found), reference="JAX"
        )
    return lookup("initializer", name, registry, "; or jax.<name>" + OWN)


def _from_jax(attribute: str, found: Callable[..., Any]) -> Callable[..., Any]:
    """JAX names some initializers (`zeros`) and factories of initializers (`he_normal()`) alike."""
    if attribute in ("zeros", "ones"):
        return found

    def draw(key: Any, shape: Any, dtype: Any, **options: Any) -> Any:
        return found(**options)(key, shape, dtype)

    return draw


def _attribute(kind: str, name: str, module: Any, dotted: str) -> Callable[..., Any]:
    found = module
    for part in dotted.split("."):
        if part.startswith("_") or not hasattr(found, part):
            public = [item for item in dir(found) if not item.startswith("_")]
            prefix = name.removesuffix(dotted)
            raise ConfigError(unknown_name(f"{kind} of {prefix}", part, public))
        found = getattr(found, part)
    if not callable(found):
        raise ConfigError(f"{kind} {name!r} must be a function, got {type(found).__name__}")
    return found


def _first_line(function: Any) -> str:
    lines = (getattr(function, "__doc__", None) or "").strip().splitlines()
    return lines[0] if lines else ""
