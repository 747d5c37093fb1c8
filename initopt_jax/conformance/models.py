"""Does a model keep the contracts that a study relies on? One function per contract."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax.conformance.comparing import (
    as_numbers,
    differ,
    require_close,
    require_same_bits,
    require_same_form,
)
from initopt_jax.conformance.examples import Examples, usual
from initopt_jax.conformance.finding import Broken, Finding, Unchecked, hold_to, words
from initopt_jax.conformance.model_subject import (
    COMPUTED,
    RATES,
    STEPS,
    Lanes,
    ModelSubject,
    compiled,
    lane_of,
    same_trace,
)
from initopt_jax.conformance.trial import GATES, Trial
from initopt_jax.errors import ConfigError
from initopt_jax.initializers import default_rules, initialize
from initopt_jax.lookup.options import check_options, takes
from initopt_jax.models import brings_weights, find_model, network_of, refuse_flags
from initopt_jax.models.fit import forms_of, require_steady
from initopt_jax.tree import named_leaves
from initopt_jax.types import Model, PyTree, option_names

SIZES = (1, 2, 7)


def check_model(
    name: str,
    options: Mapping[str, Any] | None = None,
    examples: Iterable[Examples] | None = None,
) -> list[Finding]:
    """Hold a model to every contract.

    Args:
        name: as in a config: of the registry or `module:function`.
        options: values for its options, as in a config.
        examples: what it is to learn. Of several, it is held to the first that it takes. By
            default digits as vectors, pictures and sequences, larger pictures, a reconstruction and
            a regression.

    Returns:
        A finding per contract, in a fixed order. The reason of the second says what was learnt.

    Raises:
        ConfigError: there is no such model or option, or it refuses the values of its options.

    >>> findings = check_model("mlp", {"hidden": [4]})
    >>> {finding.outcome for finding in findings}, findings[1].reason
    ({'ok'}, 'digits as vectors [64], 10 outputs, classification')
    """
    make, given = find_model(name), dict(options or {})
    if not takes(make, "outputs"):
        left = [*GATES[1:], *CONTRACTS]
        broken = Finding(words(GATES[0]), "fails", f"{name} takes no outputs=; add it as an option")
        return [broken, *(Finding(words(one), "not checked", "see above") for one in left)]
    check_options(f"model {name!r}", make, given, given=("outputs",))
    refuse_flags(f"model {name!r}", make, given)
    known = option_names(make) | given
    best: Trial | None = None
    tried = []
    for one in usual() if examples is None else examples:
        if best and best.passed > 1 and one.task is not best.examples.task:
            break  # its outputs are wrong; that they fit something else says nothing
        trial = Trial(name, lambda n=one.outputs: make(**{"outputs": n, **given}), one, known)
        tried.append(one.kind)
        if best is None or trial.passed > best.passed:
            best = trial
        if best.subject:
            break
    if best is None:
        raise ConfigError("there are no examples to check it with")
    if best.passed == 0 and given:
        raise ConfigError(best.broken)
    return _findings(best, tried)


def _findings(trial: Trial, tried: Sequence[str]) -> list[Finding]:
    """Those of all contracts."""
    found = [Finding(words(gate), "ok") for gate in GATES[: trial.passed]]
    if trial.passed > 1:
        found[1] = Finding(found[1].contract, "ok", trial.examples.text)
    if trial.subject:
        return found + [hold_to(contract, trial.subject) for contract in CONTRACTS]
    others = ""
    if trial.passed == 1 and len(tried) > 1:
        others = f"; tried {', '.join(tried)}; name others with --data or --input"
    found.append(Finding(words(GATES[trial.passed]), "fails", trial.broken + others))
    left = [*GATES[len(found) :], *CONTRACTS]
    return found + [Finding(words(one), "not checked", "see above") for one in left]


# First weights ------------------------------------------------------------------------------------


def draws_finite_weights(subject: ModelSubject) -> None:
    """First weights and outputs are finite."""
    params, state = subject.first
    outputs, _ = subject.evaluate(params, state, subject.examples.batch.inputs)
    for what, tree in (("weights", params), ("state", state), ("outputs", {"all": outputs})):
        for path, leaf in named_leaves(tree):
            if not bool(np.isfinite(as_numbers(leaf)).all()):
                raise Broken(f"{what}: {path} is not finite")


def draws_by_its_key(subject: ModelSubject) -> None:
    """Init is a function of its key: the same key the same weights, another key others."""
    inputs = jnp.asarray(subject.examples.batch.inputs)

    def run() -> PyTree:
        return compiled(lambda key: subject.model.init(key, inputs))(jax.random.key(0))

    _repeats(subject, "init", run)
    other, _ = jax.device_get(subject.init(jax.random.key(1)))
    constant = all(np.ptp(leaf) == 0 for leaf in jax.tree.leaves(other))
    if brings_weights(subject.made) or constant or differ(subject.first[0], other):
        return
    raise Broken(
        "two keys give equal weights; draw them from the key (from_nnx: hand it a function of "
        "Rngs, not an instance)"
    )


def names_its_weights_alike(subject: ModelSubject) -> None:
    """Weights have the same names and shapes whatever the size of the batch."""
    for size in SIZES[:-1]:  # the last is what it was made for
        forms = forms_of(subject.name, subject.model, subject.examples.shape, size)
        require_same_form(f"weights made for {size} examples", subject.forms.params, forms.params)
        require_same_form(f"state made for {size} examples", subject.forms.state, forms.state)


# Batches ------------------------------------------------------------------------------------------


def takes_any_batch(subject: ModelSubject) -> None:
    """Batches of 1, 2 and 7 examples work, in evaluation and in training."""
    examples, forms = subject.examples, subject.forms
    for size in SIZES:
        inputs = examples.batch.inputs[:size]
        params, state, outputs = forms.params, forms.state, subject.evaluation(subject.model)
        try:
            made, _ = jax.eval_shape(outputs, params, state, inputs)
            require_steady(subject.name, subject.model, forms, examples.shape, size)
        except Exception as error:
            said = (str(error).splitlines() or [""])[0]
            raise Broken(f"a batch of {size} does not work: {said}") from error
        if made.shape != (size, examples.outputs):
            raise Broken(f"a batch of {size} gives outputs of shape {made.shape}")
    params, state = subject.first
    whole, _ = subject.evaluate(params, state, examples.batch.inputs)
    single, _ = subject.evaluate(params, state, examples.batch.inputs[:1])
    require_close("the first example, alone and in a batch of 7", whole[:1], single)


def keeps_examples_apart(subject: ModelSubject) -> None:
    """Examples do not influence each other in evaluation."""
    params, state = subject.first
    mixed = subject.examples.others.inputs.copy()
    mixed[0] = subject.examples.batch.inputs[0]
    one, _ = subject.evaluate(params, state, subject.examples.batch.inputs)
    other, _ = subject.evaluate(params, state, mixed)
    try:
        require_close("the first example", one[:1], other[:1])
    except Broken as error:
        raise Broken(
            f"{error} when the others in its batch change; normalize by running averages in "
            "evaluation (train=False), and keep the first axis for examples"
        ) from error


# State and chance ---------------------------------------------------------------------------------


def keeps_its_state_in_evaluation(subject: ModelSubject) -> None:
    """Evaluation leaves the state as it is."""
    params, state = subject.first
    _, after = subject.evaluate(params, state, subject.examples.batch.inputs)
    require_same_form("the state after an evaluation", subject.forms.state, after)
    require_same_bits("the state after an evaluation", state, jax.device_get(after))


def evaluates_alike_each_time(subject: ModelSubject) -> None:
    """Evaluation needs no key, and gives the same each time."""
    evaluation = subject.evaluation(subject.model)
    params, state = subject.first

    def run() -> PyTree:
        given = (params, state, subject.examples.batch.inputs)
        return compiled(lambda *given: evaluation(*given)[0])(*given)

    _repeats(subject, "evaluation", run)


def trains_by_its_key(subject: ModelSubject) -> None:
    """A training step gives the same under the same key."""
    training = subject.training(subject.model)

    def run() -> PyTree:
        params, state = lane_of(subject.lanes.params, 0), lane_of(subject.lanes.state, 0)
        given = (params, state, subject.lanes.keys[0], subject.examples.batch)
        return compiled(lambda *given: training(*given).loss)(*given)

    _repeats(subject, "training", run)


def _repeats(subject: ModelSubject, what: str, run: Callable[[], PyTree]) -> None:
    """Refuse what computes something else when it is written out a second time."""
    if not subject.repeats(what) and differ(run(), run()):
        raise Broken(
            f"{what} is not the same each time: it reads or changes something outside, such as a "
            "global, a clock, or NumPy's random numbers"
        )


# Learning -----------------------------------------------------------------------------------------


def has_gradients_everywhere(subject: ModelSubject) -> None:
    """Gradients are finite, and every leaf has one (weights moved a little from the first)."""
    steps = [subject.alone(lane) for lane in range(len(RATES))]
    for path, leaf in named_leaves(steps[0].grads):
        if not np.isfinite(leaf).all():
            raise Broken(f"the gradient of {path} is not finite at its first weights")
    every = [named_leaves(step.grads) for step in steps[1:]]
    still = [path for path, *leaves in _across(every) if not any(leaf.any() for leaf in leaves)]
    if still:
        raise Broken(
            f"no gradient reaches {', '.join(still)}; use it, or keep what is not learnt in a "
            "collection of its own"
        )


def learns(subject: ModelSubject) -> None:
    """Ten steps of gradient descent on one batch lower its loss, at 0.1, 0.01 or 0.001."""
    losses = subject.together.losses
    if not any(math.isfinite(one[-1]) and one[-1] < one[0] for one in losses):
        ways = ", ".join(
            f"{one[0]:.4g} to {one[-1]:.4g} at {rate}"
            for one, rate in zip(losses, RATES, strict=True)
        )
        raise Broken(f"in {STEPS} steps the loss goes from {ways}")


def _across(trees: Sequence[Sequence[tuple[str, Any]]]) -> Iterator[tuple[Any, ...]]:
    """Path, and the leaf of each tree."""
    for leaves in zip(*trees, strict=True):
        yield (leaves[0][0], *(leaf for _, leaf in leaves))


# Lanes --------------------------------------------------------------------------------------------


def runs_on_many_lanes(subject: ModelSubject) -> None:
    """Its steps compile as a loop (scan) over many lanes (vmap); each steps as it does alone."""
    for lane in range(len(RATES)):
        alone, together = subject.alone(lane), lane_of(subject.together.first, lane)
        for what in ("loss", "grads", "state"):
            require_close(f"{what} of lane {lane}", getattr(alone, what), getattr(together, what))


def leaves_its_neighbours_alone(subject: ModelSubject) -> None:
    """A lane's bits do not depend on its neighbours: not on weights that are no numbers either."""
    lanes = subject.lanes
    params, state = (jax.tree.map(_poisoned, tree) for tree in (lanes.params, lanes.state))
    alone = subject.way(Lanes(params, state, lanes.keys), RATES)
    require_same_bits("lane 0", lane_of(subject.together, 0), lane_of(alone, 0))


