"""A model that computes in one dtype, and whose weights and outputs are kept in another."""

from typing import Any

import jax
import jax.numpy as jnp

from initopt_jax.models.fit import Forms, batch_of
from initopt_jax.networks.dependence import dtypes_in
from initopt_jax.tree import named_leaves
from initopt_jax.types import Array, Model, PyTree, Shape


def with_precision(model: Model, *, wide: Any, compute: Any, cast_inputs: bool = True) -> Model:
    """The model with floating weights in `wide`, whose forward pass is done in `compute`.

    `init` gives weights and state in `wide`. `apply` casts weights and examples to `compute`, and
    the outputs back to `wide`; model state goes in as it is and comes back in the dtype that it
    had. Gradients come back in `wide` too, as casting is differentiated like everything else.
    Integers are left alone.

    Args:
        model: any pair of pure functions. Layers that have a dtype of their own keep it.
        wide: floating dtype of weights, state and outputs.
        compute: floating dtype in between.
        cast_inputs: whether examples are cast; not where they are numbers of things, such as
            tokens, that `compute` cannot hold.

    Returns:
        The model; the given one where there is nothing to do.

    Reference: Micikevicius et al. 2018, Mixed precision training, section 3.1 (a master copy of the
        weights); Kalamkar et al. 2019, A study of BFLOAT16 for deep learning training, section 3.
    Deviations: no loss scaling, which bfloat16 does not need: it has the exponents of float32.

    >>> plain = Model(
    ...     lambda key, inputs: ({"w": jnp.ones((2, 1))}, {}),
    ...     lambda params, state, inputs, **options: (inputs @ params["w"], state),
    ... )
    >>> half = with_precision(plain, wide=jnp.float32, compute=jnp.bfloat16)
    >>> params, state = half.init(jax.random.key(0), jnp.ones((1, 2)))
    >>> outputs, _ = half.apply(params, state, jnp.full((1, 2), 1.001))
    >>> params["w"].dtype.name, outputs.dtype.name, outputs.item()
    ('float32', 'float32', 2.0)
    """
    wide, compute = jnp.dtype(wide), jnp.dtype(compute)
    if wide == compute == jnp.float32:
        return model

    def init(key: Array, inputs: Array) -> tuple[PyTree, PyTree]:
        params, model_state = model.init(key, inputs)
        return floats_as(wide, params), floats_as(wide, model_state)

    def apply(
        params: PyTree,
        model_state: PyTree,
        inputs: Array,
        *,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        examples = floats_as(compute, inputs) if cast_inputs else inputs
        narrow = floats_as(compute, params)
        outputs, after = model.apply(narrow, model_state, examples, key=key, train=train)
        return floats_as(wide, outputs), jax.tree.map(_like, after, model_state)

    return Model(init, apply)


def held_in(model: Model, forms: Forms, wide: Any) -> tuple[Model, dict[str, str]]:
    """The model with floating weights, state and outputs in `wide`, whatever it declares.

    A weight that the model declares in another dtype is cast to it on the way into each forward
    pass: it computes as it says, while sums of small updates are kept.

    Args:
        model: any pair of pure functions.
        forms: of its weights, state and outputs.
        wide: floating dtype.

    Returns:
        The model (the given one where nothing is declared otherwise), and the declared dtype of
        each weight that has another.

    Reference: Micikevicius et al. 2018, Mixed precision training, section 3.1.
    """
    wide = jnp.dtype(wide)
    declared = {
        path: leaf.dtype.name
        for path, leaf in named_leaves(forms.params)
        if jnp.issubdtype(leaf.dtype, jnp.floating) and leaf.dtype != wide
    }
    others = jax.tree.leaves((forms.state, forms.outputs))
    narrow = [jnp.issubdtype(one.dtype, jnp.floating) and one.dtype != wide for one in others]
    if not declared and not any(narrow):
        return model, {}

    def init(key: Array, inputs: Array) -> tuple[PyTree, PyTree]:
        return floats_as(wide, model.init(key, inputs))

    def apply(
        params: PyTree,
        model_state: PyTree,
        inputs: Array,
        *,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        own = jax.tree.map(_like, params, forms.params)
        outputs, after = model.apply(own, model_state, inputs, key=key, train=train)
        return floats_as(wide, outputs), jax.tree.map(_like, after, model_state)

    return Model(init, apply), declared


def computes_in(model: Model, forms: Forms, shape: Shape) -> set[str]:
    """The floating dtypes of what a model computes in a forward pass.

    Args:
        model: the model.
        forms: of its weights and state.
        shape: of one example.
    """

    def forward(params: PyTree, state: PyTree, inputs: Array) -> PyTree:
        return model.apply(params, state, inputs, train=False)

    traced = jax.make_jaxpr(forward)(forms.params, forms.state, batch_of(shape, 2))
    return {str(dtype) for dtype in dtypes_in(traced.jaxpr) if jnp.issubdtype(dtype, jnp.floating)}


def floats_as(dtype: Any, tree: PyTree) -> PyTree:
    """The tree with its floating leaves in a dtype; integers and keys stay what they are."""

    def cast(leaf: Any) -> Any:
        return leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(cast, tree)


def _like(new: Any, old: Any) -> Any:
    return new if new.dtype == old.dtype else new.astype(old.dtype)
