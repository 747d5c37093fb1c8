"""Which contracts every registered transform keeps, and which every optimizer of Optax breaks."""

import functools
import inspect
import types

import optax
import pytest

from initopt_jax.conformance import transforms
from initopt_jax.conformance.finding import words
from initopt_jax.conformance.transforms import check_transform
from initopt_jax.transforms import REGISTRY
from tests.conformance.variants import EACH

NAMES = {
    words(contract): contract.__name__ for contract in (*transforms.GATES, *transforms.CONTRACTS)
}
BFLOAT16 = "keeps_bfloat16"
GATES = {contract.__name__ for contract in transforms.GATES}

# Registered: contracts that cannot be looked at, and a part of the reason.
ASKS_FOR_THE_LOSS = {"works_on_a_part_of_the_weights": "it asks for the loss"}
UNCHECKED = {
    # All weights are larger than the size that they count as at least.
    "adafactor": {"listens_to_its_numbers": "min_scale changed nothing"},
    "sam": ASKS_FOR_THE_LOSS,
    "lbfgs": ASKS_FOR_THE_LOSS,
    "gradient_flow": ASKS_FOR_THE_LOSS,
    # The momentum grows for the first time after 250 steps.
    "sutskever_momentum": {"listens_to_its_numbers": "interval changed nothing"},
}

# Of Optax: options where the defaults are none, and static ones.
OPTIONS = {
    "optax.contrib.dpsgd": {"l2_norm_clip": 1.0, "noise_multiplier": 0.1},
}
STATIC = {"optax.noisy_sgd": {"key": 0}, "optax.contrib.dpsgd": {"seed": 0}}

# Warns that it will be removed when it is built, which is an error in tests.
DEPRECATED = {"optax.optimistic_adam"}

# A float32 learning rate times a bfloat16 update is float32: nearly all break bfloat16 so.
KEEP_BFLOAT16 = {"optax.lbfgs"}

NO_RATE = {"takes_a_schedule": "it has no number called learning_rate"}
BUFFERS = {"has_a_state_of_its_own": "shares its buffer"}
# Contracts that each breaks besides, or for which it cannot be looked at, and a part of the reason.
BREAKS = {
    # Its learning rate is None by default, and then the sign is not turned.
    "optax.adadelta": {**NO_RATE, "descends": "the loss goes from 0.90"},
    "optax.adafactor": NO_RATE,
    # No weights here are as small as its smallest norm.
    "optax.fromage": {"listens_to_its_numbers": "min_norm changed nothing"},
    "optax.lbfgs": {
        **NO_RATE,
        **BUFFERS,
        "numbers_may_be_traced": "it has no number",
        "works_on_a_part_of_the_weights": "asks for the loss",
    },
    "optax.polyak_sgd": {"takes_a_schedule": "it takes no schedule"},
    "optax.rprop": {
        "takes_a_schedule": "it takes no schedule",
        "listens_to_its_numbers": "max_step_size changed nothing",
    },
    # A weight of rank 0 has no axis to cover.
    "optax.sm3": {
        "keeps_trees_shapes_and_dtypes": "IndexError",
        "takes_a_schedule": "it takes no schedule",
    },
    # Its bets do not see the scale of the gradients, which is where its learning rate enters.
    "optax.contrib.cocob": {**BUFFERS, "listens_to_its_numbers": "learning_rate changed nothing"},
    # Its estimate of the distance divides by a sum of gradients.
    "optax.contrib.dadapt_adamw": {"stays_finite_without_gradient": "not finite"},
    "optax.contrib.dog": BUFFERS,
    "optax.contrib.dowg": BUFFERS,
    # Its noise comes from a seed, whatever key the engine passes on.
    "optax.contrib.dpsgd": {"builds_from_its_numbers": '"seed" is deprecated'},
    "optax.contrib.madgrad": BUFFERS,
    "optax.contrib.prodigy": {**BUFFERS, "stays_finite_without_gradient": "not finite"},
    "optax.contrib.schedule_free_sgd": {"listens_to_its_numbers": "weight_lr_power changed"},
    # It wants the function that it minimizes, under a name of its own.
    "optax.contrib.sophia": {"takes_what_the_engine_passes": "obj_fn must be provided"},
}


# The others break nothing but bfloat16.
KEEP_THE_REST = [
    "adabelief",
    "adagrad",
    "adam",
    "adamax",
    "adamaxw",
    "adamw",
    "adan",
    "amsgrad",
    "lamb",
    "lars",
    "lion",
    "nadam",
    "nadamw",
    "noisy_sgd",
    "novograd",
    "optimistic_adam_v2",
    "optimistic_gradient_descent",
    "radam",
    "rmsprop",
    "sgd",
    "sign_sgd",
    "signum",
    "yogi",
    "contrib.acprop",
    "contrib.ademamix",
    "contrib.adopt",
    "contrib.galore",
    "contrib.momo",
    "contrib.momo_adam",
    "contrib.muon",
    "contrib.schedule_free_adamw",
    "contrib.simplified_ademamix",
]

FUNCTIONS = (types.FunctionType, functools.partial)  # nadam is a partial


def optimizers():
    """Every public function of Optax whose first argument is a learning rate.

    Those that wrap another optimizer (lookahead, sam, mechanize, schedule_free) are no names that a
    config could use.
    """
    for prefix, module in (("optax.", optax), ("optax.contrib.", optax.contrib)):
        for name in dir(module):
            found = getattr(module, name)
            if name.startswith(("_", "scale_by_")) or not isinstance(found, FUNCTIONS):
                continue
            first = next(iter(inspect.signature(found).parameters), "")
            if first.endswith("learning_rate"):
                yield prefix + name


OPTAX = sorted(set(optimizers()) - DEPRECATED)


def not_ok(findings):
    """Contracts that are not kept or not looked at; those behind a broken gate are left out."""
    return {
        NAMES[finding.contract]: finding.reason
        for finding in findings
        if finding.outcome != "ok" and finding.reason != "see above"
    }


def assert_reasons(found, expected):
    assert set(found) == set(expected), found
    for contract, part in expected.items():
        assert part in found[contract]


@EACH
def test_registered_transforms_keep_all(name, flags):
    findings = check_transform(name, static=flags)
    assert not [finding for finding in findings if finding.outcome == "fails"]
    searches = flags.get("line_search", True)  # without, L-BFGS asks for no loss
    assert_reasons(not_ok(findings), UNCHECKED.get(name, {}) if searches else {})


def test_the_tables_name_what_there_is():
    assert set(UNCHECKED) <= set(REGISTRY)
    kept = {f"optax.{name}" for name in KEEP_THE_REST}
    assert kept | set(BREAKS) | DEPRECATED == set(optimizers())
    assert not kept & set(BREAKS)
    assert {*OPTIONS, *STATIC, *KEEP_BFLOAT16} <= set(OPTAX)


@pytest.mark.parametrize("name", sorted(DEPRECATED))
def test_the_deprecated_say_so(name):
    (finding, *_) = check_transform(name)
    assert "DeprecationWarning" in finding.reason


@pytest.mark.parametrize("name", OPTAX)
def test_optimizers_of_optax(name):
    found = not_ok(check_transform(name, OPTIONS.get(name), STATIC.get(name)))
    expected = dict(BREAKS.get(name, {}))
    if name not in KEEP_BFLOAT16 and not GATES & set(expected):
        found_bfloat16 = found.pop(BFLOAT16, "")
        assert "studies train in float32" in found_bfloat16
    assert_reasons(found, expected)
