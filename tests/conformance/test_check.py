"""What `initopt check` makes of a name, and that every contract of a transform can be broken."""

import re
import sys

import pytest

from initopt_jax import conformance
from initopt_jax.cli import commands
from initopt_jax.conformance import check, transforms
from initopt_jax.conformance.finding import hold_to, words
from initopt_jax.conformance.subject import Subject
from initopt_jax.conformance.transforms import check_transform
from initopt_jax.errors import ConfigError
from initopt_jax.initializers import MODEL_LEVEL
from initopt_jax.initializers import REGISTRY as INITIALIZERS
from initopt_jax.models import REGISTRY as MODELS
from initopt_jax.transforms import REGISTRY as TRANSFORMS
from tests.conformance import broken

CONTRACTS = {contract.__name__: contract for contract in (*transforms.GATES, *transforms.CONTRACTS)}
RUNS = {"runs_on_many_lanes", "listens_to_its_numbers", "descends"}

# Which contracts each of `broken` breaks, and what is said about the first.
BREAKS = {
    "refuses": ({"builds_from_its_numbers"}, "ValueError: 0.01 is no"),
    "returns_nothing": ({"is_a_gradient_transformation"}, "it returns NoneType"),
    "wants_more": ({"takes_what_the_engine_passes"}, "obj_fn"),
    "halves_the_precision": ({"keeps_trees_shapes_and_dtypes"}, "is float16[3], and should be"),
    "counts_in_float": ({"keeps_the_types_of_its_state", *RUNS}, "is float32[], and should be"),
    "draws_from_outside": (
        {
            "repeats_itself",
            "compiles",
            "runs_on_many_lanes",
            "numbers_may_be_traced",
            "works_on_a_part_of_the_weights",
        },
        "differ by up to",
    ),
    "counts_in_secret": (
        {"compiles", "numbers_may_be_traced", "works_on_a_part_of_the_weights"},
        "compiled: updates differ by up to",
    ),
    "leaves_jax": (RUNS, "vmap"),
    "branches_on_a_number": ({"numbers_may_be_traced"}, "decay cannot be traced"),
    "ignores_its_rate": ({"listens_to_its_numbers"}, "learning_rate changed nothing"),
    "knows_one_tree": (
        {"keeps_trees_shapes_and_dtypes", "works_on_a_part_of_the_weights"},
        "is not a mapping",
    ),
    "reads_schedules_late": ({"takes_a_schedule"}, "a constant schedule: updates differ"),
    "divides_by_the_norm": ({"stays_finite_without_gradient"}, "not finite"),
    "climbs": ({"takes_a_schedule", "descends"}, "a constant schedule"),
    "offers_other_types": ({"eval_params_are_like_params"}, "eval_params"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_broken_transform_is_found_out(name):
    contracts, said = BREAKS[name]
    findings = check_transform(f"tests.conformance.broken:{name}")
    fails = [finding for finding in findings if finding.outcome == "fails"]
    assert {finding.contract for finding in fails} == {words(CONTRACTS[key]) for key in contracts}
    assert said in fails[0].reason
    assert "\n" not in fails[0].reason


@pytest.mark.parametrize(
    ("contract", "name", "said"),
    [
        ("keeps_bfloat16", "counts_in_float", "is float32[3], and should be bfloat16[3]"),
        ("has_a_state_of_its_own", "shares_the_weights", "shares its buffer"),
    ],
)
def test_what_only_registered_transforms_promise(contract, name, said):
    for registered, outcome in ((True, "fails"), (False, "not checked")):
        given = {"learning_rate": 0.1}
        make = getattr(broken, name)
        subject = Subject(name, make, given, {}, frozenset(given), registered)
        finding = hold_to(CONTRACTS[contract], subject)
        assert finding.outcome == outcome
        assert said in finding.reason


def test_every_promise_is_shown_to_be_broken():
    shown = set().union(*(contracts for contracts, _ in BREAKS.values()))
    assert shown | {"keeps_bfloat16", "has_a_state_of_its_own"} == set(CONTRACTS)


def test_static_options_are_not_traced():
    name = "tests.conformance.broken:branches_on_a_number"
    findings = check_transform(name, static={"decay": 0.5})
    assert not [finding for finding in findings if finding.outcome == "fails"]


def test_a_number_that_does_nothing_is_a_failure_where_it_was_asked_for():
    def outcome(options):
        findings = check_transform("tests.conformance.broken:ignores_its_eps", options)
        return {finding.contract: finding.outcome for finding in findings}

    listens = words(CONTRACTS["listens_to_its_numbers"])
    assert outcome({})[listens] == "not checked"
    assert outcome({"eps": 1e-3})[listens] == "fails"


def test_names_of_the_registries_are_different():
    names = [*INITIALIZERS, *MODEL_LEVEL, *TRANSFORMS, *MODELS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("zeros", "initializer"),
        ("lsuv", "initializer"),
        ("jax.he_normal", "initializer"),
        ("sgd", "transform"),
        ("optax.contrib.muon", "transform"),
        ("optax:sgd", "transform"),
        ("tests.conformance.test_check:by_key", "initializer"),
        ("tests.conformance.test_check:by_shape", "initializer"),
        ("tests.conformance.test_check:by_params", "initializer"),
        ("resnet", "model"),
        ("tests.conformance.test_check:by_outputs", "model"),
    ],
)
def test_a_name_says_what_it_is(name, kind, monkeypatch):
    for one in ("initializer", "model", "transform"):
        monkeypatch.setattr(conformance, f"check_{one}", lambda *_, one=one: one)
    assert check(name) == kind


def by_key(key, a, b): ...


def by_shape(rng, shape, dtype): ...


def by_params(rng, params, network): ...


def by_outputs(*, outputs, width=3): ...


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["he_norml"],
            "unknown name 'he_norml'; did you mean 'he_normal'? All are in `initopt list`",
        ),
        (["addam"], "unknown name 'addam'; did you mean 'adam'"),
        (["optax.adm"], "did you mean 'optax.adam'"),
        (
            ["tests.misused:needs_a_number"],
            "needs beta; give values to check it with, such",
        ),
        (["tests.misused:takes_no_rate"], "do not tell its kind; add --kind: transform, modifier"),
        (["tests.misused:data_from"], "do not tell its kind; add --kind: transform, model, init"),
        (["adam", "--kind", "optimiser"], "unknown kind 'optimiser'"),
        (["cosine", "--static", "end=1"], "'cosine' is a schedule, and has no static options"),
        (["builtins:dict"], "is of Python's standard library, which no config may name"),
        (["adam", "--set", "rate=1"], "unknown option 'rate'"),
        (["adam", "--set", "b1=[0.1, 0.2]"], "b1 must be one number"),
        (["zeros", "--static", "value=1"], "an initializer, and has no static options"),
        (["mlp", "--static", "dtype=float32"], "a model, and has no static options"),
        (["adam", "--data", "digits"], "'adam' is an optimizer, and learns from no data"),
        (["mlp", "--data", "digts"], "did you mean 'digits'?"),
        (["mlp", "--data", "digits", "--task", "regression"], "the task is regression"),
        (["mlp", "--data", "digits", "--input", "3"], "--data and --input exclude each other"),
        (["mlp", "--input", "3,x"], "--input takes the sizes of one example, as in 28,28,1"),
        (["mlp", "--input", "3", "--task", "test_function"], "'test_function' must be one of"),
        (["mlp", "--outputs", "3"], "--outputs needs --input"),
        (["mlp", "--task", "regression"], "--task needs --data or --input"),
        (["mlp", "--set", "hidden=[0]"], "hidden[0] must be an integer of at least 1, got 0"),
        (["mlp", "--set", "hiden=[4]"], "unknown option 'hiden'; did you mean 'hidden'?"),
        (["adam", "--set", "b1=2"], "optimizer 'adam': b1 must"),
        (["adam", "--set", "learning_rate=-1"], "optimizer 'adam': learning_rate must"),
        (["muon", "--static", "iterations=0"], "optimizer 'muon': iterations must"),
        (["normal", "--set", "stddev=-1"], "initializer 'normal': stddev must"),
        (["lsuv", "--set", "variance=-1"], "initializer 'lsuv': variance must"),
        (["adam", "--static", "zz"], "--static takes key=value, got 'zz'"),
        (["adam", "--static", "b1=[1"], "the value in --static b1=[1 is not valid YAML"),
        (["adam", "--set", "zz"], "--set takes key=value, got 'zz'"),
    ],
)
def test_what_is_wrong_with_a_name_is_one_line(arguments, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["initopt", "check", *arguments])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert said in message
    assert len(message.splitlines()) == 1


