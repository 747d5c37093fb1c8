"""What does not fit is refused before any of it is made, with what it needs and what there is."""

import resource

import pytest

from initopt_jax import memory
from initopt_jax.engine.devices import set_up_devices
from initopt_jax.errors import ConfigError
from initopt_jax.memory import memory_limit, require_memory
from initopt_jax.planning.sweep import _tenth
from initopt_jax.studies import preview

BASE = {
    "name": "large",
    "task": {"name": "regression", "dataset": "diabetes"},
    "model": "linear",
    "initializers": ["zeros"],
    "optimizers": [{"name": "sgd", "learning_rate": 0.1}],
    "seeds": 1,
    "steps": 2,
}
ADAM = {"name": "adam", "learning_rate": [0.1, 0.2]}
MUCH = 10**12


def regression(name, **options):
    return {"task": {"name": "regression", "dataset": {"name": name, **options}}}


def classes(name, **options):
    return {"task": {"name": "classification", "dataset": {"name": name, **options}}}


def model(name, **options):
    return regression("adding") | {"model": {"name": name, **options}}


def probe(name, **options):
    return {"probes": [{"name": name, **options}]}


def optimizer(name, **options):
    return {"optimizers": [{"name": name, "learning_rate": 0.1, **options}]}


@pytest.fixture
def three_gib(monkeypatch):
    monkeypatch.setenv("INITOPT_MEMORY", "3GiB")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (model("gru", hidden=10**6), "one network of model 'gru'"),
        (model("mlp", hidden=[200_000, 200_000]), "one network of model 'mlp'"),
        (regression("friedman", samples=MUCH), "1,000,000,000,000 samples with 11 numbers each"),
        (regression("california_like", samples=MUCH), "samples with 9 numbers"),
        (regression("chebyshev", points=MUCH), "points with 6 numbers"),
        (regression("teacher", hidden=MUCH), "numbers each"),
        (regression("teacher", features=MUCH), "numbers each"),
        (regression("adding", length=MUCH), "numbers each"),
        (classes("two_moons", samples=MUCH), "samples with 3 numbers"),
        (classes("spirals", samples=MUCH, classes=MUCH), "samples with 3 numbers"),
        (classes("blobs", features=MUCH), "numbers each"),
        (classes("parity", bits=MUCH), "numbers each"),
        (classes("copying", delay=MUCH), "numbers each"),
        (classes("copying", symbols=10**6), "numbers each"),
        ({"steps": 10**8, "eval_every": 1}, "the records of 1 lane with 100,000,001 evaluations"),
        ({"steps": 10**6, "eval_every": 1, "seeds": 100}, "the records of 100 lanes"),
        ({"steps": 10**6, "eval_every": 1, "keep": "every", "tile_width": 16, "probes": []}
         | model("gru", hidden=64), "the states that a tile of 16 lanes keeps"),
        ({"seeds": {"init": 10**6, "data": 10**6}}, "a table of 1,000,0.* lanes"),
        ({"tuning": {"seeds": 10**6}, "seeds": 10**6, "optimizers": [ADAM]}, "lanes"),
        ({"tile_width": 10**9}, "a tile of 1,000,000,000 lanes"),
        (optimizer("lbfgs", memory=10**9), "a tile of .* of optimizer 'lbfgs"),
        (probe("weight_histogram", bins=10**8), "probe 'weight_histogram', for a tile of"),
        (probe("hessian_density", draws=10**9), "probe 'hessian_density', for a tile of"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_with_both_numbers(three_gib, keys, said):
    with pytest.raises(ConfigError, match=said) as caught:
        preview.prepare(BASE | keys)
    message = str(caught.value)
    assert "GiB of memory, and there are 3.0 GiB (INITOPT_MEMORY): " in message
    assert "or set INITOPT_MEMORY to a size" in message


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"steps": 2**64}, "steps: .*less than or equal to 2147483647"),
        ({"seeds": 10**9}, "within 1000000"),
        ({"tuning": {"seeds": 2**31}}, "tuning.seeds: .*less than or equal to 1000000"),
        ({"tile_width": MUCH}, "tile_width.*2147483647"),
        ({"eval_train": MUCH}, "eval_train.*2147483647"),
        (model("gru", layers=10**6), "layers must be at most 1,000"),
        (model("transformer", depth=10**6), "depth must be at most 1,000"),
        (model("mlp", hidden=[2] * 5000), "the number of layers must be at most 1,000"),
        (model("mlp", hidden=[10**30]), "must be at most 2147483647"),
        (classes("digits") | {"model": {"name": "cnn", "kernel": 10**9}}, "kernel must be at most"),
        (classes("spirals", classes=10**9), r"classes must be at most samples \(1000\)"),
        (regression("friedman", samples=10**30), "samples must be at most"),
        (regression("chebyshev", degree=10**30), "degree must be at most"),
        (optimizer("aggmo", velocities=10**6), "velocities must be at most 100"),
        (optimizer("muon", iterations=10**6), "iterations must be at most 100"),
        (probe("hessian_density", iterations=2**64), "iterations must be at most 2147483647"),
        (probe("hessian_top", iterations=2**64), "iterations must be at most 2147483647"),
        (probe("weight_histogram", bins=2**40), "bins must be at most"),
        ({"keep": "every", "landscapes": [{"name": "slice", "points": 10**6}]}, "equal to 401"),
        ({"keep": "every", "landscapes": [{"name": "slice", "seed": 2**64}]}, "less than 4294967"),
        (
            optimizer("adam", **{
                key: [place / 1000 for place in range(1, 500)] for key in ("b1", "b2")
            }),
            r"has 249,001 combinations .*499 of b1 x 499 of b2.*10,000 are the most",
        ),
    ],
)  # fmt: skip
def test_numbers_that_nothing_has_are_refused(keys, said):
    with pytest.raises(ConfigError, match=said):
        preview.prepare(BASE | keys)


def test_devices_have_a_bound():
    with pytest.raises(ConfigError, match="devices: 100,000 were asked for, and 64 are the most"):
        set_up_devices(100_000)


def test_the_limit_is_the_least_that_is_known(monkeypatch, tmp_path):
    monkeypatch.delenv("INITOPT_MEMORY", raising=False)
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    whole, whose = memory_limit()
    (tmp_path / "memory.max").write_text("max\n")
    assert memory_limit() == (whole, whose)
    (tmp_path / "memory.max").write_text(f"{2**20}\n")
    assert memory_limit() == (2**20, "of this container")
    limits = {resource.RLIMIT_AS: (2**19, 2**19)}
    monkeypatch.setattr(
        memory.resource, "getrlimit", lambda kind: limits.get(kind, (resource.RLIM_INFINITY,) * 2)
    )
    assert memory_limit() == (2**19, "ulimit -v")
    monkeypatch.setenv("INITOPT_MEMORY", "5 GiB")
    assert memory_limit() == (5 * 2**30, "INITOPT_MEMORY")
    require_memory(5 * 2**30, "all of it", "nothing")
    with pytest.raises(ConfigError, match=r"and there are 5\.0 GiB"):
        require_memory(5 * 2**30 + 1, "one byte more", "nothing")
    monkeypatch.setenv("INITOPT_MEMORY", "lots")
    with pytest.raises(ConfigError, match=r"INITOPT_MEMORY must be a size .*, got 'lots'"):
        memory_limit()


def test_a_tenth_of_the_steps_is_the_largest_divisor_that_is_no_more():
    for steps in range(1, 2000):
        most = max(1, steps // 10)
        assert _tenth(steps) == max(d for d in range(1, most + 1) if steps % d == 0)
