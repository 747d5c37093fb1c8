"""What a model-level initializer may look at besides the weights."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.errors import ConfigError
from initopt_jax.networks.anatomy import Anatomy, anatomy, kernel_sums
from initopt_jax.tree import named_leaves
from initopt_jax.types import Array, PyTree

Refine = Callable[..., tuple[PyTree, dict[str, Array]]]


class OnHost:
    """An array that stays on the host: a compiled program fetches the rows that it names.

    Slices are taken where they are traced, as constants; JAX's own functions get the whole array.

    >>> rows = jax.jit(OnHost(np.arange(6.0, dtype=np.float32).reshape(3, 2)).__getitem__)
    >>> rows(jnp.array([2, 0])).tolist()
    [[4.0, 5.0], [0.0, 1.0]]
    """

    def __init__(self, array: np.ndarray):
        self._array = array
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, rows: Any) -> Array:
        if not isinstance(rows, jax.Array):
            return jnp.asarray(self._array[rows])
        found = jax.ShapeDtypeStruct((*rows.shape, *self.shape[1:]), self.dtype)
        return jax.pure_callback(self._fetched, found, rows, vmap_method="sequential")

    def __jax_array__(self) -> Array:
        return jnp.asarray(self._array)

    def _fetched(self, rows: Array) -> np.ndarray:
        return self._array[np.asarray(rows)]


def _rows(array: Array | OnHost, rows: Array) -> Array:
    return array[rows] if isinstance(array, OnHost) else jnp.asarray(array)[rows]


@dataclass(frozen=True)
class Network:
    """A network with data, as pure functions of its weights.

    Attributes:
        apply: `(params, inputs) -> outputs` as in training, deterministic.
        plain: the same in operations that can be looked into; where sums are measured.
        loss: `(outputs, targets) -> [B]`, the loss of each example.
        inputs: of the training split, [N, ...]; methods that need a batch draw it from here.
        targets: likewise, [N] or [N, K].
        anatomy: the network's parts.
    """

    apply: Callable[[PyTree, Array], Array]
    plain: Callable[[PyTree, Array], Array]
    loss: Callable[[Array, Array], Array]
    inputs: Array
    targets: Array
    anatomy: Anatomy

    def batch(self, key: Array, size: int = 256) -> tuple[Array, Array]:
        """Inputs and targets of so many different examples, or of all where there are fewer."""
        count = min(size, len(self.inputs))
        chosen = jax.random.choice(key, len(self.inputs), (count,), replace=False)
        return _rows(self.inputs, chosen), _rows(self.targets, chosen)

    def mean_loss(self, params: PyTree, inputs: Array, targets: Array) -> Array:
        """The mean loss of a batch, what training minimizes."""
        return self.loss(self.apply(params, inputs), targets).mean()

    def sums(self, params: PyTree, inputs: Array) -> dict[str, Array]:
        """What every kernel makes of its inputs, [n, outputs]; see `anatomy.kernel_sums`."""
        return kernel_sums(self.plain, params, inputs)


def make_network(
    apply: Callable[[PyTree, Array], Array],
    loss: Callable[[Array, Array], Array],
    params: PyTree,
    inputs: Array,
    targets: Array,
    *,
    plain: Callable[[PyTree, Array], Array] | None = None,
) -> Network:
    """A network to hand to a model-level initializer.

    Args:
        apply: `(params, inputs) -> outputs`, deterministic.
        loss: `(outputs, targets) -> [B]`.
        params: arrays or shapes.
        inputs: training inputs [N, ...], at least two examples.
        targets: of the inputs.
        plain: `apply` in operations that can be looked into, where it uses others; see `Network`.
    """
    plain = plain or apply
    two = jax.ShapeDtypeStruct((2, *inputs.shape[1:]), inputs.dtype)
    return Network(apply, plain, loss, inputs, targets, anatomy(plain, params, two))


def leaves_of(params: PyTree) -> dict[str, Array]:
    """The leaves by path."""
    return dict(named_leaves(params))


def with_leaves(params: PyTree, leaves: dict[str, Any]) -> PyTree:
    """The tree with these leaves in the place of its own; others stay, dtypes too."""
    changed = [
        leaves[path].astype(leaf.dtype) if path in leaves else leaf
        for path, leaf in named_leaves(params)
    ]
    return jax.tree.unflatten(jax.tree.structure(params), changed)


def require_branches(name: str, network: Network) -> None:
    """Refuse a network without residual branches for a method that is about them.

    Raises:
        ConfigError: the network has none.
    """
    if not network.anatomy.branches:
        raise ConfigError(
            f"{name} is a method for residual networks, and this model has no residual branch "
            "(no sum of a result and something computed from it)"
        )