def _poisoned(leaf: Any) -> Any:
    """Lane 0 as it is; the others not numbers, where there are such."""
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    spoilt = np.full_like(leaf, np.nan)
    spoilt[0] = leaf[0]
    return spoilt


# What a study sees of it --------------------------------------------------------------------------


def shows_how_its_weights_are_used(subject: ModelSubject) -> None:
    """Fan-in and fan-out of every leaf are seen from its use, and glorot_uniform can draw it."""
    examples, params = subject.examples, subject.forms.params
    parts = (subject.model, examples.task, params, subject.first[1], examples.batch)
    layouts = network_of(*parts).anatomy.layouts
    unclear = [
        f"{path} {tuple(leaf.shape)}: {layouts[path].why}"
        for path, leaf in named_leaves(params)
        if layouts[path].kind == "unknown"
    ]
    if unclear:
        raise Unchecked(
            "what the model does with these leaves cannot be followed, so that initializers that "
            f"need fans refuse them: {'; '.join(unclear)}. A rule of the config says how one is "
            'used: rules: {PATH: {name: he_normal, layout: "i o"}}'
        )
    try:
        rules = default_rules("glorot_uniform")
        jax.eval_shape(lambda key: initialize(key, params, rules, layouts), jax.random.key(0))
    except ValueError as error:
        raise Broken(f"glorot_uniform cannot draw it: {error}") from error


