"""An optimizer of a config with its schedule and what stands around it."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import initopt_jax as iox
from initopt_jax import modifiers, schedules, transforms
from initopt_jax.errors import ConfigError
from initopt_jax.studies.preview import prepare
from initopt_jax.studies.verify import verify


@pytest.fixture
def config(small_config):
    """One start, no tuning, four steps."""
    few = {"seeds": 2, "tuning": {"seeds": 0}, "steps": 4, "eval_every": 1}
    return small_config | {"initializers": ["he_normal"]} | few


@pytest.fixture
def updates(config):
    """`(optimizer entry) -> updates of the network's first steps`, all of the first cell."""

    def made(entry, count=4, cell=0):
        experiment = prepare(config | {"optimizers": [entry]})
        (program,) = experiment.programs
        row = experiment.lanes[experiment.lanes["cell"] == cell].iloc[0]
        numbers = {name: row[f"optimizer.{name}"] for name in program.hyperparameters}
        transform = optax.with_extra_args_support(program.make_transform(numbers))
        params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), experiment.workload.params)
        state, found = transform.init(params), []
        for index in range(count):
            one, state = transform.update(params, state, params, key=jax.random.key(index))
            found.append(one)
        return found

    return made


def assert_same(found, expected):
    for ours, wanted in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(ours, wanted, rtol=1e-6)


def taken(transform, params, count=4):
    state, found = transform.init(params), []
    for _ in range(count):
        one, state = transform.update(params, state, params)
        found.append(one)
    return found


def test_the_parts_stand_in_their_places(config, updates):
    found = updates(
        {
            "name": "momentum",
            "learning_rate": 0.1,
            "modifiers": [
                {"name": "decoupled_weight_decay", "weight_decay": 0.01},
                {"name": "freeze", "paths": ["*bias"]},
                {"name": "clip_by_global_norm", "max_norm": 2.0},
                {"name": "coupled_weight_decay", "weight_decay": 0.5, "only": "*kernel"},
            ],
        }
    )
    shapes = prepare(config | {"optimizers": [{"name": "sgd", "learning_rate": 1}]})
    params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), shapes.workload.params)
    by_hand = optax.chain(
        modifiers.clip_by_global_norm(2.0),
        modifiers.coupled_weight_decay(0.5, "*kernel"),
        transforms.momentum(0.1),
        modifiers.decoupled_weight_decay(0.1, 0.01),
    )
    assert_same(found, taken(modifiers.freeze(by_hand, "*bias"), params))
    assert any(np.any(leaf) for leaf in jax.tree.leaves(found))


def test_a_schedule_multiplies_the_rate_of_every_step(updates):
    plain = updates({"name": "sgd", "learning_rate": 0.1})
    scheduled = updates(
        {"name": "sgd", "learning_rate": 0.1, "schedule": {"name": "linear", "end": 0.5}}
    )
    for t in range(4):
        factor = float(schedules.linear(t, 4, end=0.5))
        assert_same(scheduled[t], jax.tree.map(lambda u, by=factor: by * u, plain[t]))


def test_a_schedule_counts_the_steps_that_accumulation_leaves(updates):
    entry = {"name": "sgd", "learning_rate": 0.1, "schedule": "linear"}
    found = updates({**entry, "modifiers": [{"name": "accumulate", "every": 2}]})
    plain = updates({"name": "sgd", "learning_rate": 0.1})[0]
    for t, factor in enumerate((0, 1.0, 0, 0.5)):
        assert_same(found[t], jax.tree.map(lambda u, by=factor: by * u, plain))


def test_every_number_is_an_axis_of_one_program(config):
    entry = {
        "name": "adam",
        "learning_rate": [0.1, 0.2],
        "schedule": {"name": "cosine", "end": [0.0, 0.5], "warmup": 0.1},
        "modifiers": [
            {"name": "clip_by_value", "max_value": [1.0, 2.0]},
            {"name": "rates", "by_path": {"*bias": [1.0, 2.0], "*kernel": 0.5}},
        ],
    }
    other = {**entry, "label": "again", "learning_rate": 0.3}
    experiment = prepare(config | {"optimizers": [entry, other]})
    (program,) = experiment.programs
    assert {"schedule.end", "clip_by_value.max_value", "rates.by_path.*bias", "steps"} <= set(
        program.hyperparameters
    )
    assert len(experiment.lanes) == 2 * (16 + 8)
    assert experiment.lanes["optimizer"].unique().tolist() == [
        "adam(cosine, clip_by_value, rates)",
        "again",
    ]


def test_the_weights_that_are_offered_are_the_ones_measured(config, tmp_path):
    entry = {"name": "sgd", "learning_rate": 0.5}
    averaged = {**entry, "modifiers": [{"name": "swa", "start": 0.0}]}
    settings = config | {"optimizers": [entry, averaged], "seeds": 1}
    found = iox.run(settings, tmp_path / "s").dataset
    plain, mean = (found["val_loss"].values[lane] for lane in (0, 1))
    np.testing.assert_allclose(plain[:2], mean[:2], rtol=1e-6)  # nothing, one point: itself
    assert not np.isclose(plain[-1], mean[-1], rtol=1e-4)
    assert found["batch_loss"].values[1, -1] == found["batch_loss"].values[0, -1]
    assert found["test_loss"].values[0] != found["test_loss"].values[1]
    assert verify(tmp_path / "s").exit_code == 0


def test_schedule_free_of_optax_is_evaluated_where_it_says(config):
    entry = {"name": "optax.contrib.schedule_free_sgd", "learning_rate": 0.5}
    (program,) = prepare(config | {"optimizers": [entry]}).programs
    assert program.evaluated
    clipped = {**entry, "modifiers": [{"name": "clip_by_value", "max_value": 1}]}
    assert prepare(config | {"optimizers": [clipped]}).programs[0].evaluated
    assert not prepare(config | {"optimizers": [{**entry, "name": "sgd"}]}).programs[0].evaluated


def test_the_order_of_patterns_is_structure(config):
    entry = {"name": "sgd", "learning_rate": 0.1}
    first = {"name": "rates", "by_path": {"*bias": 2, "*": 0}}
    last = {"name": "rates", "by_path": {"*": 0, "*bias": 2}}
    entries = [{**entry, "modifiers": [rates], "label": str(rates)} for rates in (first, last)]
    assert len(prepare(config | {"optimizers": entries}).programs) == 2


def test_an_average_counts_the_steps_that_accumulation_leaves(config):
    inside = [{"name": "swa", "start": 0.5}, {"name": "accumulate", "every": 2}]
    for modifiers_, averaged in ((inside, 1), (inside[::-1], 2)):
        entry = {"name": "sgd", "learning_rate": 0.1, "modifiers": modifiers_}
        experiment = prepare(config | {"optimizers": [entry]})
        (program,) = experiment.programs
        row = experiment.lanes.iloc[0]
        numbers = {name: row[f"optimizer.{name}"] for name in program.hyperparameters}
        transform = program.make_transform(numbers)
        params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), experiment.workload.params)
        state = transform.init(params)
        for _ in range(4):
            _, state = transform.update(params, state, params)
        state = getattr(state.inner, "averaged", getattr(state, "averaged", None))
        assert int(state) == averaged


def test_a_frozen_leaf_is_evaluated_where_it_stands():
    decaying = modifiers.lookahead(transforms.adamw(0.1, weight_decay=0.5), every=2.0)
    frozen = modifiers.freeze(decaying, "bias")
    params = {"kernel": jnp.ones(2), "bias": jnp.ones(2)}
    state = frozen.init(params)
    for _ in range(4):
        updates, state = frozen.update(params, state, params)
        params = optax.apply_updates(params, updates)
    found = frozen.eval_params(state, params)
    np.testing.assert_array_equal(found["bias"], 1.0)
    assert np.all(found["kernel"] < 1)


OWN = '''
import optax

def halving(count, steps, *, by=0.5):
    """Halves."""
    return by ** (count / steps)

def double(factor=2.0):
    """Doubles."""
    return optax.scale(factor)

def twice(inner, *, factor=2.0):
    """Around."""
    return optax.chain(inner, optax.scale(factor))

def counter(learning_rate):
    """Its state changes."""
    return optax.GradientTransformation(
        lambda params: 0, lambda updates, state, params=None: (updates, {"count": state})
    )
'''


UNLUCKY = """
import jax
import optax

