"""States of lanes that a study stores: weights by leaf, the rest of the state as bytes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import jax
import numpy as np

from initopt_jax.engine.flops import tile_shapes
from initopt_jax.engine.plan import Program
from initopt_jax.engine.records import Variable
from initopt_jax.engine.segment import LaneState
from initopt_jax.engine.workload import Workload
from initopt_jax.tree import named_leaves
from initopt_jax.types import PyTree

KEPT = "kept"  # the dimension of stored states, and what their variables begin with
REST = "kept_state"  # the bytes of the model's state and of the optimizer's


@dataclass(frozen=True)
class Keep:
    """Which states of a lane are stored, and in which variables.

    Attributes:
        at: `final`, `every` evaluation, steps; or None for no state at all.
        evals: evaluations of the longest lane.
        variables: name to dimensions and dtype.
        shapes: name to the shape of one lane's array of one state.
    """

    at: Literal["final", "every"] | tuple[int, ...] | None = None
    evals: int = 0
    variables: Mapping[str, Variable] = field(default_factory=dict)
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """What the stored states are called: `final`, numbers of evaluations, or steps."""
        if self.at == "final":
            return ["final"]
        numbers = range(self.evals) if self.at == "every" else self.at or ()
        return [str(number) for number in numbers]

    @property
    def sizes(self) -> dict[str, int]:
        """Of all dimensions of its variables but `lane`."""
        named = {KEPT: len(self.labels)} if self.at is not None else {}
        for name, shape in self.shapes.items():
            named |= dict(zip(self.variables[name].dims[2:], shape, strict=True))
        return named

    def place(self, step: int, evaluation: int) -> int | None:
        """Which of the stored states one in mid-run is; None for none."""
        if self.at == "every":
            return evaluation
        return self.at.index(step) if isinstance(self.at, tuple) and step in self.at else None

    def empty(self, width: int) -> dict[str, np.ndarray]:
        """Arrays [W, states, ...] for a tile: NaN, and zero bytes."""
        count = len(self.labels)
        return {
            name: np.full(
                (width, count, *shape),
                0 if name == REST else np.nan,
                self.variables[name].dtype,
            )
            for name, shape in self.shapes.items()
        }

    def rows(self, state: LaneState) -> dict[str, np.ndarray]:
        """The state of a tile as it is stored: arrays [W, ...] by variable."""
        if self.at is None:
            return {}
        found = {kept_name(path): np.asarray(leaf) for path, leaf in named_leaves(state.params)}
        rest = _to_bytes((state.model_state, state.opt_state), len(state.step))
        found[REST] = np.pad(rest, [(0, 0), (0, self.shapes[REST][0] - rest.shape[1])])
        return found


def kept_name(path: str) -> str:
    """The variable that holds a leaf of the weights.

    >>> kept_name("dense_0/kernel")
    'kept_params.dense_0.kernel'
    """
    return f"kept_params.{path.replace('/', '.')}"


def is_kept(variable: str) -> bool:
    """Whether a variable holds stored states."""
    return variable == REST or variable.startswith("kept_params.")


def make_keep(
    at: Literal["final", "every"] | Sequence[int] | None,
    evals: int,
    programs: Sequence[Program],
    workload: Workload,
) -> Keep:
    """What a study stores; arguments as of `Keep`."""
    if at is None:
        return Keep()
    params = workload.params
    shapes = {kept_name(path): tuple(leaf.shape) for path, leaf in named_leaves(params)}
    variables = {
        kept_name(path): _variable(kept_name(path), leaf.shape, np.dtype(leaf.dtype).name)
        for path, leaf in named_leaves(params)
    }
    sizes = [_rest_bytes(program, workload) for program in programs]
    shapes[REST] = (max(sizes),)
    variables[REST] = _variable(REST, shapes[REST], "uint8")
    return Keep(at if isinstance(at, str) else tuple(at), evals, variables, shapes)


def restored(rows: Mapping[str, np.ndarray], like: LaneState) -> tuple[PyTree, PyTree, PyTree]:
    """Weights, model state and optimizer state [W, ...] of stored rows [W, ...].

    Args:
        rows: as `Keep.rows` gives them.
        like: shapes of the tile's state.
    """
    leaves = [rows[kept_name(path)] for path, _ in named_leaves(like.params)]
    params = jax.tree.unflatten(jax.tree.structure(like.params), leaves)
    model_state, opt_state = _from_bytes(rows[REST], (like.model_state, like.opt_state))
    return params, model_state, opt_state


def _variable(name: str, shape: Sequence[int], dtype: str) -> Variable:
    return Variable(("lane", KEPT, *(f"{name}_{axis}" for axis in range(len(shape)))), dtype)


def _rest_bytes(program: Program, workload: Workload) -> int:
    lane, _ = tile_shapes(program, workload, width=1)
    leaves = jax.tree.leaves((lane.model_state, lane.opt_state))
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def _to_bytes(tree: PyTree, width: int) -> np.ndarray:
    """All leaves of a tree, one behind the other; [W, bytes]."""
    parts = [
        np.ascontiguousarray(leaf).reshape(width, -1).view(np.uint8)
        for leaf in map(np.asarray, jax.tree.leaves(tree))
        if leaf.size
    ]
    return np.concatenate([np.zeros((width, 0), np.uint8), *parts], axis=1)


def _from_bytes(rows: np.ndarray, like: PyTree) -> PyTree:
    """The tree whose leaves lie in rows of bytes [W, n]."""
    width, first = len(rows), 0
    leaves: list[np.ndarray] = []
    for leaf in jax.tree.leaves(like):
        count = math.prod(leaf.shape) // max(width, 1) * leaf.dtype.itemsize
        part = np.ascontiguousarray(rows[:, first : first + count])
        leaves.append(part.view(leaf.dtype).reshape(leaf.shape))
        first += count
    return jax.tree.unflatten(jax.tree.structure(like), leaves)
