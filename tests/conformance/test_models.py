"""Every registered model keeps its contracts, and every contract of a model can be broken."""

import sys

import numpy as np
import pytest

from initopt_jax.cli import commands
from initopt_jax.conformance import check_model, models
from initopt_jax.conformance.examples import COUNT, made_up, of_dataset
from initopt_jax.conformance.finding import words
from initopt_jax.conformance.model_subject import same_trace, traced
from initopt_jax.conformance.trial import GATES
from initopt_jax.errors import ConfigError
from initopt_jax.models import REGISTRY
from initopt_jax.studies.preview import prepare
from initopt_jax.tasks import REGISTRY as TASKS
from initopt_jax.types import Dataset, Split

OWN = "tests.conformance.broken_models:"
CONTRACTS = {contract.__name__: words(contract) for contract in (*GATES, *models.CONTRACTS)}
VECTORS = "digits as vectors [64], 10 outputs, classification"

# Small forms; between them, every normalization with a state, dropout, gates and stacks.
SMALL = {
    "autoencoder": {"encoder": [6, 3]},
    "cnn": {"channels": [3, 4], "hidden": [5], "norm": "batch", "dropout": 0.2},
    "deep_linear": {"depth": 2, "width": 5},
    "gru": {"hidden": 4, "layers": 2, "dropout": 0.1},
    "lenet5": {},
    "linear": {},
    "lstm": {"hidden": 4},
    "mixer": {"width": 6, "depth": 1, "token_width": 4},
    "mlp": {"hidden": [6]},
    "resnet": {"depth": 9, "width": 2},
    "rnn": {"hidden": 4},
    "transformer": {"width": 6, "heads": 2, "depth": 1, "dropout": 0.1},
    "vit": {"width": 6, "heads": 2, "depth": 1},
}
LEARNT = {
    "autoencoder": "digits [64], 64 outputs, reconstruction",
    "lenet5": "made-up examples [28, 28, 1], 10 outputs, classification",
}


@pytest.mark.parametrize("name", REGISTRY)
def test_registered_models_keep_their_promises(name):
    findings = check_model(name, SMALL[name])
    assert [finding.contract for finding in findings] == list(CONTRACTS.values())
    assert findings[1].reason == LEARNT.get(name, VECTORS)
    assert [finding for finding in findings if finding.outcome != "ok"] == []


@pytest.mark.parametrize("name", ["Counted", "watching", "starts_with_an_empty_branch"])
def test_modules_of_ones_own_keep_them(name):
    assert {finding.outcome for finding in check_model(OWN + name)} == {"ok"}