def unlucky(learning_rate):
    def update(updates, state, params=None):
        return {}["nothing"], state
    return optax.GradientTransformation(lambda params: (), update)

def reshaping(learning_rate):
    def update(updates, state, params=None):
        return jax.tree.map(lambda u: u[None], updates), state
    return optax.GradientTransformation(lambda params: (), update)
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unlucky", r"KeyError: 'nothing' \(luck.py, line 7\)"),
        ("reshaping", r"its updates of dense_0/bias have shape \(1, 8\), not \(8,\)"),
    ],
)
def test_what_an_update_gets_wrong_is_said_before_anything_runs(config, working_dir, name, message):
    (working_dir / "luck.py").write_text(UNLUCKY)
    entry = {"name": f"luck:{name}", "learning_rate": 0.1}
    with pytest.raises(ConfigError, match=message):
        prepare(config | {"optimizers": [entry]})


def test_schedules_and_modifiers_of_ones_own(config, working_dir, updates):
    (working_dir / "mine.py").write_text(OWN)
    plain = updates({"name": "sgd", "learning_rate": 0.1})
    for name in ("mine:double", "mine:twice"):
        entry = {"name": "sgd", "learning_rate": 0.1, "modifiers": [{"name": name, "factor": 3}]}
        assert_same(updates(entry), jax.tree.map(lambda u: 3 * u, plain))
    entry = {"name": "sgd", "learning_rate": 0.1, "schedule": {"name": "mine:halving", "by": 0.25}}
    assert_same(updates(entry)[2], jax.tree.map(lambda u: 0.5 * u, plain[2]))
    with pytest.raises(ConfigError, match="its state has another structure"):
        prepare(config | {"optimizers": [{"name": "mine:counter", "learning_rate": 0.1}]})


