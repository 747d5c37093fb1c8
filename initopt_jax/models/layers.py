"""How a model uses its leaves."""

from typing import Any

from initopt_jax.initializers import Layout, layouts
from initopt_jax.models.convolution import as_stock
from initopt_jax.types import Array, Model, PyTree


def leaf_layouts(
    model: Model, params: PyTree, model_state: PyTree, inputs: Any
) -> dict[str, Layout]:
    """The layout of every leaf by what the forward pass does with it; nothing is computed.

    Args:
        model: the model.
        params: arrays or shapes.
        model_state: likewise.
        inputs: a batch [B, ...] of more than one example, or its shape.

    Returns:
        Path to layout; see `initializers.layouts`.

    >>> import jax
    >>> from initopt_jax.models import REGISTRY, param_shapes
    >>> model = REGISTRY["cnn"].make(outputs=10)
    >>> inputs = jax.ShapeDtypeStruct((2, 28, 28, 1), "float32")
    >>> params = param_shapes(model, inputs)
    >>> leaf_layouts(model, params, {}, inputs)["conv_1/kernel"].fans((3, 3, 16, 32))
    (144, 288)
    """

    def apply(params: PyTree, model_state: PyTree, inputs: Array) -> Array:
        return model.apply(params, model_state, inputs, train=False)[0]

    with as_stock():  # a product over patches would not tell window and inputs apart
        return layouts(apply, params, model_state, inputs)
