"""Which examples a step sees."""

import zlib

import numpy as np
import pytest

from initopt_jax.engine.batches import batch_indices, epoch_orders, tile_indices


def test_epoch_visits_every_example_once():
    orders = epoch_orders(3, 0, 2, 101)
    assert all(sorted(order) == list(range(101)) for order in orders.tolist())
    assert not np.array_equal(orders[0], orders[1])
    assert not np.array_equal(orders[0], epoch_orders(4, 0, 1, 101)[0])
    np.testing.assert_array_equal(epoch_orders(3, 1, 1, 101)[0], orders[1])


def test_order_is_fixed_for_all_time():
    """Stored results depend on these numbers; they come from Philox as published."""
    key = np.array([zlib.crc32(b"data"), 7], dtype=np.uint64)
    drawn = np.random.Philox(key=key).random_raw(16)
    for epoch, part in enumerate((drawn[:7], drawn[8:15])):  # counters hold four draws each
        assert epoch_orders(7, epoch, 1, 7)[0].tolist() == np.argsort(part >> np.uint64(3)).tolist()


@pytest.mark.parametrize("cut", [1, 3, 7, 12])
def test_steps_do_not_depend_on_how_they_are_cut(cut):
    whole = batch_indices(1, 0, 24, examples=50, batch_size=8)
    parts = [batch_indices(1, s, min(cut, 24 - s), 50, 8) for s in range(0, 24, cut)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    per_epoch = 50 // 8
    for first in range(0, 24, per_epoch):
        epoch = whole[first : first + per_epoch].ravel()
        assert len(np.unique(epoch)) == per_epoch * 8


def test_order_is_uniform():
    """Each of 6 orders of 3 examples has probability 1/6: chi-squared with 5 degrees of freedom."""
    orders = [tuple(epoch_orders(seed, 0, 1, 3)[0].tolist()) for seed in range(3000)]
    counts = np.array([orders.count(order) for order in set(orders)])
    assert len(counts) == 6
    assert ((counts - 500) ** 2 / 500).sum() < 30  # p = 1.5e-5


def test_lanes_of_one_seed_share_their_batches():
    indices = tile_indices(np.array([5, 2, 5]), 4, 3, examples=40, batch_size=10)
    assert indices.shape == (3, 3, 10)
    assert indices.dtype == np.int32
    np.testing.assert_array_equal(indices[:, 0], indices[:, 2])
    np.testing.assert_array_equal(indices[:, 1], batch_indices(2, 4, 3, 40, 10))