def loud(flag=False, kind="a"):
    """A modifier with a flag and a text."""
    return optax.identity()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedule": "cosin"}, "unknown schedule 'cosin'; did you mean 'cosine'"),
        ({"schedule": {"name": "cosine", "ende": 1}}, "unknown option 'ende'; did you mean 'end'"),
        ({"schedule": {"name": "cosine", "warmup": 1.5}}, "warmup must be at least 0 and below 1"),
        ({"modifiers": ["clip_by_valu"]}, "unknown modifier 'clip_by_valu'; did you mean"),
        ({"modifiers": ["clip_by_value"]}, "modifier 'clip_by_value' needs max_value"),
        (
            {"modifiers": [{"name": "clip_by_value", "max_value": [1, -1]}]},
            "max_value must be a finite number of at least 0, got -1",
        ),
        (
            {"modifiers": [{"name": "accumulate", "every": 1.5}]},
            "every must be a whole number above 0, got 1.5",
        ),
        (
            {"modifiers": [{"name": "freeze", "paths": "dense_O/*"}]},
            r"'dense_O/\*' matches no leaf",
        ),
        (
            {"modifiers": [{"name": "rates", "by_path": 2.0}]},
            "by_path must map names to numbers, got 2.0",
        ),
        (
            {"modifiers": [{"name": "rates", "by_path": {"*bias": "big"}}]},
            r"by_path.\*bias must be a number or a list of numbers, got 'big'",
        ),
        (
            {"modifiers": [{"name": "freeze", "paths": 3}]},
            "modifier 'freeze': paths must be text or a list of texts, got 3",
        ),
        (
            {"modifiers": [{"name": "freeze", "paths": ["*bias", 3]}]},
            r"paths must be text or a list of texts, got \['\*bias', 3\]",
        ),
        (
            {"modifiers": [{"name": f"{__name__}:loud", "flag": [True, False]}]},
            r"flag must be true or false, .* an entry for each; got \[True, False\]",
        ),
        ({"modifiers": [{"name": f"{__name__}:loud", "flag": 1}]}, "true or false, .* got 1"),
        (
            {"modifiers": [{"name": f"{__name__}:loud", "kind": ["a", "b"]}]},
            "kind must be one text, and is never swept, got",
        ),
        ({"modifiers": ["ema", "swa", "lookahead"]}, "lookahead cannot stand around"),
        (
            {
                "name": "schedule_free_sgd",
                "modifiers": [{"name": "decoupled_weight_decay", "weight_decay": 0.1}],
            },
            "has `eval_params` of its own, which decoupled_weight_decay would not reach",
        ),
        (
            {"name": "sam", "modifiers": [{"name": "clip_by_value", "max_value": 1}]},
            "asks for the loss at other weights, where clip_by_value would not be seen",
        ),
        (
            {"name": "gradient_flow", "modifiers": [{"name": "freeze", "paths": "*bias"}]},
            "asks for the loss at other weights, where freeze would not be seen",
        ),
        (
            {"modifiers": ["sharpness_aware", {"name": "accumulate", "every": 2}]},
            "list accumulate before sharpness_aware",
        ),
    ],
)
def test_what_is_wrong_is_said(config, changes, message):
    entry = {"name": "sgd", "learning_rate": 0.1, **changes}
    with pytest.raises(ConfigError, match=message):
        prepare(config | {"optimizers": [entry]})


