"""Slices of the loss of a network: lines, planes, paths, barriers, for any loss."""

from initopt_jax.probes.slices.directions import (
    direction_between,
    filter_direction,
    filter_normalized,
    inner,
    orthonormal,
    orthonormal_pair,
    random_direction,
)
from initopt_jax.probes.slices.grid import Plane, plane_losses, plane_through, slice_1d, slice_2d
from initopt_jax.probes.slices.line import barrier, interpolate
from initopt_jax.probes.slices.matching import (
    HiddenLayer,
    Matched,
    hidden_layers,
    match_units,
    permuted,
)
from initopt_jax.probes.slices.path_plane import PathPlane, path_plane

__all__ = [
    "HiddenLayer",
    "Matched",
    "PathPlane",
    "Plane",
    "barrier",
    "direction_between",
    "filter_direction",
    "filter_normalized",
    "hidden_layers",
    "inner",
    "interpolate",
    "match_units",
    "orthonormal",
    "orthonormal_pair",
    "path_plane",
    "permuted",
    "plane_losses",
    "plane_through",
    "random_direction",
    "slice_1d",
    "slice_2d",
]
