"""What a program depends on, and whether it draws random numbers: read from its operations."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.interpreters import partial_eval

from initopt_jax.networks.programs import equations

DRAWS = frozenset({"random_bits", "threefry2x32", "rng_bit_generator"})


def depends(jaxpr: Any, outputs: Sequence[bool]) -> list[bool]:
    """Which arguments of a program those of its outputs depend on that are chosen.

    An operation counts as depending on all that it is given, where it is not looked into.

    >>> jaxpr = jax.make_jaxpr(lambda x, y: (x + 1, y))(1.0, 2.0).jaxpr
    >>> depends(jaxpr, [True, False])
    [True, False]
    """
    return list(partial_eval.dce_jaxpr(jaxpr, list(outputs))[1])


def follows(function: Callable[..., Any], key: Any, *given: Any) -> bool:
    """Whether what a function `(key, *given)` gives depends on its key; nothing is computed.

    >>> follows(lambda key, x: x + jax.random.normal(key), jax.random.key(0), 1.0)
    True
    """
    jaxpr = jax.make_jaxpr(function)(key, *given).jaxpr
    keys = len(jax.tree.leaves(key))
    return any(depends(jaxpr, [True] * len(jaxpr.outvars))[:keys])


def random_operations(jaxpr: Any) -> Counter[str]:
    """The random operations of a program and of those within it, with their numbers.

    >>> key = jax.random.key(0)
    >>> dict(random_operations(jax.make_jaxpr(lambda key: jax.random.bits(key))(key).jaxpr))
    {'random_bits': 1}
    """
    names = (equation.primitive.name for equation in equations(jaxpr))
    return Counter(name for name in names if name in DRAWS)


def dtypes_in(jaxpr: Any) -> set[Any]:
    """The dtypes of all numbers that a program computes.

    >>> sorted(map(str, dtypes_in(jax.make_jaxpr(lambda x: x.astype("int32") + 1)(1.5).jaxpr)))
    ['int32']
    """
    return {var.aval.dtype for equation in equations(jaxpr) for var in equation.outvars}
