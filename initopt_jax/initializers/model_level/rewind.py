"""Rewinding: a network starts from given weights, such as those early in another training."""

from collections.abc import Sequence
from fnmatch import fnmatchcase

import jax.numpy as jnp

from initopt_jax.errors import ConfigError, nearest
from initopt_jax.networks.network import Network, Refine, with_leaves
from initopt_jax.tree import named_leaves
from initopt_jax.types import Array, PyTree


def make_rewind(weights: PyTree, *, leaves: Sequence[str] = ("*",)) -> Refine:
    """An initializer that puts given weights in the place of drawn ones.

    `theta_l <- weights_l` for the chosen leaves; the others stay as drawn

    Args:
        weights: a tree like the network's, or path to array. Reading them from a file is the
            caller's: `dict(numpy.load("weights.npz"))` is of the second form.
        leaves: shell-style patterns; a leaf whose path matches one of them is taken from `weights`.

    Returns:
        The model-level initializer `(key, params, network) -> (params, info)`; `info` has
        `rewound`, the share of weights that were given. Values take the dtype of the leaf.

        It raises ConfigError if a chosen leaf is not among `weights` or has another shape there,
        `weights` has a leaf that the network has not, or a pattern matches no leaf.

    Raises:
        ConfigError: if `weights` or `leaves` is empty.

    Reference:
        Frankle, Dziugaite, Roy and Carbin (2020), Linear mode connectivity and the lottery ticket
        hypothesis, section 4 (rewinding to iteration k).

    Deviations:
        No weights are pruned: the paper trains what a mask leaves of them.

    >>> refine = make_rewind({"dense/bias": jnp.ones(2)}, leaves=["*bias"])
    >>> drawn = {"dense": {"bias": jnp.zeros(2), "kernel": jnp.zeros((3, 2))}}
    >>> params, info = refine(None, drawn, None)
    >>> params["dense"]["bias"].tolist(), float(info["rewound"])
    ([1.0, 1.0], 0.25)
    """
    given = dict(named_leaves(weights))
    for name, values in (("weights", given), ("leaves", leaves)):
        if not values:
            raise ConfigError(f"{name} must hold at least one, got none")

    def rewind(key: Array, params: PyTree, network: Network) -> tuple[PyTree, dict[str, Array]]:
        del key, network
        own = dict(named_leaves(params))
        chosen = _chosen(list(own), leaves)
        for path in given:
            if path not in own:
                close = nearest(path, own)
                hint = f"; did you mean {close!r}?" if close else ""
                raise ConfigError(f"this network has no leaf {path!r}{hint}")
        for path in chosen:
            if path not in given:
                raise ConfigError(f"the given weights have no leaf {path!r}; there are {[*given]}")
            shape, wanted = jnp.shape(given[path]), jnp.shape(own[path])
            if shape != wanted:
                raise ConfigError(f"leaf {path!r} must have the shape {wanted}, got {shape}")
        taken = {path: jnp.asarray(given[path]) for path in chosen}
        share = sum(own[path].size for path in chosen) / sum(leaf.size for leaf in own.values())
        return with_leaves(params, taken), {"rewound": jnp.asarray(share, jnp.float32)}

    return rewind


def _chosen(paths: list[str], patterns: Sequence[str]) -> list[str]:
    for pattern in patterns:
        if not any(fnmatchcase(path, pattern) for path in paths):
            raise ConfigError(f"pattern {pattern!r} matches no leaf; there are {paths}")
    return [path for path in paths if any(fnmatchcase(path, one) for one in patterns)]
