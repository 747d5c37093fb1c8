"""The plane in which the paths of training lie best: two principal components of the weights."""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np
import numpy.typing as npt

from initopt_jax.types import PyTree

BLOCK_BYTES = 2**26  # of float64 differences held at once
Floats = npt.NDArray[np.float64]


class PathPlane(NamedTuple):
    """A plane of weights with the paths on it.

    Attributes:
        origin: weights; the mean of the paths' ends, for one path its end.
        first: direction of length 1, the first principal component.
        second: likewise the second, at right angles to it.
        coordinates: per path [T, 2], where its points fall on the plane.
        explained: [2], the share of the points' variance along each direction.
        off: per path [T], the distance of its points from the plane.
    """

    origin: PyTree
    first: PyTree
    second: PyTree
    coordinates: list[Floats]
    explained: Floats
    off: list[Floats]


def path_plane(paths: Sequence[PyTree]) -> PathPlane:
    """The plane of the first two principal components of one or several paths of weights.

    With the points as rows, `X = [w_t - w_T]` less their mean: the right singular vectors of X with
    the largest singular values, by the eigenvectors of the small matrix `X X^T` in float64. Several
    paths are taken together. Signs: the farthest coordinate along each axis is positive.

    Args:
        paths: per network its weights [T, ...] along training, leaves stacked; T may differ.

    Returns:
        The plane; its origin and directions are NumPy arrays in the dtype of the weights. Where a
        path left the finite numbers, it holds no part in the components and its coordinates there
        are NaN. Points that lie on a line leave the second direction zero.

    Raises:
        ValueError: no path, or fewer than 3 finite points in all.

    Reference:
        Li, Xu, Taylor, Studer, Goldstein (2018), Visualizing the Loss Landscape of Neural Nets,
        section 7.2.

    >>> down = {"w": np.array([[2.0, 1.0, 5.0], [1.0, 0.0, 5.0], [0.0, 0.0, 5.0]])}
    >>> found = path_plane([down])
    >>> [round(float(share), 3) for share in found.explained], found.off[0].round(6).tolist()
    ([0.951, 0.049], [0.0, 0.0, 0.0])
    """
    leaves = [[np.asarray(leaf) for leaf in jax.tree.leaves(path)] for path in paths]
    if not leaves:
        raise ValueError("paths must hold at least one path, got none")
    sizes = [own[0].shape[0] for own in leaves]
    finite = np.concatenate([_finite(own) for own in leaves])
    if finite.sum() < 3:
        raise ValueError(f"paths must have at least 3 finite points, got {int(finite.sum())}")
    stacked = [np.concatenate(same).reshape(sum(sizes), -1) for same in zip(*leaves, strict=True)]
    ends = _ends(finite, sizes)
    origin = [leaf[ends].mean(axis=0, dtype=np.float64) for leaf in stacked]
    gram = sum(_products(leaf[finite] - at) for leaf, at in zip(stacked, origin, strict=True))
    weights, values = _components(np.asarray(gram))
    directions = [
        weights.T @ (leaf[finite].astype(np.float64) - leaf[finite].mean(axis=0, dtype=np.float64))
        for leaf in stacked
    ]
    places = np.full((sum(sizes), 2), np.nan)
    places[finite] = sum(
        (leaf[finite] - at) @ way.T
        for leaf, at, way in zip(stacked, origin, directions, strict=True)
    )
    signs = _signs(places)
    places *= signs
    directions = [way * signs[:, None] for way in directions]
    off = np.full(sum(sizes), np.nan)
    squares = np.diag(np.asarray(gram)) - np.square(places[finite]).sum(axis=1)
    off[finite] = np.sqrt(np.maximum(squares, 0))
    cuts = np.cumsum(sizes)[:-1]
    like = leaves[0], jax.tree.structure(paths[0])
    return PathPlane(
        origin=_tree(origin, *like),
        first=_tree([way[0] for way in directions], *like),
        second=_tree([way[1] for way in directions], *like),
        coordinates=np.split(places, cuts),
        explained=values,
        off=np.split(off, cuts),
    )


def _finite(leaves: Sequence[np.ndarray]) -> npt.NDArray[np.bool_]:
    """[T], whether all weights of a point are finite."""
    flat = (leaf.reshape(len(leaf), -1) for leaf in leaves)
    return np.all([np.isfinite(leaf).all(axis=1) for leaf in flat], axis=0)


def _ends(finite: npt.NDArray[np.bool_], sizes: Sequence[int]) -> list[int]:
    """Numbers of the last finite point of every path that has one."""
    ends, first = [], 0
    for size in sizes:
        known = np.flatnonzero(finite[first : first + size])
        ends += [first + int(known[-1])] if len(known) else []
        first += size
    return ends


def _products(rows: np.ndarray) -> Floats:
    """`X X^T` in float64, of a block of columns at a time."""
    width = max(BLOCK_BYTES // (8 * max(len(rows), 1)), 1)
    total = np.zeros((len(rows), len(rows)))
    for first in range(0, rows.shape[1], width):
        block = rows[:, first : first + width].astype(np.float64)
        total += block @ block.T
    return total


def _components(gram: Floats) -> tuple[Floats, Floats]:
    """Weights [N, 2] of the points in the two directions, and the shares of variance [2]."""
    centred = gram - gram.mean(axis=0) - gram.mean(axis=1)[:, None] + gram.mean()
    values, vectors = np.linalg.eigh(centred)
    top, along = np.maximum(values[::-1][:2], 0), vectors[:, ::-1][:, :2]
    # Below this a value is rounding, and its direction would be noise blown up to length 1.
    known = top > values[-1] * len(gram) * np.finfo(np.float64).eps
    scale = np.where(known, 1 / np.sqrt(np.where(known, top, 1)), 0.0)
    total = max(float(np.trace(centred)), np.finfo(np.float64).tiny)
    return along * scale, np.where(known, top / total, 0.0)


def _signs(places: Floats) -> Floats:
    rows = np.nanargmax(np.abs(places), axis=0)
    return np.where(places[rows, [0, 1]] < 0, -1.0, 1.0)


def _tree(parts: Sequence[np.ndarray], leaves: Sequence[np.ndarray], structure: object) -> PyTree:
    shaped = [
        part.reshape(leaf.shape[1:]).astype(leaf.dtype)
        for part, leaf in zip(parts, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, shaped)
