"""What a look into untrained networks found, initializer by initializer, and a verdict on each."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from initopt_jax.probes.signals.theory import Phase, Predicted
from initopt_jax.reports.charts.numbers import listed, rate
from initopt_jax.reports.charts.scales import Floats

STEP = "step_backward_norm"
LEAVES = 1e-3  # of the outputs' gradient must reach the last hidden layer; 0.1 is usual
PASSES = 10.0  # a factor over the whole depth, either way, that training copes with
ALIKE = 0.98  # a correlation above which different inputs have become one
COPIED, DEAD = 0.5, 0.1  # shares of a layer's units worth a word
SATURATED = {"tanh": 0.3, "sigmoid": 0.3, "hard_tanh": 0.3, "softsign": 0.3, "sin": 0.3}
INACTIVE = 0.75  # of other activations, whose slope may rightly be small for half of their inputs

Course = Literal["passes", "vanishes", "explodes", "is zero", "is undefined"]


@dataclass(frozen=True)
class Look:
    """Untrained networks of one initializer, S of them, one per seed.

    Attributes:
        label: of the initializer.
        values: variables of `signals` [S, kernel], of `jacobian_spectrum` [S], and of
            `step_signals` [S, steps] where the network is recurrent.
        sigma_w: [S, kernel], standard deviation of weights times sqrt(fan-in).
        sigma_b: [S, kernel], of biases.
        copied: [S, kernel], share of units that have the same weights as an earlier one.
        predicted: what mean-field theory says of each kernel; None where it does not apply.
        phase: where it stands between order and chaos; None where the activation is not known.
    """

    label: str
    values: Mapping[str, Floats]
    sigma_w: Floats
    sigma_b: Floats
    copied: Floats
    predicted: Predicted | None = None
    phase: Phase | None = None

    def course(self, name: str) -> Floats:
        """A variable's geometric mean over seeds, [kernel]; NaN where a seed's is no number."""
        with np.errstate(divide="ignore"):
            return np.exp(np.mean(np.log(self.values[name]), axis=0))

    def mean(self, name: str) -> Floats:
        """A variable's mean over seeds."""
        return np.mean(self.values[name], axis=0)


@dataclass(frozen=True)
class PropagationData:
    """All initializers of a config, looked into.

    Attributes:
        name: of the config.
        kernels: paths, in order of use.
        hidden: places among them of those that do not make the outputs.
        inner: those of them that do not see the inputs either, whose sigmas tell the phase.
        activation: between layers, where the config tells it and it is one that theory knows.
        looks: one per initializer.
        residual: whether there are branches around which signals pass.
        facts: pairs of words for the page's foot.
    """

    name: str
    kernels: tuple[str, ...]
    hidden: tuple[int, ...]
    inner: tuple[int, ...]
    activation: str | None
    looks: tuple[Look, ...]
    residual: bool = False
    facts: tuple[tuple[str, str], ...] = ()

    @property
    def deep(self) -> list[int]:
        """Places of the kernels over which depth is measured: the hidden ones, if several."""
        return list(self.hidden if len(self.hidden) > 1 else range(len(self.kernels)))

    @property
    def ends(self) -> tuple[int, int]:
        """The first and the last of them."""
        return self.deep[0], self.deep[-1]


@dataclass(frozen=True)
class SignalVerdict:
    """What becomes of signals and gradients, and a sentence about it.

    Attributes:
        signal: through the hidden kernels. gradient: the other way; from the outputs on where
            hardly any gradient leaves them; along the steps of a recurrent network where it does
            not pass there.
        signal_factor: the ratio of root mean square pre-activations. gradient_factor: of gradients.
        correlation: of two inputs at the last hidden kernel.
        dead: the largest share of dead units of a hidden layer. saturated: of flat slopes.
        copied: the largest share of copied units of a hidden layer.
    """

    signal: Course
    gradient: Course
    signal_factor: float
    gradient_factor: float
    correlation: float
    dead: float
    saturated: float
    copied: float
    sentence: str


