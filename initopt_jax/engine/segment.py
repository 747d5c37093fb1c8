"""The one definition of a training step, and what is compiled from it.

Everything here is pure. A lane's step is written for one network; `vmap` makes it a tile's, `scan`
makes it a segment's. Hyperparameters are arrays: the transform is built inside the traced function.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from initopt_jax.keys import NOISE_KEY, named_key
from initopt_jax.types import Array, EvaluatedTransform, Model, PyTree, Split, Task

MakeTransform = Callable[[Mapping[str, Array]], optax.GradientTransformation]
EVALUATION_CHUNK = 2048  # examples of one forward pass; bounds the memory of an evaluation


class LaneState(NamedTuple):
    """What one lane carries from step to step; every array gains a leading W in a tile.

    step: int32, steps done. diverged_step: int32, the first step whose loss was not finite, or
    -1; see `divergence`.
    """

    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    step: Array
    diverged_step: Array


class LaneInputs(NamedTuple):
    """What distinguishes a lane besides its first weights: hyperparameters [W], noise key [W]."""

    hyperparameters: dict[str, Array]
    noise_key: Array

    @property
    def numbers(self) -> dict[str, Array]:
        """What the transformation is made of: for those that draw, the noise key is among them."""
        return self.hyperparameters | {NOISE_KEY: self.noise_key}


def make_start(make_transform: MakeTransform) -> Callable[..., LaneState]:
    """`start(params, model_state, inputs) -> LaneState` for a tile, at step 0."""

    def start_lane(params: PyTree, model_state: PyTree, inputs: LaneInputs) -> LaneState:
        opt_state = make_transform(inputs.numbers).init(params)
        return LaneState(params, model_state, opt_state, jnp.int32(0), jnp.int32(-1))

    return jax.vmap(start_lane)


def make_eval_params(make_transform: MakeTransform) -> Callable[[LaneState, LaneInputs], PyTree]:
    """`eval_params(state, inputs) -> params` of a tile: those that its transform evaluates."""

    def of_lane(state: LaneState, inputs: LaneInputs) -> PyTree:
        transform = make_transform(inputs.numbers)
        if isinstance(transform, EvaluatedTransform):
            return transform.eval_params(state.opt_state, state.params)
        return state.params

    return jax.vmap(of_lane)


def make_lane_step(model: Model, task: Task, make_transform: MakeTransform) -> Callable[..., Any]:
    """`step(state, inputs, examples [B, ...], targets [B]) -> (state, loss)` for one lane."""

    def step(
        state: LaneState, inputs: LaneInputs, examples: Array, targets: Array
    ) -> tuple[LaneState, Array]:
        key = jax.random.fold_in(inputs.noise_key, state.step)
        model_key, transform_key = jax.random.split(key)
        if task.augment is not None:  # under a name, so that it moves neither of the other keys
            examples = task.augment(named_key(key, "augment"), examples)

        def loss_of(params: PyTree) -> tuple[Array, PyTree]:
            outputs, model_state = model.apply(
                params, state.model_state, examples, key=model_key, train=True
            )
            return jnp.mean(task.loss(outputs, targets)), model_state

        (loss, model_state), grads = jax.value_and_grad(loss_of, has_aux=True)(state.params)
        transform = optax.with_extra_args_support(make_transform(inputs.numbers))
        updates, opt_state = transform.update(
            grads,
            state.opt_state,
            state.params,
            value=loss,
            grad=grads,
            value_fn=lambda params, key=None: loss_of(params)[0],  # line searches pass on the key
            key=transform_key,
        )
        params = optax.apply_updates(state.params, updates)
        first_bad = (state.diverged_step < 0) & ~jnp.isfinite(loss)
        diverged_step = jnp.where(first_bad, state.step, state.diverged_step)
        return LaneState(params, model_state, opt_state, state.step + 1, diverged_step), loss

    return step


def over_lanes(
    step: Callable[..., Any], width: int, in_axes: Sequence[int | None]
) -> Callable[..., Any]:
    """`jax.vmap(step, in_axes)` for a tile; a tile of one lane is that lane, without the axis.

    Products with an axis of one lane compile to other ones: for wide layers on CPU they give
    transposed gradients, and the update that reads them took three times as long as all the rest.
    """
    if width > 1:
        return jax.vmap(step, in_axes=tuple(in_axes))

    def alone(*arguments: Any) -> Any:
        lane = [
            argument if axis is None else jax.tree.map(lambda leaf: leaf[0], argument)
            for argument, axis in zip(arguments, in_axes, strict=True)
        ]
        return jax.tree.map(lambda leaf: leaf[None], step(*lane))

    return alone


def make_segment(
    model: Model, task: Task, make_transform: MakeTransform, *, full_batch: bool
) -> Callable[..., tuple[LaneState, Array]]:
    """`segment(state, inputs, loss, data, batches) -> (state, loss)`: k steps of a tile.

    `loss` [W] sums the losses of steps; the segment adds its own one by one.
    `batches` is int32 [k, W, B], example numbers in the training split `data`; with `full_batch`
    it is int32 [k], only counts the steps, and every step sees the whole split.
    """
    step = make_lane_step(model, task, make_transform)

    def segment(
        state: LaneState, inputs: LaneInputs, loss: Array, data: Split, batches: Array
    ) -> tuple[LaneState, Array]:
        def one_step(carry: tuple[LaneState, Array], batch: Array) -> tuple[Any, None]:
            state, total = carry
            if full_batch:
                lanes = over_lanes(step, len(total), in_axes=(0, 0, None, None))
                state, losses = lanes(state, inputs, data.inputs, data.targets)
            else:
                examples, targets = data.inputs[batch], data.targets[batch]
                lanes = over_lanes(step, len(total), in_axes=(0, 0, 0, 0))
                state, losses = lanes(state, inputs, examples, targets)
            return (state, total + losses), None

        return jax.lax.scan(one_step, (state, loss), batches)[0]

    return segment


class Chunks(NamedTuple):
    """A split in equal chunks: inputs and targets [C, n, ...], mask [C, n] (0: padding)."""

    inputs: Any
    targets: Any
    mask: Any


def make_evaluate(model: Model, task: Task) -> Callable[..., dict[str, Array]]:
    """`evaluate(params, model_state, splits) -> {"val_loss": [W], ...}` of named splits."""

    def measure_split(params: PyTree, model_state: PyTree, chunks: Chunks) -> dict[str, Array]:
        def measure(chunk: Chunks) -> dict[str, Array]:
            outputs, _ = model.apply(params, model_state, chunk.inputs, train=False)
            return task.measure(outputs, chunk.targets, chunk.mask)

        sums = jax.lax.map(measure, chunks)
        return task.summarize(jax.tree.map(lambda value: jnp.sum(value, axis=0), sums))

    def evaluate(
        params: PyTree, model_state: PyTree, splits: dict[str, Chunks]
    ) -> dict[str, Array]:
        lanes = jax.vmap(measure_split, in_axes=(0, 0, None))
        return {
            f"{split}_{metric}": value
            for split, chunks in splits.items()
            for metric, value in lanes(params, model_state, chunks).items()
        }

    return evaluate
