"""First weights: drawn once per initializer and seed, however many lanes use them."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Protocol

import jax
import numpy as np

from initopt_jax.engine.devices import host_device
from initopt_jax.initializers import Layout, draw_leaves, match_rules
from initopt_jax.keys import named_key, stream_key
from initopt_jax.precision import MATMUL_PRECISION
from initopt_jax.tree import named_leaves
from initopt_jax.types import Array, Device, PyTree

CACHE_BYTES = 256 * 2**20
# Names of keys that are none of a leaf: no path is a pattern.
REFINED = "*"  # of a cell's refinement
STATE = "*state"  # of the model's state
Refine = Callable[[Array, PyTree, int], PyTree]
Cell = tuple[int, int]  # number of the initializer cell, init seed
Rules = Sequence[tuple[str, Callable[..., Any]]]


class FirstWeights(Protocol):
    """What gives every lane its first weights."""

    def __call__(self, weights: int, seed: int, device: Device | None = None) -> PyTree:
        """The first weights of the cell number `weights` under an init seed."""
        ...

    def stacked(
        self, weights: np.ndarray, seeds: np.ndarray, device: Device | None = None
    ) -> PyTree:
        """Those of W lanes, with a leading axis W; cells and seeds [W]."""
        ...

    def drawn(self, weights: int, seed: int) -> PyTree:
        """What the rules of a cell draw, before an initializer that sees the whole network."""
        ...


class InitialWeights:
    """`(rule set, init seed) -> params` on the host, remembering the most recent ones.

    Every optimizer and learning rate of one seed starts from the same arrays, so they are kept, up
    to 256 MiB. Drawing again gives the same bits: the width of a draw is always one network, and
    it is `initializers.initialize` of the seed's `init` stream.

    Args:
        shapes: of the parameters.
        rules: one rule set per initializer cell.
        layouts: of the leaves; by default what their shapes suggest.
        refine: per cell, `(key, params, init seed) -> params` of an initializer that sees the whole
            network, applied to what the rules drew; None where the rules are all.
    """

    def __init__(
        self,
        shapes: PyTree,
        rules: Sequence[Rules],
        layouts: Mapping[str, Layout] | None = None,
        refine: Sequence[Refine | None] | None = None,
    ):
        self._leaf_rules = [match_rules(shapes, cell, layouts) for cell in rules]
        self._refine: Sequence[Refine | None] = refine or [None] * len(rules)
        self._structure = jax.tree.structure(shapes)
        self._lock = threading.Lock()
        self._drawn: OrderedDict[Cell, Future[PyTree]] = OrderedDict()
        self._bytes = 0
        paths = [path for path, _ in named_leaves(shapes)]

        def leaf_keys(seed: Array) -> list[Array]:
            key = stream_key(seed, "init")
            return [named_key(key, path) for path in paths]

        self._keys = jax.jit(leaf_keys)  # one call for all leaves: most of a small draw's time

    def __call__(self, weights: int, seed: int, device: Device | None = None) -> PyTree:
        """The first weights of the cell number `weights` under an init seed.

        `device` is who wants them, by default the first: they are drawn beside its training, and
        are the same for all.
        """
        cell = (weights, seed)
        with self._lock:
            mine = cell not in self._drawn
            if mine:
                self._drawn[cell] = Future()
            found = self._drawn[cell]
            self._drawn.move_to_end(cell)
        if mine:  # outside the lock: devices draw side by side
            self._finish(cell, found, device or jax.local_devices()[0])
        return found.result()

    def _finish(self, cell: Cell, drawn: Future[PyTree], device: Device) -> None:
        """Draw what others may be waiting for, and make room."""
        try:
            params = self._draw(*cell, device)
        except BaseException as error:
            with self._lock:
                del self._drawn[cell]
            drawn.set_exception(error)
            raise
        drawn.set_result(params)
        with self._lock:
            self._bytes += _size(params)
            while self._bytes > CACHE_BYTES:
                others = (old for old, one in self._drawn.items() if one.done() and old != cell)
                oldest = next(others, None)
                if oldest is None:
                    break
                self._bytes -= _size(self._drawn.pop(oldest).result())

    def stacked(
        self, weights: np.ndarray, seeds: np.ndarray, device: Device | None = None
    ) -> PyTree:
        """The first weights of W lanes, with a leading axis W; arguments as of a call, [W] each."""
        lanes = zip(weights.tolist(), seeds.tolist(), strict=True)
        trees = [self(cell, seed, device) for cell, seed in lanes]
        return jax.tree.map(lambda *leaves: np.stack(leaves), *trees)

    def drawn(self, weights: int, seed: int) -> PyTree:
        """What the rules of a cell draw, before an initializer that sees the whole network."""
        return self._draw(weights, seed, jax.local_devices()[0], refined=False)

    def _draw(self, weights: int, seed: int, device: Device, *, refined: bool = True) -> PyTree:
        precise = jax.default_matmul_precision(MATMUL_PRECISION)
        with jax.default_device(host_device(device)), precise:
            leaves = draw_leaves(self._keys(np.uint32(seed)), self._leaf_rules[weights])
            params = jax.tree.unflatten(self._structure, leaves)
            refine = self._refine[weights]
            if refine and refined:
                params = refine(named_key(stream_key(seed, "init"), REFINED), params, seed)
            return jax.tree.map(np.asarray, params)


class InitialStates:
    """`init seed -> model state` on the host: one for all seeds where no key changes it.

    A state that is drawn comes from the seed's `init` stream, one network at a time, so that its
    bits depend on the seed alone.

    Args:
        fixed: the state of every seed, or None where it is drawn.
        draw: `(key) -> state`, for a state that is.
    """

    def __init__(self, fixed: PyTree, draw: Callable[[Array], PyTree] | None = None):
        self._fixed, self._lock = fixed, threading.Lock()
        self._draw = None if draw is None else jax.jit(draw)
        self._drawn: dict[int, PyTree] = {}

    @property
    def random(self) -> bool:
        """Whether seeds differ in it."""
        return self._draw is not None

    def __call__(self, seed: int) -> PyTree:
        """The first state under an init seed."""
        if self._draw is None:
            return self._fixed
        with self._lock:
            if seed not in self._drawn:
                key = named_key(stream_key(seed, "init"), STATE)
                precise = jax.default_matmul_precision(MATMUL_PRECISION)
                with jax.default_device(host_device(jax.local_devices()[0])), precise:
                    self._drawn[seed] = jax.tree.map(np.asarray, self._draw(key))
            return self._drawn[seed]

    def stacked(self, seeds: np.ndarray) -> PyTree:
        """Those of W lanes, with a leading axis W; seeds [W]."""
        trees = [self(seed) for seed in seeds.tolist()]
        return jax.tree.map(lambda *leaves: np.stack([np.asarray(one) for one in leaves]), *trees)


def _size(tree: PyTree) -> int:
    return sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
