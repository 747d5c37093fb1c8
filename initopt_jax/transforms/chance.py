"""Random numbers of other people's transformations: from the lane's own stream, as plain numbers.

Optax's noisy transformations draw from a key that their factory is given, 0 by default: the same
noise in every lane. And they carry that key in their state, as an array of a kind that files,
checkpoints and NumPy do not know.
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from initopt_jax.keys import NOISE_KEY
from initopt_jax.types import EvaluatedTransform, PyTree, option_names

ARGUMENTS = ("key", "seed")  # of factories; the first that is taken is given


def seeded(make: Callable[..., Any]) -> Callable[..., Any]:
    """A factory of transformations that takes a `noise_key` in place of its own `key` or `seed`.

    A `seed` is a whole number drawn from the key.

    Args:
        make: the factory; one that takes neither is returned as it is.

    Returns:
        The factory; without a `noise_key` it is given the key 0.

    >>> zeros = jnp.zeros(3)
    >>> noisy = [seeded(optax.noisy_sgd)(0.1, noise_key=jax.random.key(n)) for n in (0, 1)]
    >>> one, other = (t.update(zeros, t.init(zeros))[0] for t in noisy)
    >>> bool((one != other).all())
    True
    """
    taken = [name for name in ARGUMENTS if name in option_names(make)]
    if not taken:
        return make

    @functools.wraps(make)
    def made(*arguments: Any, noise_key: Any = None, **options: Any) -> Any:
        key = jax.random.key(0) if noise_key is None else noise_key
        value = key if taken[0] == "key" else jax.random.bits(key, dtype=jnp.uint32)
        return make(*arguments, **{taken[0]: value}, **options)

    signature = inspect.signature(make)
    others = [one for name, one in signature.parameters.items() if name not in taken]
    own = inspect.Parameter(NOISE_KEY, inspect.Parameter.KEYWORD_ONLY, default=None)
    last = others and others[-1].kind is inspect.Parameter.VAR_KEYWORD
    others.insert(len(others) - bool(last), own)
    # A required argument may now follow one with a default, which a signature refuses.
    kept = [one.replace(kind=one.KEYWORD_ONLY) if not _rest(one) else one for one in others]
    made.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
    return made


def holds_keys(tree: PyTree) -> bool:
    """Whether a leaf of a state is a random key, or the shape of one.

    >>> holds_keys({"key": jax.random.key(0)}), holds_keys({"key": jax.random.PRNGKey(0)})
    (True, False)
    """
    return any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(tree))


def with_words(transform: optax.GradientTransformation) -> optax.GradientTransformation:
    """The transformation whose state holds random keys as their words, unsigned whole numbers.

    Args:
        transform: whose `update` is given the parameters.

    >>> plain = with_words(optax.add_noise(1.0, 0.5, key=3))
    >>> plain.init(jnp.zeros(2)).rng_key
    Array([0, 3], dtype=uint32)
    """
    inner = optax.with_extra_args_support(transform)

    def keyed(state: PyTree, params: PyTree) -> PyTree:
        kinds: list[Any] = []

        def look(params: PyTree) -> PyTree:
            begun = inner.init(params)
            kinds[:] = [_kind(leaf) for leaf in jax.tree.leaves(begun)]
            return begun

        like = jax.eval_shape(look, params)
        leaves = [
            leaf if kind is None else jax.random.wrap_key_data(leaf, impl=kind)
            for leaf, kind in zip(jax.tree.leaves(state), kinds, strict=True)
        ]
        return jax.tree.unflatten(jax.tree.structure(like), leaves)

    def init(params: PyTree) -> PyTree:
        return jax.tree.map(_worded, inner.init(params))

    def update(
        updates: PyTree, state: PyTree, params: PyTree = None, **extra: Any
    ) -> tuple[PyTree, PyTree]:
        moved, after = inner.update(updates, keyed(state, params), params, **extra)
        return moved, jax.tree.map(_worded, after)

    if isinstance(transform, EvaluatedTransform):
        offer = transform.eval_params
        return EvaluatedTransform(init, update, lambda s, params: offer(keyed(s, params), params))
    return optax.GradientTransformationExtraArgs(init, update)


def _rest(parameter: inspect.Parameter) -> bool:
    return parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)


def _worded(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if holds_keys(leaf) else leaf


def _kind(leaf: Any) -> Any:
    """How a random key draws; None for anything else."""
    return jax.random.key_impl(leaf) if holds_keys(leaf) else None
