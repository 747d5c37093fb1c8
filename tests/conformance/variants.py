"""The methods of the registry, and what of their options changes the program."""

import inspect
import itertools

import pytest

from initopt_jax.transforms import REGISTRY
from initopt_jax.types import option_names


def options(name: str, *, flags: bool) -> list[str]:
    """Names of the hyperparameters of a method, or of its flags; not counts, text or layouts."""
    return [
        key
        for key, default in option_names(REGISTRY[name].make).items()
        if isinstance(default, bool) == flags and type(default) not in (int, str, type(None))
    ]


def required(name: str) -> list[str]:
    """The options of a method that have no default."""
    named = option_names(REGISTRY[name].make)
    return [key for key, default in named.items() if default is inspect.Parameter.empty]


def variants():
    """Every method with every setting of its flags; `gd` is the function of `sgd`."""
    for name in sorted(set(REGISTRY) - {"gd"}):
        flags = options(name, flags=True)
        for settings in itertools.product([False, True], repeat=len(flags)):
            chosen = dict(zip(flags, settings, strict=True))
            yield pytest.param(
                name, chosen, id=" ".join([name, *(k for k, on in chosen.items() if on)])
            )


EACH = pytest.mark.parametrize(("name", "flags"), list(variants()))
