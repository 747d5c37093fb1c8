"""A period that does not fit in the run is refused with both numbers, or told."""

import jax.numpy as jnp
import optax
import pytest

from initopt_jax.config.entries import OptimizerConfig
from initopt_jax.config.schema import read_config
from initopt_jax.errors import ConfigError
from initopt_jax.modifiers import REGISTRY, accumulate, lookahead, swa
from initopt_jax.planning.fast_form import fast_form
from initopt_jax.planning.fitting import leftovers
from initopt_jax.studies.preview import prepare


def optimizer(*modifiers, **options):
    entry = {"name": "sgd", "learning_rate": 0.1, "modifiers": list(modifiers), **options}
    return OptimizerConfig.model_validate(entry)


def config(*modifiers, steps=5, **options):
    return {
        "name": "short",
        "task": {"name": "classification", "dataset": "iris"},
        "model": "linear",
        "initializers": ["zeros"],
        "optimizers": [optimizer(*modifiers, **options).model_dump()],
        "seeds": 1,
        "steps": steps,
        "eval_every": steps,
    }


@pytest.mark.parametrize(
    ("modifiers", "numbers"),
    [
        ([{"name": "accumulate", "every": 10}], ("every 10", "5 steps", "never move")),
        ([{"name": "accumulate", "every": [2, 6]}], ("every 6", "5 steps", "never move")),
        ([{"name": "lookahead", "every": 6}], ("every 6", "5 steps", "slow weights")),
        ([{"name": "swa", "every": 5, "start": 0.5}, {"name": "accumulate", "every": 2}],
         ("every 5", "2 steps (5 by batches)", "no weights would enter")),
        ([{"name": "swa", "every": 3, "start": 0.75}], ("start 0.75, every 3", "5 steps")),
    ],
)  # fmt: skip
def test_what_would_never_act_is_refused(modifiers, numbers):
    with pytest.raises(ConfigError, match="of optimizer 'sgd'") as caught:
        prepare(config(*modifiers))
    assert all(number in str(caught.value) for number in numbers), caught.value


def test_own_steps_of_an_optimizer_count_and_what_fits_is_taken():
    longer = config({"name": "accumulate", "every": 10})
    longer["optimizers"][0] |= {"steps": 10, "eval_every": 5}
    prepare(longer)
    prepare(config({"name": "lookahead"}, {"name": "swa", "every": 5}, {"name": "ema"}))


@pytest.mark.parametrize("every", [1, 2, 3, 7])
@pytest.mark.parametrize("steps", [1, 5, 6])
def test_how_often_a_modifier_acts_is_what_it_does(steps, every):
    """Counted in their own states, step by step."""
    params, ones = jnp.zeros(1), jnp.ones(1)
    given = {"accumulate": {}, "lookahead": {}, "swa": {"start": 0.5}}
    made = {
        "accumulate": accumulate(optax.sgd(1.0), every),
        "lookahead": lookahead(optax.sgd(1.0), every),
        "swa": swa(optax.sgd(1.0), steps, 0.5, every),
    }
    for name, transform in made.items():
        state, weights, acted = transform.init(params), params, 0
        for _ in range(steps):
            before = transform.eval_params(state, weights) if name == "lookahead" else weights
            updates, state = transform.update(ones, state, weights)
            weights = weights + updates
            after = transform.eval_params(state, weights) if name == "lookahead" else weights
            acted += bool((before != after).any())
        expected = REGISTRY[name].acts(steps, every=every, **given[name])
        assert expected == (int(state.averaged) if name == "swa" else acted), name


def test_gradients_that_are_left_over_are_told():
    (said,) = leftovers(optimizer({"name": "accumulate", "every": [5, 10]}), 25)
    assert "every 10 does not divide its 25 steps" in said
    assert "last 5 gradients are never used" in said
    assert leftovers(optimizer({"name": "lookahead", "every": 10}), 25) == []
    slow = OptimizerConfig.model_validate({"name": "soap", "static": {"refresh_every": 30}})
    (said,) = leftovers(slow, 25)
    assert "refresh_every 30 is not below its 25 steps" in said
    assert leftovers(slow, 31) == []


def test_the_fast_form_of_what_fits_fits():
    whole = config(
        {"name": "swa", "every": 20}, {"name": "accumulate", "every": [20, 40]}, steps=1600
    )
    prepare(whole)
    short = fast_form(read_config(whole))
    assert short.steps == 10
    assert [item.options["every"] for item in short.optimizers[0].modifiers] == [1, 1]
    prepare(short)
