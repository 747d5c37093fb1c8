"""First weights of lanes, and who draws them."""

import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest

from initopt_jax.engine.devices import compiler_options, host_device, keep_compiled
from initopt_jax.engine.initial import InitialWeights
from initopt_jax.initializers import initialize
from initopt_jax.keys import stream_key
from initopt_jax.studies.preview import prepare


@pytest.fixture(scope="module")
def experiment():
    return prepare(
        {
            "name": "weights",
            "task": {"name": "classification", "dataset": "digits"},
            "model": {"name": "mlp", "hidden": [8, 8]},
            "initializers": ["zeros", "glorot_uniform", "he_normal", "orthogonal"],
            "optimizers": [{"name": "sgd", "learning_rate": 0.1}],
        }
    )


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("place", [0, -1])
def test_weights_are_those_of_initialize_on_any_device(experiment, number, place):
    """`initialize` is what anyone calls alone."""
    rules = experiment.initializer_cells[number].rules
    initial = InitialWeights(experiment.workload.params, [rules])
    for seed in (0, 1_000_003):
        with jax.default_device(jax.devices("cpu")[0]):  # as `host_device` has it
            alone = initialize(stream_key(seed, "init"), experiment.workload.params, rules)
        assert bits(initial(0, seed, jax.devices()[place])) == bits(alone)


def test_old_weights_give_way_and_come_back_the_same(experiment, monkeypatch):
    monkeypatch.setattr("initopt_jax.engine.initial.CACHE_BYTES", 1)
    initial = InitialWeights(experiment.workload.params, [experiment.initializer_cells[2].rules])
    first, second = jax.devices("cpu")[:2]
    drawn = bits(initial(0, 1, first))
    assert bits(initial(0, 2, first)) != drawn
    assert bits(initial(0, 1, second)) == drawn


def test_first_weights_are_drawn_on_a_cpu_whatever_trains():
    class Accelerator:
        platform = "gpu"

    assert host_device(Accelerator()).platform == "cpu"
    second = jax.devices("cpu")[1]
    assert host_device(second) == second, "not behind another's training"


def test_own_folder_of_compiled_programs_is_respected():
    before = jax.config.values["jax_compilation_cache_dir"]
    assert before, "the tests set one"
    keep_compiled()
    assert jax.config.values["jax_compilation_cache_dir"] == before


def test_options_are_the_platforms_own():
    assert compiler_options("cpu") == {"xla_cpu_prefer_vector_width": "512"}
    assert compiler_options("tpu") == {}


def test_threads_that_want_the_same_weights_draw_them_once(experiment, monkeypatch):
    initial = InitialWeights(experiment.workload.params, [experiment.initializer_cells[2].rules])
    drawn = []
    draw = initial._draw

    def slow(weights, seed, device, **options):
        drawn.append(seed)
        time.sleep(0.05)
        return draw(weights, seed, device, **options)

    monkeypatch.setattr(initial, "_draw", slow)
    with ThreadPoolExecutor(4) as pool:
        wanted = [pool.submit(initial, 0, seed) for seed in (5, 6, 5, 6)]
        found = [bits(future.result(timeout=60)) for future in wanted]
    assert sorted(drawn) == [5, 6]
    assert found[0] == found[2] != found[1] == found[3]


def test_a_draw_that_failed_is_tried_again(experiment, monkeypatch):
    initial = InitialWeights(experiment.workload.params, [experiment.initializer_cells[2].rules])
    with monkeypatch.context() as patch:
        patch.setattr(initial, "_draw", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            initial(0, 7)
    assert bits(initial(0, 7))
