"""A tile that does not fit: told before anything is allocated, with what to set."""

import threading

import jax
import pytest

from initopt_jax.engine import programs
from initopt_jax.engine.execute import run_tiles
from initopt_jax.engine.programs import memory_limit, memory_needed, out_of_memory
from initopt_jax.errors import ConfigError, OutOfMemory
from initopt_jax.studies.preview import all_tiles, initial_weights, prepare
from initopt_jax.studies.training import make_work


def train(config):
    experiment = prepare(config)
    work = make_work(experiment, initial_weights(experiment))
    list(run_tiles(work, all_tiles(experiment), jax.devices()[:1], threading.Event()))


def test_tile_beyond_the_machine_is_refused_before_it_is_allocated(small_config):
    """100 million lanes of 600 weights: terabytes, which nothing may try to allocate."""
    small_config["tile_width"] = 100_000_000
    with pytest.raises(ConfigError, match=r"a tile of 100,000,000 lanes of .*lower tile_width"):
        train(small_config)


def test_advice_fits(small_config, monkeypatch):
    """The width that the message names does run under the limit that was missed.

    Of the limit two thirds are the data, so that halving the width does not halve what is needed.
    """
    small_config["tile_width"] = 64
    small_config["optimizers"] = small_config["optimizers"][:1]
    limit = 420_000
    monkeypatch.setattr(programs, "memory_limit", lambda device, sharing: limit)
    with pytest.raises(OutOfMemory) as caught:
        train(small_config)
    width = int(str(caught.value).partition("tile_width: ")[2].split()[0])
    assert width == 8
    train(small_config | {"tile_width": width})
    with pytest.raises(OutOfMemory):
        train(small_config | {"tile_width": 2 * width})


def test_what_a_device_reports_while_running_is_worded_too(small_config, monkeypatch):
    def full(self, run, segment):
        raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 12 bytes.")

    monkeypatch.setattr("initopt_jax.engine.worker.Worker._advance", full)
    with pytest.raises(OutOfMemory, match=r"a tile of 4 lanes.*set tile_width: 2 or less"):
        train(small_config)


def test_other_errors_of_a_device_are_not_reworded(small_config, monkeypatch):
    def broken(self, run, segment):
        raise jax.errors.JaxRuntimeError("INTERNAL: something else")

    monkeypatch.setattr("initopt_jax.engine.worker.Worker._advance", broken)
    with pytest.raises(jax.errors.JaxRuntimeError, match="something else"):
        train(small_config)


def test_need_is_counted_and_one_lane_has_no_narrower_tile(small_config):
    double = jax.jit(lambda x: x + 1).lower(jax.ShapeDtypeStruct((1000,), "float32")).compile()
    assert 8_000 <= memory_needed(double) <= 9_000
    device = jax.devices("cpu")[0]
    assert 2**28 < memory_limit(device, 2) == memory_limit(device, 1) / 2
    small_config["tile_width"] = 1
    message = out_of_memory(prepare(small_config).programs[0], device, 2**40, 2**30)
    assert "takes about 1,024.0 GiB" in message
    assert "use a smaller model" in message