def judge(look: Look, probing: PropagationData) -> SignalVerdict:
    """A verdict on one initializer, from its numbers alone."""
    _, last = probing.ends
    sizes = np.sqrt(look.course("preactivation_variance"))
    norms = look.course("backward_norm")
    signal, signal_factor = _course(sizes[probing.deep], probing.residual)
    gradient, gradient_factor = _course(norms[probing.deep[::-1]], probing.residual)
    outer = np.delete(norms, probing.hidden)
    if probing.hidden and outer.size and 0 < norms[last] < LEAVES * np.max(outer):
        # Equal columns of an output layer, for one, cancel the gradient of a softmax.
        ends = np.array([np.max(outer), norms[probing.deep[0]]])
        gradient, gradient_factor = _course(ends, probing.residual)
    correlation = float(look.mean("input_correlation")[last])
    hidden = list(probing.hidden) or probing.deep
    dead, at_dead = _largest(look.mean("dead_units"), hidden)
    saturated, at_flat = _largest(look.mean("saturated_share"), hidden)
    copied, at_copied = _largest(np.mean(look.copied, axis=0), hidden)
    names = [short(path) for path in probing.kernels]
    way = _through_steps(look)
    parts = [
        _told("Signals", signal, signal_factor, sizes, names),
        _told("gradients", gradient, gradient_factor, norms, names),
    ]
    more = []
    if copied >= COPIED:
        more.append(f"{copied:.0%} of the units of {names[at_copied]} are copies of others")
    if signal != "is zero" and correlation > ALIKE:
        more.append(f"different inputs look alike in {names[last]} (correlation {correlation:.3f})")
    if dead > DEAD:
        more.append(f"{dead:.0%} of the units of {names[at_dead]} are dead")
    elif saturated > SATURATED.get(probing.activation or "", INACTIVE):
        more.append(f"{saturated:.0%} of {names[at_flat]} is saturated")
    sentence = (
        " and ".join(parts) + _steps_told(look, *way) + ("; " + listed(more) if more else "") + "."
    )
    if way[0] in ("vanishes", "explodes"):  # steps are many, layers few
        gradient, gradient_factor = way
    return SignalVerdict(
        signal,
        gradient,
        signal_factor,
        gradient_factor,
        correlation,
        dead,
        saturated,
        copied,
        sentence,
    )


def short(path: str) -> str:
    """A kernel's path without what all have in common.

    >>> short("layer_0/hf/kernel"), short("kernel")
    ('layer_0/hf', 'kernel')
    """
    return path.removesuffix("/kernel")


def _course(values: Floats, residual: bool) -> tuple[Course, float]:
    """What becomes of sizes, in order, and the factor by which their trend changes them.

    The trend is the median slope of the logarithm between any two: in a residual network sizes go
    up and down within a block, and what counts is how one block differs from the next. There a
    branch may well end in 0; in a plain network nothing comes after that.
    """
    if not np.isfinite(values).all():
        return ("explodes" if np.isinf(values).any() else "is undefined"), float("nan")
    zero = values == 0
    if zero.mean() > 0.5 or (zero.any() and not residual):
        return "is zero", 0.0
    places = np.flatnonzero(~zero).astype(np.float64)
    logs = np.log(values[~zero])
    first, second = np.triu_indices(len(places), 1)
    slopes = (logs[second] - logs[first]) / (places[second] - places[first])
    factor = float(np.exp(np.median(slopes) * (len(values) - 1))) if len(slopes) else 1.0
    if factor < 1 / PASSES:
        return "vanishes", factor
    return ("explodes" if factor > PASSES else "passes"), factor


def _largest(shares: Floats, places: list[int]) -> tuple[float, int]:
    own = shares[places]
    if not np.isfinite(own).any():
        return float("nan"), places[0]
    at = int(np.nanargmax(own))
    return float(own[at]), places[at]


def _told(what: str, course: Course, factor: float, values: Floats, names: list[str]) -> str:
    verb = {"passes": "pass", "vanishes": "vanish", "explodes": "explode"}.get(course)
    if course == "is zero":
        where = [name for name, value in zip(names, values, strict=True) if value == 0]
        every = len(where) == len(names)
        return f"{what} are exactly 0 {'everywhere' if every else 'in ' + _some(where)}"
    if verb is None or not np.isfinite(factor):
        return f"{what} are not finite"
    return f"{what} {verb} (× {rate(factor)} over the depth)"


def _through_steps(look: Look) -> tuple[Course, float]:
    """What becomes of a recurrent network's gradient from its last step to its second.

    The first has no memory yet, so that gates of it may have no gradient at all.
    """
    if STEP not in look.values or look.values[STEP].shape[1] < 3:
        return "passes", 1.0
    return _course(look.course(STEP)[[-1, 1]], residual=False)


def _steps_told(look: Look, course: Course, factor: float) -> str:
    if STEP not in look.values or look.values[STEP].shape[1] < 3:
        return ""
    verb = {"passes": "pass", "vanishes": "vanish", "explodes": "explode"}.get(course)
    told = f"they {verb} (× {rate(factor)})" if verb and np.isfinite(factor) else "nothing is left"
    return f"; from the last of {look.values[STEP].shape[1]} steps to the second {told}"


def _some(names: list[str]) -> str:
    return listed(names) if len(names) <= 3 else f"{names[0]}, {names[1]} and {len(names) - 2} more"
