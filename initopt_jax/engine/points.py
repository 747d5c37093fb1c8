"""Starting points of test functions, thousands at once."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from initopt_jax.engine.devices import host_device
from initopt_jax.engine.initial import Rules
from initopt_jax.initializers import Layout, draw_leaves, match_rules
from initopt_jax.keys import named_key, stream_key
from initopt_jax.precision import MATMUL_PRECISION
from initopt_jax.tree import named_leaves
from initopt_jax.types import Array, Device, PyTree

BLOCK = 1024  # seeds drawn in one call
Place = Callable[[np.ndarray], np.ndarray]


class StartingPoints:
    """`(cells [W], init seeds [W]) -> params [W, ...]` on the host, for models of one small leaf.

    Points are placed by a function of the seeds where a cell has one. Else they are drawn as
    weights are, by rules and with the keys of `initializers.initialize`, in blocks of consecutive
    seeds: a block always has the same width, so that a point depends on its seed alone.

    Args:
        shapes: of the parameters.
        rules: one rule set per cell.
        places: per cell `(seeds [n]) -> leaf [n, ...]`, or None where the rules draw.
        layouts: of the leaves.
    """

    def __init__(
        self,
        shapes: PyTree,
        rules: Sequence[Rules],
        places: Sequence[Place | None],
        layouts: Mapping[str, Layout] | None = None,
    ):
        self._places = places
        self._structure = jax.tree.structure(shapes)
        self._dtype = jax.tree.leaves(shapes)[0].dtype
        self._lock = threading.Lock()
        self._blocks: dict[tuple[int, int], PyTree] = {}
        paths = [path for path, _ in named_leaves(shapes)]

        def drawn_by(cell: Rules) -> Callable[[Array], PyTree]:
            leaves = match_rules(shapes, cell, layouts)

            def draw(seed: Array) -> PyTree:
                key = stream_key(seed, "init")
                made = draw_leaves([named_key(key, path) for path in paths], leaves)
                return jax.tree.unflatten(self._structure, made)

            return jax.jit(jax.vmap(draw))

        self._draw = [
            None if place else drawn_by(r) for r, place in zip(rules, places, strict=True)
        ]

    def __call__(self, weights: int, seed: int, device: Device | None = None) -> PyTree:
        """The point of one cell under one init seed."""
        many = self.stacked(np.array([weights]), np.array([seed]), device)
        return jax.tree.map(lambda leaf: leaf[0], many)

    def drawn(self, weights: int, seed: int) -> PyTree:
        """The same: nothing happens to a point after it was drawn."""
        return self(weights, seed)

    def stacked(
        self, weights: np.ndarray, seeds: np.ndarray, device: Device | None = None
    ) -> PyTree:
        """The points of W lanes, with a leading axis W.

        Args:
            weights: [W], numbers of cells.
            seeds: [W], init seeds.
            device: who wants them; they are the same for all.
        """
        device = device or jax.local_devices()[0]
        parts, order = [], []
        for cell in np.unique(weights):
            rows = np.flatnonzero(weights == cell)
            parts.append(self._of_cell(int(cell), seeds[rows], device))
            order.append(rows)
        back = np.argsort(np.concatenate(order), kind="stable")
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[back], *parts)

    def _of_cell(self, cell: int, seeds: np.ndarray, device: Device) -> PyTree:
        place = self._places[cell]
        if place:
            return jax.tree.unflatten(self._structure, [place(seeds).astype(self._dtype)])
        numbers, of_block = np.unique(seeds // BLOCK, return_inverse=True)
        blocks = [self._block(cell, int(number), device) for number in numbers]
        row = seeds % BLOCK
        return jax.tree.map(lambda *leaves: np.stack(leaves)[of_block, row], *blocks)

    def _block(self, cell: int, number: int, device: Device) -> PyTree:
        with self._lock:  # one call of milliseconds: who comes second waits for it
            if (cell, number) not in self._blocks:
                seeds = np.arange(number * BLOCK, (number + 1) * BLOCK, dtype=np.uint32)
                precise = jax.default_matmul_precision(MATMUL_PRECISION)
                with jax.default_device(host_device(device)), precise:
                    draw: Any = self._draw[cell]
                    self._blocks[cell, number] = jax.tree.map(np.asarray, draw(seeds))
            return self._blocks[cell, number]
