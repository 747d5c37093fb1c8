"""How much curvature an optimizer can bear before its steps grow."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from initopt_jax.types import Array

Numbers = Mapping[str, Any]


@dataclass(frozen=True)
class Memory:
    """How an update remembers gradients: `u_t = -learning_rate / D * sum_k r_k g_(t-k)`.

    Attributes:
        first: `r_0`, the new gradient's share, from the hyperparameters.
        alternating: `r_0 - r_1 + r_2 - ...`, what is left of a gradient whose sign changes every
            step, as it does at the edge of stability.
        adaptive: whether D depends on the gradients.
    """

    first: Callable[[Numbers], Any]
    alternating: Callable[[Numbers], Any]
    adaptive: bool = False


def _none(numbers: Numbers) -> float:
    return 1.0


def _sum(name: str) -> Callable[[Numbers], Any]:
    """Of `v <- b * v + g`: `1 - b + b^2 - ...`."""
    return lambda numbers: 1 / (1 + numbers.get(name, 0.0))


def _mean(name: str) -> tuple[Callable[[Numbers], Any], Callable[[Numbers], Any]]:
    """Of `m <- b * m + (1 - b) * g`: the first share and the alternating sum."""

    def first(numbers: Numbers) -> Any:
        return 1 - numbers[name]

    return first, lambda numbers: first(numbers) / (1 + numbers[name])


def _nesterov(name: str) -> tuple[Callable[[Numbers], Any], Callable[[Numbers], Any]]:
    def alternating(numbers: Numbers) -> Any:
        return (1 + 2 * numbers[name]) / (1 + numbers[name])

    return lambda numbers: 1 + numbers[name], alternating


def _dampened(numbers: Numbers) -> Any:
    return 1 - numbers.get("dampening", 0.0)


def _quasi(decay: str, nu: str) -> tuple[Callable[[Numbers], Any], Callable[[Numbers], Any]]:
    def alternating(numbers: Numbers) -> Any:
        kept, share = numbers[decay], numbers[nu]
        return 1 - share + share * (1 - kept) / (1 + kept)

    return lambda numbers: 1 - numbers[nu] * numbers[decay], alternating


def _optax_sgd(numbers: Numbers) -> Any:
    kept = numbers.get("momentum") or 0.0
    return (1 + 2 * kept) / (1 + kept) if numbers.get("nesterov") else 1 / (1 + kept)


def _optax_sgd_first(numbers: Numbers) -> Any:
    return 1 + (numbers.get("momentum") or 0.0) if numbers.get("nesterov") else 1.0


MEMORIES: dict[str, Memory] = {
    "gd": Memory(_none, _none),
    "sgd": Memory(_none, _none),
    "momentum": Memory(_none, _sum("decay")),
    "momentum_dampened": Memory(_dampened, lambda h: _dampened(h) * _sum("decay")(h)),
    "nesterov": Memory(*_nesterov("decay")),
    "qhm": Memory(*_quasi("decay", "nu")),
    "optax.sgd": Memory(_optax_sgd_first, _optax_sgd),
    **dict.fromkeys(
        ("adagrad", "adagrad_optax", "adagrad_torch", "adadelta", "rmsprop"),
        Memory(_none, _none, adaptive=True),
    ),
    **dict.fromkeys(
        ("rmsprop_graves", "rmsprop_torch"), Memory(_none, _sum("momentum"), adaptive=True)
    ),
    **dict.fromkeys(
        ("adam", "adamw", "adamw_paper", "amsgrad", "adabelief", "yogi", "adamax"),
        Memory(*_mean("b1"), adaptive=True),
    ),
    "qhadam": Memory(*_quasi("b1", "nu1"), adaptive=True),
}
_DEFAULT_B1 = {"b1": 0.9}  # Optax's, where a config leaves it out
MEMORIES |= {
    f"optax.{name}": Memory(
        lambda h, first=MEMORIES[name].first: first({**_DEFAULT_B1, **h}),
        lambda h, alternating=MEMORIES[name].alternating: alternating({**_DEFAULT_B1, **h}),
        adaptive=True,
    )
    for name in ("adam", "adamw", "amsgrad", "adabelief", "adagrad", "adadelta", "rmsprop")
}


def memory_of(method: str | None, hyperparameters: Numbers) -> Memory | None:
    """How a method remembers gradients; None where that is not known.

    Args:
        method: its name in a config.
        hyperparameters: by name. Those of a modifier (`lookahead.sync`) make it another method;
            those of a schedule only change the rate.
    """
    foreign = any("." in name and not name.startswith("schedule.") for name in hyperparameters)
    return None if method is None or foreign else MEMORIES.get(method)


def stability_limit(method: str | None, hyperparameters: Numbers) -> Array | float:
    """The largest eigenvalue of `D^-1/2 H D^-1/2` at which steps on a quadratic do not grow.

    `2 / (learning_rate * (r_0 - r_1 + r_2 - ...))`: with more, a gradient that changes its sign
    every step comes back larger. Gradient descent 2/lr; momentum 2(1 + mu)/lr; Nesterov
    2(1 + mu)/((1 + 2 mu) lr); Adam (2 + 2 b1)/((1 - b1) lr). D is 1 for methods that do not adapt.

    Args:
        method: its name in a config; see `MEMORIES`.
        hyperparameters: its numbers by name, concrete or traced.

    Returns:
        The limit; NaN for a method that is not in the table, without a learning rate, or with a
        modifier around it.

    Reference:
        Sutskever et al. (2013), section 2; Cohen et al. (2021), Gradient descent on neural networks
        typically occurs at the edge of stability, section 2; Cohen et al. (2022), section 2.

    >>> round(stability_limit("adam", {"learning_rate": 0.001, "b1": 0.9}))
    38000
    """
    memory = memory_of(method, hyperparameters)
    if memory is None or "learning_rate" not in hyperparameters:
        return float("nan")
    return 2 / (hyperparameters["learning_rate"] * memory.alternating(hyperparameters))
