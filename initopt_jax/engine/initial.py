"""First weights: drawn once per initializer and seed, however many lanes use them."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from initopt_jax.initializers import initialize
from initopt_jax.keys import stream_key
from initopt_jax.types import PyTree

CACHE_BYTES = 256 * 2**20
Rules = Sequence[tuple[str, Callable[..., Any]]]


class InitialWeights:
    """`(rule set, init seed) -> params` on the host, remembering the most recent ones.

    Every optimizer and learning rate of one seed starts from the same arrays, so they are kept, up
    to 256 MiB. Drawing again gives the same bits: the width of a draw is always one network.

    Args:
        shapes: of the parameters.
        rules: one rule set per initializer cell.
    """

    def __init__(self, shapes: PyTree, rules: Sequence[Rules]):
        self._shapes, self._rules = shapes, rules
        self._lock = threading.Lock()
        self._drawn: OrderedDict[tuple[int, int], PyTree] = OrderedDict()
        self._bytes = 0

    def __call__(self, weights: int, seed: int) -> PyTree:
        """The first weights of the cell number `weights` under an init seed."""
        with self._lock:
            cell = (weights, seed)
            if cell not in self._drawn:
                params = initialize(stream_key(seed, "init"), self._shapes, self._rules[weights])
                self._drawn[cell] = jax.tree.map(np.asarray, params)
                self._bytes += _size(self._drawn[cell])
                while self._bytes > CACHE_BYTES and len(self._drawn) > 1:
                    self._bytes -= _size(self._drawn.popitem(last=False)[1])
            self._drawn.move_to_end(cell)
            return self._drawn[cell]


def _size(tree: PyTree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
