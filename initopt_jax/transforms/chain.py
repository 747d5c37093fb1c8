"""Transformations one after another, or inside another, with their weights to evaluate."""

from collections.abc import Callable
from typing import Any

import optax

from initopt_jax.transforms.contract import on_real_leaves
from initopt_jax.types import EvaluatedTransform, PyTree


def chain(*transforms: optax.GradientTransformation) -> optax.GradientTransformation:
    """`optax.chain`, whose weights to evaluate are those of the member that has its own.

    Args:
        transforms: in the order in which updates pass them.

    Returns:
        The chain; an `EvaluatedTransform` if a member is one.

    Raises:
        ValueError: if two members have weights of their own to evaluate.

    >>> type(chain(optax.sgd(0.1), optax.sgd(0.2))).__name__
    'GradientTransformationExtraArgs'
    """
    chained = optax.with_extra_args_support(optax.chain(*transforms))
    own = [index for index, one in enumerate(transforms) if isinstance(one, EvaluatedTransform)]
    if not own:
        return chained
    if len(own) > 1:
        raise ValueError("only one member of a chain may have weights of its own to evaluate")
    (place,) = own
    member = transforms[place]

    def eval_params(state: Any, params: PyTree) -> PyTree:
        return eval_params_of(member, state[place], params)

    return EvaluatedTransform(chained.init, chained.update, eval_params)


def around(
    inner: optax.GradientTransformation,
    init: Callable[[PyTree], Any],
    update: Callable[..., tuple[PyTree, Any]],
    inner_state: Callable[[Any], Any],
) -> optax.GradientTransformation:
    """The transformation that takes the place of `inner`, with the same weights to evaluate.

    Args:
        inner: what it is built around.
        init: of the new transformation.
        update: of the new transformation; takes extra arguments.
        inner_state: the state of `inner` in that of the new one.
    """
    if not isinstance(inner, EvaluatedTransform):
        return on_real_leaves(optax.GradientTransformationExtraArgs(init, update))

    def eval_params(state: Any, params: PyTree) -> PyTree:
        return inner.eval_params(inner_state(state), params)

    return on_real_leaves(EvaluatedTransform(init, update, eval_params))


def eval_params_of(transform: optax.GradientTransformation, state: Any, params: PyTree) -> PyTree:
    """The weights to evaluate: those of `eval_params`, else those it trains."""
    if isinstance(transform, EvaluatedTransform):
        return transform.eval_params(state, params)
    return params