OWN = "tests.misused:"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (OWN + "draws_of_two", "initializer"),
        (OWN + "draws_nothing", "initializer"),
        (OWN + "refines_of_two", "initializer"),
        (OWN + "negates_its_rate", "transform"),
        (OWN + "schedules_nothing", "schedule"),
        (OWN + "other_names_of_a_schedule", "schedule"),
        (OWN + "WithoutOutputs", "model"),
        (OWN + "OfADictionary", "model"),
        (OWN + "model_of_nothing", "model"),
        (OWN + "model_without_outputs", "model"),
        (OWN + "data_of_two_lengths", "data"),
        (OWN + "probes_nothing", "probe"),
        (OWN + "augments_to_nothing", "augmentation"),
        (OWN + "costs_nothing", "function"),
        ("flax.nnx:Linear", "model"),
        ("optax:sgd", "transform"),
        ("initopt_jax.modifiers:lookahead", "modifier"),
        ("initopt_jax.probes:weight_norm", "probe"),
        ("initopt_jax.augmentations:random_flip", "augmentation"),
        ("initopt_jax.schedules:cosine", "schedule"),
        ("initopt_jax.initializers:he_normal", "initializer"),
        ("cosine", "schedule"),
        ("clip_by_global_norm", "modifier"),
        ("csv:table.csv", "data"),
        ("beale", "function"),
        ("classification", "task"),
    ],
)
def test_kinds_are_told_apart(name, kind):
    assert conformance.kind_of(name) == kind


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([OWN + "WithoutOutputs"], "takes no outputs="),
        ([OWN + "schedules_many"], "must give one real number"),
        ([OWN + "other_names_of_a_schedule"], ""),
        (["cosine", "--set", "end=0.1"], ""),
        (["linear", "--kind", "schedule"], ""),
        ([OWN + "modifies_shapes", "--kind", "modifier"], "its updates of"),
        ([OWN + "data_from", "--kind", "data"], "missing 1 required"),
        ([OWN + "task_of_nothing", "--kind", "task"], "initopt_jax.types.Task"),
        ([OWN + "probes_text"], "'word' is a str"),
        ([OWN + "augments_to_nothing"], "must return examples"),
        (["random_flip"], ""),
        ([OWN + "costs_a_pair"], "must return one real number"),
        (["weight_norm"], ""),
        (["ema"], ""),
        (["iris"], ""),
        (["regression"], ""),
        (["himmelblau"], ""),
    ],
)
def test_every_kind_can_be_tried(arguments, said, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["initopt", "check", *arguments])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    out = re.sub(r"[\s│]+", " ", capsys.readouterr().out)
    assert (stopped.value.code, "fails" in out) == (int(bool(said)), bool(said)), out
    assert said in out


def test_what_acts_at_a_large_rate_alone_is_felt():
    """The rate is halved where the loss rises: nothing at a small one."""
    findings = check_transform("tests.conformance.broken:shrinks")
    assert {finding.outcome for finding in findings} == {"ok"}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["sgd", "--set", "learning_rate=0.1"], 0),
        (["tests.conformance.broken:branches_on_a_number"], 1),
        (["tests.conformance.broken:branches_on_a_number", "--static", "decay=0.5"], 0),
    ],
)
def test_the_exit_code_says_whether_promises_are_kept(arguments, code, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["initopt", "check", *arguments])
    with pytest.raises(SystemExit) as stopped:
        commands.main()
    assert stopped.value.code == code
    assert ("fails" in capsys.readouterr().out) == bool(code)


def test_an_unknown_name_raises_in_python_too():
    with pytest.raises(ConfigError, match="did you mean 'nesterov'"):
        check("nestrov")


def test_a_swept_number_of_an_initializer_must_be_felt():
    findings = check("tests.conformance.broken:knows_numbers_that_are_written")
    (fails,) = [finding for finding in findings if finding.outcome == "fails"]
    assert fails.contract.startswith("Its numbers may be swept")
    assert "traced options" in fails.reason
