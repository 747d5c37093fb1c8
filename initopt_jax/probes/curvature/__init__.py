"""Curvature of the loss: eigenvalues, trace and density of the Hessian and its kin."""

from initopt_jax.probes.curvature.density import hessian_density, smooth_density
from initopt_jax.probes.curvature.effective_rate import effective_rate
from initopt_jax.probes.curvature.gauss_newton import gauss_newton_top
from initopt_jax.probes.curvature.hessian import hessian_ends, hessian_top, hessian_trace
from initopt_jax.probes.curvature.lanczos import Tridiagonal, lanczos
from initopt_jax.probes.curvature.preconditioned import preconditioned_top, preconditioner
from initopt_jax.probes.curvature.products import gauss_newton_product, hessian_product
from initopt_jax.probes.curvature.sharpness import preconditioned_sharpness, sharpness
from initopt_jax.probes.curvature.stability import stability_limit
from initopt_jax.probes.probe import Probe

__all__ = [
    "PROBES",
    "Tridiagonal",
    "effective_rate",
    "gauss_newton_product",
    "gauss_newton_top",
    "hessian_density",
    "hessian_ends",
    "hessian_product",
    "hessian_top",
    "hessian_trace",
    "lanczos",
    "preconditioned_sharpness",
    "preconditioned_top",
    "preconditioner",
    "sharpness",
    "smooth_density",
    "stability_limit",
]

EXAMPLES = 1024

PROBES: tuple[Probe, ...] = (
    Probe(
        "sharpness",
        sharpness,
        {"sharpness": (), "sharpness_limit": ()},
        "largest eigenvalue of H = d^2 L / d theta^2, and the largest at which steps do not grow",
        "Cohen et al. 2021, section 2",
        examples=EXAMPLES,
    ),
    Probe(
        "preconditioned_sharpness",
        preconditioned_sharpness,
        {"preconditioned_sharpness": (), "stability_share": ()},
        "largest eigenvalue of D^-1/2 H D^-1/2, D the optimizer's diagonal; its share of the limit",
        "Cohen et al. 2022, section 2",
        examples=EXAMPLES,
    ),
    Probe(
        "hessian_top",
        hessian_top,
        {"hessian_top": ("eigenvalue",)},
        "largest eigenvalues of H, by Lanczos",
        "Ghorbani et al. 2019",
        examples=EXAMPLES,
        at="ends",
    ),
    Probe(
        "hessian_ends",
        hessian_ends,
        {"hessian_largest": (), "hessian_smallest": ()},
        "largest and smallest eigenvalue of H, by Lanczos",
        "Golub and Van Loan 2013, section 10.1",
        examples=EXAMPLES,
        at="ends",
    ),
    Probe(
        "hessian_trace",
        hessian_trace,
        {"hessian_trace": (), "hessian_trace_error": ()},
        "mean of z^T H z over vectors z of random signs, and its standard error",
        "Hutchinson 1990, eq. 4",
        examples=EXAMPLES,
        at="ends",
    ),
    Probe(
        "hessian_density",
        hessian_density,
        {"density_nodes": ("draw", "node"), "density_weights": ("draw", "node")},
        "nodes and weights of H's eigenvalue density, by stochastic Lanczos quadrature",
        "Ghorbani et al. 2019, algorithm 1",
        examples=EXAMPLES,
        at="ends",
    ),
    Probe(
        "gauss_newton_top",
        gauss_newton_top,
        {"gauss_newton_top": ("gauss_newton_eigenvalue",)},
        "largest eigenvalues of J^T H_out J, by Lanczos",
        "Schraudolph 2002, section 3",
        examples=EXAMPLES,
        at="ends",
    ),
    Probe(
        "preconditioned_top",
        preconditioned_top,
        {"preconditioned_top": ("preconditioned_eigenvalue",), "preconditioned_limit": ()},
        "largest eigenvalues of D^-1/2 H D^-1/2, and the largest at which steps do not grow",
        "Cohen et al. 2022, section 2",
        examples=EXAMPLES,
        at="ends",
    ),
)