def stays_on_the_device(subject: ModelSubject) -> None:
    """It asks nothing of the host while it computes (callbacks, debug.print)."""
    for what, trace in subject.traced.items():
        asking = sorted(name for name in trace.names if "callback" in name or "debug" in name)
        if asking:
            raise Broken(f"{what} calls the host: {', '.join(asking)}")


def is_the_same_when_built_again(subject: ModelSubject) -> None:
    """The function gives the same model a second time: no global state."""
    other = subject.second
    forms = forms_of(subject.name, other, subject.examples.shape, len(subject.examples.batch[0]))
    require_same_form("weights of a second model", subject.forms.params, forms.params)
    require_same_form("state of a second model", subject.forms.state, forms.state)
    for what in COMPUTED:
        if not same_trace(subject.traced[what], subject.second_traced[what]):
            _computes_the_same(subject, other, what)


def _computes_the_same(subject: ModelSubject, other: Model, what: str) -> None:
    """Compare two models by their numbers, where their operations are written otherwise."""
    params, state = subject.first
    batch, key = subject.examples.batch, subject.lanes.keys[0]
    if what == "init":
        given: tuple[Any, ...] = (jax.random.key(0),)
        both = [lambda key, m=m: m.init(key, batch.inputs) for m in (subject.model, other)]
    elif what == "evaluation":
        given = (params, state, batch.inputs)
        both = [subject.evaluation(m) for m in (subject.model, other)]
    else:
        given = (params, state, key, batch)
        both = [subject.training(m) for m in (subject.model, other)]
    one, two = (compiled(function)(*given) for function in both)
    require_close(f"{what} of a second model, built with the same options", one, two)


CONTRACTS: Sequence[Callable[[ModelSubject], None]] = (
    draws_finite_weights,
    draws_by_its_key,
    names_its_weights_alike,
    takes_any_batch,
    keeps_examples_apart,
    keeps_its_state_in_evaluation,
    evaluates_alike_each_time,
    trains_by_its_key,
    has_gradients_everywhere,
    learns,
    runs_on_many_lanes,
    leaves_its_neighbours_alone,
    shows_how_its_weights_are_used,
    stays_on_the_device,
    is_the_same_when_built_again,
)