# Which contracts each of `broken_models` breaks, and what is said about the first.
BREAKS = {
    "takes_no_outputs": ({"is_made_for_its_outputs"}, "takes no outputs=; add it"),
    "returns_its_class": ({"is_made_for_its_outputs"}, "an instance of Counted, got the class"),
    "has_no_weights": ({"takes_the_examples"}, "has no weights"),
    "counts_in_its_weights": ({"takes_the_examples"}, "calls is int32"),
    "branches_on_values": ({"takes_the_examples"}, "asks for the values of an array"),
    "returns_one_thing": ({"takes_the_examples"}, "init must return a pair"),
    "fails_inside": ({"takes_the_examples"}, "KeyError: 'missing' (broken_models.py, line "),
    "returns_labels": ({"fits_the_task"}, "outputs of dtype int32"),
    "returns_one_number": ({"fits_the_task"}, "outputs of shape (7, 1) for 7 examples; task"),
    "returns_two_arrays": ({"fits_the_task"}, "one array of outputs, got a tuple"),
    "counts_in_another_dtype": ({"keeps_the_form_of_its_state"}, "calls is int32[] before one and"),
    "keeps_a_key": ({"keeps_the_form_of_its_state"}, "stream is key<fry>"),
    "widens_in_training": ({"keeps_the_form_of_its_state"}, "(7, 20) in training and (7, 10)"),
    "drops_the_same_units": ({"is_told_whether_it_trains"}, "the same for every key"),
    "Forgetful": (
        {"is_told_whether_it_trains"},
        "Dropout_0 (Dropout, rate 0.3) never drops anything, in training either; flags that are",
    ),
    "Upside": ({"takes_the_examples"}, "draws random numbers in evaluation (Dropout_0 needs PRNG"),
    "begins_without_end": (
        {"draws_finite_weights", "has_gradients_everywhere", "learns"},
        "outputs: all is not finite",
    ),
    "ignores_its_key": ({"draws_by_its_key"}, "two keys give equal weights"),
    "draws_with_numpy": (
        {"draws_by_its_key", "is_the_same_when_built_again"},
        "init is not the same each time",
    ),
    "is_made_for_a_batch": ({"names_its_weights_alike"}, "scale is float32[1], and should be"),
    "knows_one_size": (
        {"names_its_weights_alike", "takes_any_batch", "shows_how_its_weights_are_used"},
        "(2, 10), (7, 1)",
    ),
    "normalizes_by_its_batch": (
        {"takes_any_batch", "keeps_examples_apart"},
        "alone and in a batch of 7: numbers differ by up to",
    ),
    "counts_evaluations": ({"keeps_its_state_in_evaluation"}, "calls has other bits"),
    "evaluates_by_chance": (
        {"takes_any_batch", "evaluates_alike_each_time", "is_the_same_when_built_again"},
        "alone and in a batch of 7",
    ),
    "trains_by_chance": (
        {"trains_by_its_key", "runs_on_many_lanes", "is_the_same_when_built_again"},
        "training is not the same each time",
    ),
    "leaves_a_weight_out": ({"has_gradients_everywhere"}, "no gradient reaches unused"),
    "has_no_slope": ({"has_gradients_everywhere", "learns"}, "gradient of bias is not finite"),
    "climbs": ({"learns"}, "in 10 steps the loss goes from"),
    "looks_at_its_neighbours": ({"leaves_its_neighbours_alone"}, "seen has other bits"),
    "takes_another_lane": (
        {"runs_on_many_lanes", "leaves_its_neighbours_alone"},
        "state of lane 0: numbers differ",
    ),
    "has_a_kernel_without_axes": (
        {"shows_how_its_weights_are_used"},
        "glorot_uniform cannot draw it: leaf 'gain/kernel' ()",
    ),
    "talks": ({"stays_on_the_device"}, "evaluation calls the host: debug"),
    "leaves_the_device": ({"stays_on_the_device"}, "evaluation calls the host: pure_callback"),
    "counts_its_builds": ({"is_the_same_when_built_again"}, "evaluation of a second model"),
    "grows_with_its_builds": ({"is_the_same_when_built_again"}, "weights of a second model: scale"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_model_is_found_out(name, capfd):
    contracts, said = BREAKS[name]
    fails = [one for one in check_model(OWN + name) if one.outcome == "fails"]
    capfd.readouterr()  # one of them talks
    assert {finding.contract for finding in fails} == {CONTRACTS[key] for key in contracts}
    assert said in fails[0].reason
    assert not any("\n" in finding.reason for finding in fails)


def test_every_promise_of_a_model_is_shown_to_be_broken():
    assert set().union(*(contracts for contracts, _ in BREAKS.values())) == set(CONTRACTS)


def test_weights_whose_use_cannot_be_followed_are_named():
    others = [one for one in check_model(OWN + "hides_its_weights") if one.outcome != "ok"]
    (finding,) = others
    assert finding.outcome == "not checked"
    assert "kernel (64, 10): its numbers pass through cumsum. A rule" in finding.reason


def test_a_model_is_held_to_the_examples_that_were_asked_for():
    random = np.random.default_rng(0)
    part = Split(random.normal(size=(3, 5)).astype(np.float32), np.array([0, 1, 1], np.int32))
    three = of_dataset(
        Dataset("three", "classification", part, part, part, 2, ""), TASKS["classification"]
    )
    assert (three.batch.inputs.shape, three.text) == (
        (COUNT, 5),
        "three [5], 2 outputs, classification",
    )
    np.testing.assert_array_equal(three.batch.inputs[:4], part.inputs[[0, 1, 2, 0]])
    regression = made_up((4,), outputs=3, task="regression")
    for examples in (three, regression):
        findings = check_model("linear", {}, [examples])
        assert {finding.outcome for finding in findings} == {"ok"}
        assert findings[1].reason == examples.text
    with pytest.raises(ConfigError, match="has 6 outputs, not 4"):
        made_up((2, 3), outputs=4, task="reconstruction")
    assert made_up((4,), outputs=1).text == "made-up examples [4], 1 output, regression"
    with pytest.raises(ConfigError, match="needs at least 2 outputs, one per class"):
        made_up((4,), outputs=1, task="classification")
    with pytest.raises(ConfigError, match="must be at least 1"):
        made_up((0,))
    with pytest.raises(ConfigError, match="no examples"):
        check_model("linear", {}, [])


def test_traces_tell_constants_apart():
    one, again, other = (traced(lambda x, c=c: x + c, np.ones(2)) for c in (1.0, 1.0, 2.0))
    assert same_trace(one, again)
    assert not same_trace(one, other)
    one, other = (traced(lambda x, c=c: x + c, np.ones(2)) for c in (np.zeros(2), np.ones(2)))
    assert one.text == other.text
    assert not same_trace(one, other)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("fails_inside", "does not take inputs of shape (64,): KeyError: 'missing'"),
        ("has_no_weights", "has no weights"),
        ("counts_in_its_weights", "calls is int32"),
        ("branches_on_values", "asks for the values of an array"),
        ("returns_one_thing", "init must return a pair, weights and state, got a dict"),
        ("returns_one_number", "gives outputs of shape (2, 1) for 2 examples; task"),
        ("returns_labels", "gives outputs of dtype int32; task 'classification' needs floating"),
        ("returns_two_arrays", "must return one array of outputs, got a tuple"),
        ("counts_in_another_dtype", "calls is int32[] before one and float32[] after it"),
        ("keeps_a_key", "its state must be numbers, and stream is key<fry>"),
        ("widens_in_training", "(2, 20) in training and (2, 10) in evaluation"),
        ("Forgetful", "never drops anything, in training either"),
        ("normalizes_by_its_batch", "outputs of an example depend on the others in its batch"),
        ("counts_evaluations", "changes its state in evaluation: calls"),
    ],
)
def test_a_study_of_what_does_not_fit_is_refused_in_one_line(name, said, small_config):
    with pytest.raises(ConfigError) as refused:
        prepare(small_config | {"model": OWN + name})
    message = str(refused.value)
    assert message.startswith(f"model '{OWN}{name}'")
    assert said in message
    assert "\n" not in message


def test_the_command_says_what_was_learnt_and_what_fails(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["initopt", "check", *arguments])
        with pytest.raises(SystemExit) as stopped:
            commands.main()
        return stopped.value.code, capsys.readouterr()

    code, said = run("mlp", "--set", "hidden=[3]", "--input", "5", "--task", "regression")
    assert code == 0
    assert "made-up examples [5], 1 output, regression" in said.out
    code, said = run("linear", "--data", "{name: two_moons, samples: 40}")
    assert code == 0, said
    assert "two_moons [2], 2 outputs, classification" in said.out
    code, said = run(OWN + "returns_one_number", "--data", "digits")
    assert code == 1
    assert "fails" in said.out
