"""What a training step costs in floating-point operations, by XLA's own count."""

import math
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from initopt_jax.engine.plan import Program
from initopt_jax.engine.segment import LaneInputs, LaneState, make_lane_step, make_start
from initopt_jax.precision import wide_dtype
from initopt_jax.types import Dataset, Model, PyTree, Task


def flops_per_step(
    program: Program, model: Model, task: Task, dataset: Dataset, params: PyTree, state: PyTree
) -> float:
    """Floating-point operations of one lane's step: forward, backward and update.

    Counted by XLA on the unoptimized step of a single network, so the number depends on the model,
    the batch size and the transform, not on the machine; augmentation is left out, since it is no
    part of any of them. NaN where XLA gives no count.
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
    # For CPU whatever trains: XLA counts a program that is not compiled there, and not on a GPU.
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        counted = jax.jit(step).lower(one, one_input, examples, targets).cost_analysis()
    return float((counted or {}).get("flops", np.nan))


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
