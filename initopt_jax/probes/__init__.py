"""Probes: measurements of a lane's weights and loss, taken outside the training program."""

from initopt_jax.probes import curvature as _curvature
from initopt_jax.probes import gradients as _gradients
from initopt_jax.probes import signals as _signals
from initopt_jax.probes import weights as _weights
from initopt_jax.probes.curvature import (
    gauss_newton_top,
    hessian_density,
    hessian_ends,
    hessian_top,
    hessian_trace,
    preconditioned_sharpness,
    preconditioned_top,
    sharpness,
    smooth_density,
    stability_limit,
)
from initopt_jax.probes.gradients import gradient_noise, step_cosine, update
from initopt_jax.probes.point import point
from initopt_jax.probes.probe import GIVEN, OF_OPTIMIZER, Batch, LaneOptimizer, Probe
from initopt_jax.probes.signals import jacobian_spectrum, signals
from initopt_jax.probes.slices import (
    barrier,
    filter_direction,
    filter_normalized,
    interpolate,
    match_units,
    orthonormal_pair,
    path_plane,
    plane_losses,
    plane_through,
    slice_1d,
    slice_2d,
)
from initopt_jax.probes.weight_norm import weight_norm
from initopt_jax.probes.weights import distance, spectrum, symmetry, weight_histogram

__all__ = [
    "GIVEN",
    "OF_OPTIMIZER",
    "REGISTRY",
    "Batch",
    "LaneOptimizer",
    "Probe",
    "barrier",
    "distance",
    "filter_direction",
    "filter_normalized",
    "gauss_newton_top",
    "gradient_noise",
    "hessian_density",
    "hessian_ends",
    "hessian_top",
    "hessian_trace",
    "interpolate",
    "jacobian_spectrum",
    "match_units",
    "orthonormal_pair",
    "path_plane",
    "plane_losses",
    "plane_through",
    "point",
    "preconditioned_sharpness",
    "preconditioned_top",
    "sharpness",
    "signals",
    "slice_1d",
    "slice_2d",
    "smooth_density",
    "spectrum",
    "stability_limit",
    "step_cosine",
    "symmetry",
    "update",
    "weight_histogram",
    "weight_norm",
]

REGISTRY: dict[str, Probe] = {
    probe.name: probe
    for probe in (
        Probe(
            "weight_norm",
            weight_norm,
            {"weight_norm": ("leaf",)},
            "||W|| = sqrt(sum of squares), per parameter leaf",
            "Golub and Van Loan 2013, section 2.3",
        ),
        Probe(
            "point",
            point,
            {"point": ("coordinate",)},
            "(x, y), where a run on a test function stands; on by default there, and only there",
            "",
        ),
        *_weights.PROBES,
        *_gradients.PROBES,
        *_signals.PROBES,
        *_curvature.PROBES,
    )
}
