"""Probes: measurements of a lane's weights, taken outside the training program."""

from collections.abc import Callable
from dataclasses import dataclass

from initopt_jax.probes.point import point
from initopt_jax.probes.weight_norm import weight_norm
from initopt_jax.types import Array, PyTree

__all__ = ["REGISTRY", "Probe", "point", "weight_norm"]


@dataclass(frozen=True)
class Probe:
    """Registry entry of one probe.

    Attributes:
        name: as written in a config; also the variable's name in the results.
        measure: `(params of one network) -> array`, pure and vmappable.
        dims: names of the array's dimensions; `leaf` runs over parameter leaves, `coordinate` over
            x and y.
        formula: one line, plain text.
        reference: authors, year, section.
    """

    name: str
    measure: Callable[[PyTree], Array]
    dims: tuple[str, ...]
    formula: str
    reference: str


REGISTRY: dict[str, Probe] = {
    probe.name: probe
    for probe in (
        Probe(
            "weight_norm",
            weight_norm,
            ("leaf",),
            "||W|| = sqrt(sum of squares), per parameter leaf",
            "Golub and Van Loan 2013, section 2.3",
        ),
        Probe(
            "point",
            point,
            ("coordinate",),
            "(x, y), where a run on a cost function stands; on by default there, and only there",
            "",
        ),
    )
}
