"""The size of a model by its own operations: known from shapes, before anything is compiled."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax

from initopt_jax.networks.programs import programs_in
from initopt_jax.types import Model, PyTree


@dataclass(frozen=True)
class ModelSize:
    """What plans are made by.

    Attributes:
        parameters: weights of one network.
        activations: numbers that a forward pass makes for one example.
        flops: floating-point operations of its products, for one example.
    """

    parameters: int
    activations: int
    flops: int


def model_size(
    model: Model, params: PyTree, state: PyTree, inputs: jax.ShapeDtypeStruct
) -> ModelSize:
    """The size of a model by its own operations, nested ones included.

    Args:
        model: whose forward pass is counted.
        params: shapes of its parameters.
        state: its mutable state.
        inputs: shape of a batch [B, ...]; what is counted is divided by B.
    """

    def forward(params: PyTree, inputs: Any) -> Any:
        return model.apply(params, state, inputs, train=False)[0]

    traced = jax.make_jaxpr(forward)(params, inputs)
    activations = flops = 0
    for equation, times in _equations(traced.jaxpr, 1):
        made = _made(equation)
        activations += times * made
        flops += times * 2 * made * _terms(equation)
    examples = inputs.shape[0]
    parameters = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    return ModelSize(parameters, activations // examples, flops // examples)


def largest(jaxpr: Any) -> int:
    """Bytes of the largest result of one operation of a jaxpr, those inside loops included."""
    most = 0
    for equation in jaxpr.eqns:
        made = (variable.aval for variable in equation.outvars)
        size = sum(math.prod(a.shape) * getattr(a.dtype, "itemsize", 8) for a in made)
        most = max(most, size, *(largest(part.jaxpr) for part in programs_in(equation)))
    return most


def _made(equation: Any) -> int:
    """Numbers that an operation makes; where it writes into an array, those that it writes."""
    if equation.primitive.name == "dynamic_update_slice":
        return math.prod(equation.invars[1].aval.shape)
    return sum(math.prod(variable.aval.shape) for variable in equation.outvars)


def _equations(jaxpr: Any, times: int) -> Iterator[tuple[Any, int]]:
    """The innermost operations and how often each runs."""
    for equation in jaxpr.eqns:
        inner = programs_in(equation)
        for part in inner:
            yield from _equations(part.jaxpr, times * equation.params.get("length", 1))
        if not inner:
            yield equation, times


def _terms(equation: Any) -> int:
    """Products summed in each number that an operation makes; 0 for those that make no products."""
    shapes = [variable.aval.shape for variable in equation.invars]
    if equation.primitive.name == "dot_general":
        (contracted, _), _ = equation.params["dimension_numbers"]
        return math.prod(shapes[0][axis] for axis in contracted)
    if equation.primitive.name == "conv_general_dilated":
        features = shapes[1][equation.params["dimension_numbers"].rhs_spec[0]]
        return math.prod(shapes[1]) // features
    return 0
