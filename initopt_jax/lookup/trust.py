"""Which code a name in a config or a manifest may stand for: one rule for all of them.

`module:function` may name a function of the user's own files, or of the few modules of `SHIPPED`.
Python's standard library is never named, and another installed package only where it is trusted.
"""

import contextlib
import functools
import inspect
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from types import MethodType, ModuleType
from typing import Any

from initopt_jax.errors import ConfigError
from initopt_jax.lookup import user_files

# Modules that make weights, optimizers and networks, and touch no file; each with what lies below.
SHIPPED = (
    "flax.linen",
    "flax.nnx",
    "initopt_jax.augmentations",
    "initopt_jax.initializers",
    "initopt_jax.models",
    "initopt_jax.modifiers",
    "initopt_jax.probes",
    "initopt_jax.schedules",
    "initopt_jax.tasks",
    "initopt_jax.transforms",
    "jax.nn",
    "optax",
)
PACKAGES = tuple(dict.fromkeys(name.partition(".")[0] for name in SHIPPED))
_trusted: ContextVar[bool] = ContextVar("trusted", default=False)


@contextlib.contextmanager
def trusting(trust: bool) -> Iterator[None]:
    """Whether names may stand for functions of any installed package, for the time of the block."""
    token = _trusted.set(trust)
    try:
        yield
    finally:
        _trusted.reset(token)


def is_shipped(module: str) -> bool:
    """Whether a name may come from this module with no trust at all.

    >>> is_shipped("optax.contrib"), is_shipped("jax.tools"), is_shipped("subprocess")
    (True, False, False)
    """
    return any(module == name or module.startswith(f"{name}.") for name in SHIPPED)


def refuse_module(what: str, module: str) -> None:
    """Refuse a module that no name may come from; it is not imported for that.

    Args:
        what: names it, for the message.
        module: dotted name.

    Raises:
        ConfigError: it is of the standard library, or of a package that is not trusted.

    >>> refuse_module("model 'os:system'", "os")
    Traceback (most recent call last):
    initopt_jax.errors.ConfigError: model 'os:system': 'os' is of Python's standard library...
    """
    top = module.partition(".")[0]
    if is_shipped(module):
        return
    if top in PACKAGES:
        raise ConfigError(
            f"{what}: of {top!r} only these modules may be named: "
            f"{', '.join(name for name in SHIPPED if name.partition('.')[0] == top)}"
        )
    if top in sys.stdlib_module_names or user_files.is_standard(module):
        raise ConfigError(
            f"{what}: {top!r} is of Python's standard library, which no config may name; if a file "
            "of your own has this name, give it another"
        )
    path = user_files.installed_file(module)
    if path is not None and not _trusted.get():
        raise ConfigError(
            f"{what}: {module!r} belongs to an installed package ({path}). Call it in a function "
            "of your own file and name that, or run with --trust (trust=True)"
        )


def refuse_step(what: str, module: str, part: str, found: Any) -> None:
    """Refuse a way through a module that leads out of it, or into Python's own workings.

    Args:
        what: names it, for the message.
        module: dotted name.
        part: of the name behind the colon. found: what it stands for.

    Raises:
        ConfigError: `part` is such as `__globals__`, or is itself a module.
    """
    if part.startswith("__"):
        raise ConfigError(f"{what}: {part!r} cannot be named; name a function")
    if isinstance(found, ModuleType):
        raise ConfigError(
            f"{what}: {part!r} is a module, not a function (one of {module!r}'s own is written "
            f"'{module}.{part}:function')"
        )


def refuse_object(what: str, module: str, found: Any) -> None:
    """Refuse a function that a module only imported from where no name may come from.

    Raises:
        ConfigError: it was made in the standard library, or, of a module of `SHIPPED`, elsewhere.

    >>> import shutil
    >>> refuse_object("model 'mine:rmtree'", "mine", shutil.rmtree)
    Traceback (most recent call last):
    initopt_jax.errors.ConfigError: model 'mine:rmtree': it is a function of 'shutil', which ...
    """
    home = _home(found)
    top = home.partition(".")[0]
    if is_shipped(module) and top not in PACKAGES:
        raise ConfigError(f"{what}: it is a function of {home!r}, which {module!r} only imports")
    if top in sys.stdlib_module_names:
        raise ConfigError(f"{what}: it is a function of {home!r}, which no config may name")


def _home(found: Any) -> str:
    """The module in which a callable was made."""
    while isinstance(found, functools.partial | MethodType):
        found = found.func if isinstance(found, functools.partial) else found.__func__
    home = getattr(found, "__module__", None)
    if isinstance(home, str):
        return home
    if inspect.isfunction(found):  # made by code that says no module
        return str(found.__globals__.get("__name__", ""))
    return type(found).__module__
