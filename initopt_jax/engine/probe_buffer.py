"""States of a tile at several evaluations, kept until light probes look at all of them at once.

To ask for a probe of a small network takes longer than to compute it. A program that takes the
states of several evaluations as if they were so many lanes more is asked once for all of them.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.engine.measure import LaneView, Measurement, OptimizerView
from initopt_jax.engine.plan import Program
from initopt_jax.engine.segment import LaneInputs, LaneState
from initopt_jax.types import Array, PyTree


class BufferedState(NamedTuple):
    """What changes of a tile from one evaluation to another, as far as its probes look at it.

    eval_params: the weights that are evaluated, None where these are the trained ones.
    opt_state: None where no probe asks for it.
    """

    eval_params: PyTree
    weights: PyTree
    model_state: PyTree
    opt_state: PyTree
    step: Array


class ProbeBuffer:
    """Evaluations of one tile, W lanes each.

    Args:
        program: that trains the tile.
        probes: that will look at them.
        inputs: of the tile. start: its first weights, or None.
        slots: how many states there is room for.
    """

    def __init__(
        self,
        program: Program,
        probes: Sequence[Measurement],
        inputs: LaneInputs,
        start: PyTree,
        slots: int,
    ):
        self._program, self._slots = program, slots
        self._with_optimizer = any(asks_optimizer(probe) for probe in probes)
        self._fixed = _repeated((inputs, start), slots)
        self._rows: BufferedState | None = None
        self._taken: list[tuple[int, np.ndarray]] = []

    @property
    def taken(self) -> int:
        """How many states there are."""
        return len(self._taken)

    @property
    def full(self) -> bool:
        """Whether there is no room for another state."""
        return len(self._taken) == self._slots

    @property
    def width(self) -> int:
        """Lanes of the views: W for every slot, whether it is taken or not."""
        return self._slots * self._program.width

    def add(self, params: PyTree, state: LaneState, evaluation: int, lanes: np.ndarray) -> None:
        """Keep a copy of a state.

        Args:
            params: the weights that are evaluated.
            state: of the tile.
            evaluation: its number.
            lanes: [W], whether what is found of a lane counts.
        """
        buffered = BufferedState(
            params if self._program.evaluated else None,
            state.params,
            state.model_state,
            state.opt_state if self._with_optimizer else None,
            state.step,
        )
        if self._rows is None:
            self._rows = _room(buffered, self._slots)
        first = len(self._taken) * self._program.width
        self._rows = _put(self._rows, buffered, np.int32(first))
        self._taken.append((evaluation, lanes.copy()))

    def views(self) -> tuple[LaneView, OptimizerView]:
        """All states, as probes see lanes; slots that are not taken hold anything."""
        rows = self._rows
        if rows is None:
            raise RuntimeError("views are asked for where there are states")
        inputs, start = self._fixed
        params = rows.weights if rows.eval_params is None else rows.eval_params
        view = LaneView(params, rows.weights, rows.model_state, inputs.noise_key, rows.step, start)
        return view, OptimizerView(rows.opt_state, inputs.hyperparameters)

    def emptied(self) -> list[tuple[int, np.ndarray]]:
        """The numbers of the evaluations in it, and the lanes that count [W]; it is empty then."""
        taken, self._taken = self._taken, []
        return taken


def asks_optimizer(probe: Measurement) -> bool:
    """Whether a probe looks at the optimizer, or at what it makes of a gradient."""
    return probe.of_optimizer or "updates" in probe.asks


def _tiled(tree: PyTree, slots: int) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.concatenate([leaf] * slots), tree)


def _empty(tree: PyTree, slots: int) -> PyTree:
    return jax.tree.map(
        lambda leaf: jnp.zeros((slots * len(leaf), *leaf.shape[1:]), leaf.dtype), tree
    )


def _written(rows: PyTree, buffered: PyTree, first: Any) -> PyTree:
    return jax.tree.map(
        lambda all_, one: jax.lax.dynamic_update_slice_in_dim(all_, one, first, 0), rows, buffered
    )


_repeated = jax.jit(_tiled, static_argnums=1)
_room = jax.jit(_empty, static_argnums=1)
_put = jax.jit(_written, donate_argnums=0)
