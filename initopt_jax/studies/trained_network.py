"""A network that a study trained, with all that its use elsewhere needs."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.engine.segment import EVALUATION_CHUNK as AT_ONCE
from initopt_jax.planning.resolve import Experiment
from initopt_jax.precision import in_precision, param_dtype
from initopt_jax.types import Model, PyTree, Shape, TaskKind


@dataclass(frozen=True)
class TrainedNetwork:
    """One network of a study.

    In a loop of one's own its outputs are those of the user's module on normalized inputs: of a
    Linen one `module.apply({"params": params, **model_state}, normalize(inputs))`, and of any
    `model.apply(params, model_state, normalize(inputs), train=False)[0]`.

    Attributes:
        lane: its number in the study.
        step: steps that it was trained for.
        params: its weights, nested dicts of arrays: those that are evaluated (with an average of
            weights, or a schedule-free method, not those that take gradients).
        model_state: what a forward pass needs besides, such as `batch_stats`; `{}` for nothing.
        model: `init` and `apply`, in the study's precision.
        kind: of its task: classification, regression or reconstruction.
        input_shape: of one example.
        input_scale: what normalized the inputs, `(x - origin - mean) / scale`: arrays `origin`,
            `mean`, `scale`, one number for all or one per feature; None where nothing did.
        target_scale: likewise of the targets of a regression.
        pixel_unit: what whole numbers of pixels are divided by before: 255, for digits 16; None
            where inputs are no pixels.
        columns: names of the input features, for tables.
        classes: names of the classes, in the order of the outputs; empty where they are numbers.
        precision: of the study.
    """

    lane: int
    step: int
    params: PyTree
    model_state: PyTree
    model: Model
    kind: TaskKind
    input_shape: Shape
    input_scale: Any
    target_scale: Any
    pixel_unit: float | None
    columns: tuple[str, ...]
    classes: tuple[str, ...]
    precision: str

    def normalize(self, inputs: Any) -> np.ndarray:
        """Inputs as the network takes them.

        Args:
            inputs: [N, ...] as the source of the data has them. Pixels are whole numbers as files
                hold them, or fractions in [0, 1]; a table has its columns in the order of
                `columns`.

        Returns:
            The same numbers that the study has made of them.

        Raises:
            ValueError: examples have another shape, or pixels are neither.
        """
        array = np.asarray(inputs)
        if array.shape[1:] != self.input_shape or array.ndim != len(self.input_shape) + 1:
            raise ValueError(
                f"inputs must have the shape [N, {', '.join(map(str, self.input_shape))}], got "
                f"{array.shape}"
            )
        if array.dtype.kind not in "biuf":
            raise ValueError(f"inputs must be real numbers, got dtype {array.dtype}")
        if self.pixel_unit is not None:
            array = self._fractions(array, self.pixel_unit)
        if self.input_scale is not None:
            array = self.input_scale.apply(array)
        return np.asarray(array, np.float32)

    def _fractions(self, array: np.ndarray, unit: float) -> np.ndarray:
        """Pixels in [0, 1]."""
        whole = array.dtype.kind in "iu"
        low, high = array.min(initial=0), array.max(initial=0)
        if low < 0 or high > (unit if whole else 1):
            raise ValueError(
                f"pixels must be whole numbers from 0 to {unit:g}, or fractions from 0 to 1, got "
                f"{array.dtype} from {low:g} to {high:g}"
            )
        return np.divide(array, np.float32(unit), dtype=np.float32) if whole else array

    def apply(self, inputs: Any) -> np.ndarray:
        """Outputs [N, K] for inputs as the source has them: logits, or normalized targets.

        Raises:
            ValueError: as `normalize`.
        """
        examples = self.normalize(inputs)
        some = examples if len(examples) else np.zeros((1, *self.input_shape), np.float32)
        with in_precision(self.precision):
            pieces = [
                np.asarray(self._forward(self.params, self.model_state, some[start:][:AT_ONCE]))
                for start in range(0, len(some), AT_ONCE)
            ]
        return np.concatenate(pieces)[: len(examples)]

    def predict(self, inputs: Any) -> np.ndarray:
        """What the network says of inputs as the source has them.

        Returns:
            Of a classification the classes [N], by name where they have names; of a regression the
            targets [N, K] in their own units; of a reconstruction the inputs [N, ...] in theirs,
            pixels in [0, 1].

        Raises:
            ValueError: as `normalize`.
        """
        outputs = self.apply(inputs)
        if self.kind == "classification":
            best = np.argmax(outputs, axis=-1)
            return np.array(self.classes)[best] if self.classes else best
        if self.kind == "reconstruction":
            pictures = outputs.reshape(len(outputs), *self.input_shape)
            return pictures if self.input_scale is None else self.input_scale.undo(pictures)
        return outputs if self.target_scale is None else self.target_scale.undo(outputs)

    @functools.cached_property
    def _forward(self) -> Callable[..., jax.Array]:
        def outputs(params: PyTree, state: PyTree, inputs: Any) -> jax.Array:
            examples = jnp.asarray(inputs, param_dtype())
            return self.model.apply(params, state, examples, train=False)[0]

        return jax.jit(outputs)


def as_network(
    experiment: Experiment, lane: int, step: int, params: PyTree, model_state: PyTree
) -> TrainedNetwork:
    """A lane's network with what its experiment knows of the data.

    Args:
        experiment: of the study.
        lane: its number.
        step: steps that it was trained for.
        params: the weights that are evaluated.
        model_state: beside them.
    """
    data = experiment.workload.dataset
    return TrainedNetwork(
        lane=lane,
        step=step,
        params=params,
        model_state=model_state,
        model=experiment.workload.model,
        kind=data.kind,
        input_shape=tuple(data.train.inputs.shape[1:]),
        input_scale=data.input_scale,
        target_scale=data.target_scale,
        pixel_unit=data.pixel_unit,
        columns=data.columns,
        classes=data.classes,
        precision=experiment.config.precision,
    )
