"""Floating-point operations of training and evaluation, and bytes of a tile's state."""

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
from initopt_jax.engine.workload import Workload
from initopt_jax.types import Array, PyTree


def step_operations(program: Program, workload: Workload) -> Operations:
    """Floating-point operations of one lane's step: forward, backward and update.

    Counted in the trace of a single network's step (see `operations`), so the number depends on the
    model, the batch size and the transform, not on the machine or on how it runs there;
    augmentation is left out, since it is no part of any of them.
    """
    batch = program.batch_size or workload.examples
    examples, targets = (
        jax.ShapeDtypeStruct((batch, *array.shape[1:]), array.dtype)
        for array in workload.dataset.train
    )

    one, one_input = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype),
        tile_shapes(program, workload, width=1),
    )
    task = replace(workload.task, augment=None)
    step = make_lane_step(workload.model, task, program.make_transform)
    return operations(step, one, one_input, examples, targets)


def evaluation_operations(workload: Workload) -> float:
    """Floating-point operations that it takes to measure one network on one example.

    Counted on a chunk of examples, as an evaluation has them, and divided by their number.
    """
    val = workload.dataset.val
    count = min(len(val.inputs), EVALUATION_CHUNK)
    examples, targets = (
        jax.ShapeDtypeStruct((count, *array.shape[1:]), array.dtype) for array in val
    )
    weights = jax.ShapeDtypeStruct((count,), workload.param_dtype)

    def measure(params: PyTree, state: PyTree, *chunk: Array) -> Any:
        outputs, _ = workload.model.apply(params, state, chunk[0], train=False)
        return workload.task.measure(outputs, chunk[1], chunk[2])

    shapes = workload.params, workload.model_state, examples, targets, weights
    return operations(measure, *shapes).count / count


def tile_bytes(program: Program, workload: Workload) -> int:
    """What the state of a tile takes: weights, accumulators and batch statistics of W lanes."""
    lanes, _ = tile_shapes(program, workload, program.width)
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in jax.tree.leaves(lanes))


def tile_shapes(program: Program, workload: Workload, width: int) -> tuple[LaneState, LaneInputs]:
    """Shapes of a tile's state and inputs, from those of one network."""
    params, state = jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct((width, *np.shape(leaf)), leaf.dtype),
        (workload.params, workload.model_state),
    )
    scalar: Any = jax.ShapeDtypeStruct((width,), workload.param_dtype)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), width))
    inputs = LaneInputs({name: scalar for name in program.hyperparameters}, keys)  # noqa: C420
    return jax.eval_shape(make_start(program.make_transform), params, state, inputs), inputs
