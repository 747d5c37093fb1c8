"""Probes of the weights: movement, histograms, spectra, symmetry."""

from initopt_jax.probes.probe import Probe
from initopt_jax.probes.weights.histogram import weight_histogram
from initopt_jax.probes.weights.movement import distance
from initopt_jax.probes.weights.spectrum import spectrum
from initopt_jax.probes.weights.symmetry import symmetry

__all__ = ["PROBES", "distance", "spectrum", "symmetry", "weight_histogram"]

PROBES: tuple[Probe, ...] = (
    Probe(
        "distance",
        distance,
        {
            "distance": ("leaf",),
            "relative_distance": ("leaf",),
            "sign_changes": ("leaf",),
        },
        "||W - W_0||, the same over ||W_0||, and the share of weights with another sign",
        "Nagarajan and Kolter 2019; Zhou, Lan, Liu and Yosinski 2019 on signs",
    ),
    Probe(
        "weight_histogram",
        weight_histogram,
        {"weight_histogram": ("leaf", "bin"), "weight_range": ("leaf", "end")},
        "counts in bins of equal width between the smallest and the largest weight",
        "",
    ),
    Probe(
        "spectrum",
        spectrum,
        {
            "singular_values": ("kernel", "singular"),
            "spectral_norm": ("kernel",),
            "stable_rank": ("kernel",),
            "effective_rank": ("kernel",),
        },
        "s_i(W), ||W||_2 = s_1, ||W||_F^2 / s_1^2, exp(entropy of s_i / sum of s)",
        "Rudelson and Vershynin 2007; Roy and Vetterli 2007, definition 1",
        at="ends",
    ),
    Probe(
        "symmetry",
        symmetry,
        {"copies": ("kernel",), "symmetric_share": ("kernel",), "units": ("kernel",)},
        "units of a layer minus distinct units; the share of units with a copy",
        "Goodfellow, Bengio and Courville 2016, section 8.4",
        at="ends",
    ),
)
