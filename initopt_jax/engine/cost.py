"""What training and evaluation cost: floating-point operations, and bytes of a tile's state."""

import math
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from initopt_jax.engine.operations import Operations, operations
from initopt_jax.engine.plan import Program
from initopt_jax.engine.segment import (
    EVALUATION_CHUNK,
    LaneInputs,
    LaneState,
    make_lane_step,
    make_start,
)
from initopt_jax.precision import wide_dtype
from initopt_jax.types import Array, Dataset, Model, PyTree, Task


def step_operations(
    program: Program, model: Model, task: Task, dataset: Dataset, params: PyTree, state: PyTree
) -> Operations:
    """Floating-point operations of one lane's step: forward, backward and update.

    Counted in the trace of a single network's step (see `operations`), so the number depends on the
    model, the batch size and the transform, not on the machine or on how it runs there;
    augmentation is left out, since it is no part of any of them.
    """
    batch = program.batch_size or len(dataset.train.inputs)
    examples, targets = (
        jax.ShapeDtypeStruct((batch, *array.shape[1:]), array.dtype) for array in dataset.train
    )

    one, one_input = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype),
        tile_shapes(program, params, state, width=1),
    )
    step = make_lane_step(model, replace(task, augment=None), program.make_transform)
    return operations(step, one, one_input, examples, targets)


def evaluation_operations(
    model: Model, task: Task, dataset: Dataset, params: PyTree, state: PyTree
) -> float:
    """Floating-point operations that it takes to measure one network on one example.

    Counted on a chunk of examples, as an evaluation has them, and divided by their number.
    """
    count = min(len(dataset.val.inputs), EVALUATION_CHUNK)
    examples, targets = (
        jax.ShapeDtypeStruct((count, *array.shape[1:]), array.dtype) for array in dataset.val
    )
    weights = jax.ShapeDtypeStruct((count,), wide_dtype())

    def measure(params: PyTree, state: PyTree, *chunk: Array) -> Any:
        outputs, _ = model.apply(params, state, chunk[0], train=False)
        return task.measure(outputs, chunk[1], chunk[2])

    return operations(measure, params, state, examples, targets, weights).count / count


def tile_bytes(program: Program, params: PyTree, state: PyTree) -> int:
    """What the state of a tile takes: weights, accumulators and batch statistics of W lanes."""
    lanes, _ = tile_shapes(program, params, state, program.width)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(lanes))


def tile_shapes(
    program: Program, params: PyTree, state: PyTree, width: int
) -> tuple[LaneState, LaneInputs]:
    """Shapes of a tile's state and inputs, from those of one network."""
    params, state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((width, *np.shape(leaf)), leaf.dtype), (params, state)
    )
    scalar: Any = jax.ShapeDtypeStruct((width,), wide_dtype())
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), width))
    inputs = LaneInputs({name: scalar for name in program.hyperparameters}, keys)  # noqa: C420
    return jax.eval_shape(make_start(program.make_transform), params, state, inputs), inputs
