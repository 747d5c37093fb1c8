"""Probes of gradients: noise, updates, and the angle from step to step."""

from initopt_jax.probes.gradients.noise import gradient_noise
from initopt_jax.probes.gradients.steps import step_cosine
from initopt_jax.probes.gradients.update import update
from initopt_jax.probes.probe import Probe

__all__ = ["PROBES", "gradient_noise", "step_cosine", "update"]

PROBES: tuple[Probe, ...] = (
    Probe(
        "update",
        update,
        {
            "update_ratio": ("leaf",),
            "effective_rate": ("leaf",),
            "momentum_alignment": ("leaf",),
            "gradient_norm": ("leaf",),
        },
        "||u|| / ||W||, ||u|| / ||g||, cos(u, -g) and ||g|| of the next update u",
        "Kingma and Ba 2015, section 2.1",
        examples=64,
    ),
    Probe(
        "gradient_noise",
        gradient_noise,
        {
            "noise_scale": (),
            "gradient_variance": (),
            "gradient_squared": (),
            "between_share": (),
            "within_share": (),
            "gradient_cosine": (),
        },
        "tr(Sigma) / |G|^2 from parts of the batch; shares of variance between and within batches",
        "McCandlish et al. 2018, eq. 2.9 and appendix A.1",
        examples=1024,
        at="ends",
    ),
    Probe(
        "step_cosine",
        step_cosine,
        {"step_cosine": ()},
        "cos(grad L_1(W), grad L_2(W + u)) on two halves of the batch",
        "Xing, Arpit, Tsirigotis and Bengio 2018",
    ),
)
