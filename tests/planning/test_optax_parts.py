"""Parts of Optax that are named as optimizers: refused with what to write, as they climb."""

import inspect

import jax
import jax.numpy as jnp
import optax
import pytest

from initopt_jax import modifiers, transforms
from initopt_jax.config.schema import validate
from initopt_jax.errors import ConfigError
from initopt_jax.lookup.names import (
    AS_MODIFIER,
    WHOLE,
    find_transform,
    importable_from,
    optax_optimizers,
)
from initopt_jax.planning.resolve import resolve
from initopt_jax.planning.update_trial import uphill_note

CONFIG = {
    "name": "f",
    "task": {"name": "test_function", "function": "beale"},
    "initializers": ["grid"],
    "seeds": 4,
}
DESCEND = {"optax.polyak_sgd", "optax.scale_by_learning_rate"}
PARAMS = {"w": jax.ShapeDtypeStruct((30, 20), jnp.float32), "b": jax.ShapeDtypeStruct((3,), "f4")}


def all_functions():
    """Every public function of Optax that could be named as an optimizer."""
    for prefix, module in (("optax.", optax), ("optax.contrib.", optax.contrib)):
        for name, found in vars(module).items():
            if callable(found) and not name.startswith("_") and not inspect.isclass(found):
                yield prefix + name


def test_every_optimizer_of_optax_is_one_and_no_part_of_any_is():
    allowed = {*optax_optimizers(), *DESCEND}
    found = set()
    for name in all_functions():
        try:
            find_transform(name, transforms.REGISTRY)
            found.add(name)
        except ConfigError:
            pass
    assert found == allowed


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("optax.scale_by_adam", "'optax.adam'"),
        ("optax.scale_by_belief", "'optax.adabelief'"),
        ("optax.scale_by_rprop", "'optax.rprop'"),
        ("optax.contrib.scale_by_muon", "'optax.contrib.muon'"),
        ("optax.transforms.trace", "'optax.sgd'"),
        ("optax.trace", "'optax.sgd'"),
        ("optax.identity", "'optax.sgd'"),
        ("optax.clip", "under modifiers: 'clip_by_value'"),
        ("optax.add_noise", "under modifiers: 'gradient_noise'"),
        ("optax.centralize", r"optax.chain\(optax.centralize\(...\), optax.scale_by_learning_rate"),
        ("optax.set_to_zero", "named as 'module:function'"),
    ],
)
def test_a_part_is_refused_with_what_to_write(name, instead):
    with pytest.raises(ConfigError, match=f"'{name}' is a part of optimizers.*write .*{instead}"):
        find_transform(name, transforms.REGISTRY)


def test_what_is_offered_instead_is_there():
    assert set(WHOLE.values()) <= {*optax_optimizers(), *DESCEND}
    assert set(AS_MODIFIER.values()) <= set(modifiers.REGISTRY)
    names = {name.rpartition(".")[2] for name in all_functions()}
    assert {*WHOLE, *AS_MODIFIER} <= names


def test_a_rate_below_zero_goes_uphill():
    entry = {"name": "optax.sgd", "learning_rate": [0.1, -0.1]}
    with pytest.raises(ConfigError, match=r"learning_rate must be at least 0, got -0\.1"):
        resolve(validate(CONFIG | {"optimizers": [entry]}))


def signed_ascent(learning_rate):
    return optax.chain(optax.scale_by_sign(), optax.scale(learning_rate))


@pytest.mark.parametrize(
    ("make", "climbs"),
    [
        (signed_ascent, True),
        (lambda learning_rate: optax.scale_by_adam(), True),
        (optax.adam, False),
        (lambda learning_rate: optax.add_noise(1e4, 0.0, 0), False),
        (lambda learning_rate: optax.set_to_zero(), False),
        (optax.lbfgs, False),
    ],
)
def test_a_first_step_uphill_is_noted(make, climbs):
    def built(numbers):
        return make(numbers["learning_rate"])

    note = uphill_note("optimizer 'mine:x'", built, {"learning_rate": 0.1}, PARAMS)
    assert bool(note) == climbs
    assert ("'mine:x' goes uphill" in note) == climbs


def test_the_note_of_a_users_own_is_told(working_dir):
    (working_dir / "climbing.py").write_text(
        "import optax\n\n\ndef up(learning_rate):\n    return optax.scale(learning_rate)\n\n\n"
        "def down(learning_rate):\n    return optax.scale(-learning_rate)\n"
    )
    with importable_from(working_dir):
        for name, climbs in (("up", True), ("down", False)):
            entry = {"name": f"climbing:{name}", "learning_rate": 0.1}
            found = resolve(validate(CONFIG | {"optimizers": [entry]}))
            assert any("goes uphill" in note for note in found.notes) == climbs
