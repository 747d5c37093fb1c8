"""Signals and gradients through depth, and mean-field theory beside them."""

from initopt_jax.probes.probe import Probe
from initopt_jax.probes.signals import jacobian, measure
from initopt_jax.probes.signals.jacobian import jacobian_spectrum
from initopt_jax.probes.signals.measure import signals
from initopt_jax.probes.signals.steps import step_signals

__all__ = ["PROBES", "jacobian_spectrum", "signals", "step_signals"]

PROBES: tuple[Probe, ...] = (
    Probe(
        "signals",
        signals,
        dict.fromkeys(measure.OUTPUTS, ("kernel",)),
        "per kernel: q = mean h^2; mean, variance, kurtosis of f(h); |f'| < 5% of its largest; "
        "correlation of two inputs; |d loss / d h|",
        "Poole et al. 2016, eq. 3, 5; Glorot & Bengio 2010, section 4",
        # One pass forward and back: on 128, 20 of them would cost a tenth of 300 steps of 64.
        examples=64,
    ),
    Probe(
        "jacobian_spectrum",
        jacobian_spectrum,
        dict.fromkeys(jacobian.SCALARS, ()) | {jacobian.VALUES: ("jacobian_value",)},
        "singular values s of dz/dx: mean s^2, largest, Var(s^2) / mean(s^2)^2",
        "Pennington, Schoenholz & Ganguli 2017",
        examples=8,
        at="ends",
    ),
)