STACKED = {"name": "tests.transforms.stacked:stacked"}
BY_COUNT = "tests.transforms.stacked:by_kernel_count"


@pytest.mark.parametrize(
    ("entry", "by_hand"),
    [
        ({"name": "muon"}, lambda: transforms.muon(0.1)),
        (
            {"name": "lars", "trust_coefficient": 0.1},
            lambda: transforms.lars(0.1, trust_coefficient=0.1),
        ),
        (
            {"name": "sgd", "modifiers": [{"name": "adaptive_clip", "clipping": 0.1}]},
            lambda: optax.chain(modifiers.adaptive_clip(0.1), transforms.sgd(0.1)),
        ),
        ({"name": "optax.lars"}, None),
    ],
)
def test_methods_are_told_how_the_network_uses_its_leaves(config, entry, by_hand):
    config = config | {"model": STACKED, "optimizers": [entry | {"learning_rate": 0.1}]}
    (program,) = (experiment := prepare(config)).programs
    row = experiment.lanes.iloc[0]
    transform = program.make_transform(
        {name: row[f"optimizer.{name}"] for name in program.hyperparameters}
    )
    rng = np.random.default_rng(0)
    params, g = (
        {
            path: jnp.asarray(rng.normal(size=leaf.shape), "float32")
            for path, leaf in experiment.workload.params.items()
        }
        for _ in range(2)
    )
    found, _ = transform.update(g, transform.init(params), params)
    apart = [tree | {"layers": list(tree["layers"])} for tree in (g, params)]
    alone = by_hand() if by_hand else optax.lars(0.1)
    expected, _ = alone.update(apart[0], alone.init(apart[1]), apart[1])
    stack = jnp.stack(expected["layers"])
    assert_same([found["first"], found["last"]], [expected["first"], expected["last"]])
    same = np.allclose(found["layers"], stack, rtol=0, atol=1e-4 * float(jnp.abs(stack).max()))
    assert same == (by_hand is not None)  # Optax's own see the shape alone


def test_a_transform_of_ones_own_is_given_the_layouts_it_asks_for(config):
    around = [{"name": "tests.transforms.stacked:times_kernels"}]
    entry = {"name": BY_COUNT, "learning_rate": 0.5}
    both = [entry, {"name": "sgd", "learning_rate": 0.5, "modifiers": around}]
    experiment = prepare(config | {"model": STACKED, "optimizers": both})
    for program in experiment.programs:
        rate = {"learning_rate": 0.5}
        ones = {path: jnp.ones(leaf.shape) for path, leaf in experiment.workload.params.items()}
        transform = program.make_transform(rate)
        found, _ = transform.update(ones, transform.init(ones), ones)
        assert (float(found["layers"][0, 0, 0]), float(found["last"][0, 0])) == (-1.0, -0.5)


@pytest.mark.parametrize("entry", [{"layouts": 3}, {"static": {"layouts": "x"}}])
def test_layouts_are_no_option_of_a_config(config, entry):
    with pytest.raises(ConfigError, match="layouts"):
        prepare(config | {"optimizers": [{"name": "muon", "learning_rate": 0.1, **entry}]})
