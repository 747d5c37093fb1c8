"""Every tensor-level initializer, by the name that a config uses."""

from collections.abc import Callable

from initopt_jax.initializers.constant import (
    constant,
    constant_law,
    ones,
    ones_law,
    zeros,
    zeros_law,
)
from initopt_jax.initializers.normal import (
    normal,
    normal_law,
    truncated_normal,
    truncated_normal_law,
)
from initopt_jax.initializers.orthogonal import orthogonal, orthogonal_law
from initopt_jax.initializers.uniform import uniform, uniform_law
from initopt_jax.initializers.variance_scaling import (
    glorot_normal,
    glorot_normal_law,
    glorot_uniform,
    glorot_uniform_law,
    he_normal,
    he_normal_law,
    he_uniform,
    he_uniform_law,
    lecun_normal,
    lecun_normal_law,
    lecun_uniform,
    lecun_uniform_law,
)
from initopt_jax.types import Array, Initializer, Law


def _entry(
    name: str,
    draw: Callable[..., Array],
    law: Callable[..., Law],
    formula: str,
    reference: str,
) -> Initializer:
    # `InitFn` takes any options, each draw its own: to a type checker only `Callable[..., Array]`
    # is both.
    return Initializer(name, draw, law, formula, reference)


REGISTRY: dict[str, Initializer] = {
    entry.name: entry
    for entry in (
        _entry(
            name="zeros",
            draw=zeros,
            law=zeros_law,
            formula="W = 0",
            reference="Rumelhart, Hinton and Williams (1986)",
        ),
        _entry(
            name="ones",
            draw=ones,
            law=ones_law,
            formula="W = 1",
            reference="Ioffe and Szegedy (2015)",
        ),
        _entry(
            name="constant",
            draw=constant,
            law=constant_law,
            formula="W = value",
            reference="Rumelhart, Hinton and Williams (1986)",
        ),
        _entry(
            name="normal",
            draw=normal,
            law=normal_law,
            formula="W ~ N(0, stddev^2)",
            reference="Krizhevsky, Sutskever and Hinton (2012), section 5",
        ),
        _entry(
            name="truncated_normal",
            draw=truncated_normal,
            law=truncated_normal_law,
            formula="W ~ N(0, s^2) given |W| <= 2 s, s = stddev / 0.8796",
            reference="Johnson, Kotz and Balakrishnan (1994), section 10.1",
        ),
        _entry(
            name="uniform",
            draw=uniform,
            law=uniform_law,
            formula="W ~ U[-scale, scale)",
            reference="Glorot and Bengio (2010), eq. 1",
        ),
        _entry(
            name="lecun_normal",
            draw=lecun_normal,
            law=lecun_normal_law,
            formula="W ~ N(0, gain^2 / fan_in)",
            reference="LeCun, Bottou, Orr and Müller (1998), section 4.6",
        ),
        _entry(
            name="lecun_uniform",
            draw=lecun_uniform,
            law=lecun_uniform_law,
            formula="W ~ U[-a, a), a = gain * sqrt(3 / fan_in)",
            reference="LeCun, Bottou, Orr and Müller (1998), section 4.6",
        ),
        _entry(
            name="glorot_normal",
            draw=glorot_normal,
            law=glorot_normal_law,
            formula="W ~ N(0, 2 gain^2 / (fan_in + fan_out))",
            reference="Glorot and Bengio (2010), eq. 12",
        ),
        _entry(
            name="glorot_uniform",
            draw=glorot_uniform,
            law=glorot_uniform_law,
            formula="W ~ U[-a, a), a = gain * sqrt(6 / (fan_in + fan_out))",
            reference="Glorot and Bengio (2010), eq. 16",
        ),
        _entry(
            name="he_normal",
            draw=he_normal,
            law=he_normal_law,
            formula="W ~ N(0, 2 gain^2 / fan_in)",
            reference="He, Zhang, Ren and Sun (2015), eq. 10",
        ),
        _entry(
            name="he_uniform",
            draw=he_uniform,
            law=he_uniform_law,
            formula="W ~ U[-a, a), a = gain * sqrt(6 / fan_in)",
            reference="He, Zhang, Ren and Sun (2015), eq. 10",
        ),
        _entry(
            name="orthogonal",
            draw=orthogonal,
            law=orthogonal_law,
            formula="W^T W = gain^2 I (or W W^T), Haar-distributed",
            reference="Saxe, McClelland and Ganguli (2014), section 3",
        ),
    )
}
