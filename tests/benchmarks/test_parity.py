"""The comparison with other libraries runs, covers the registry, and its page is what it wrote."""

import re

import jax
import numpy as np
import pytest

from benchmarks import parity
from benchmarks.parity_pairs import DIFFERENCES, ROWS, WITHOUT_A_PEER, call
from initopt_jax.transforms import REGISTRY


def test_every_method_has_a_peer_or_a_reason():
    compared = {row.method for row in ROWS}
    assert compared | set(WITHOUT_A_PEER) == set(REGISTRY)
    assert not compared & set(WITHOUT_A_PEER)
    assert all(row.peers() for row in ROWS)
    assert set(DIFFERENCES) <= compared


def test_gradients_by_hand_are_those_of_the_cost():
    with jax.enable_x64(True):
        traced = jax.grad(parity.cost)(parity.START)
        by_hand = parity.gradients(parity.START)
        assert list(by_hand) == sorted(parity.START)
        for name, g in by_hand.items():
            np.testing.assert_allclose(traced[name], g, rtol=1e-12)


@pytest.mark.parametrize("method", ["momentum", "adam"])
def test_optax_takes_the_same_steps(method):
    rows = [row for row in ROWS if row.method == method and row.optax]
    found = parity.measure(rows, ["Optax"], steps=50)
    assert len(found) >= 1
    assert all(gaps["Optax"] < 1e-12 for gaps in found)


def test_another_setting_is_found_out():
    (row,) = [row for row in ROWS if row.method == "sgd"]
    with jax.enable_x64(True):
        one = parity.path_of("Optax", row.ours, 20)
        other = parity.path_of("Optax", call("optax.sgd", 0.1001), 20)
    assert parity.difference(one, other) > 1e-5


def test_the_page_is_of_these_settings_and_within_the_goal(repository):
    page = (repository / "docs" / "parity.md").read_text()
    lines = re.findall(r"^\| `(.+)` \| `(.+)` \| (.+) \|$", page, flags=re.MULTILINE)
    expected = [(str(row.ours), str(peer)) for row in ROWS for peer in row.peers().values()]
    assert [(ours, theirs) for ours, theirs, _ in lines] == expected
    assert all(float(gap) < parity.GOAL for *_, gap in lines)
    for method in WITHOUT_A_PEER:
        assert f"- `{method}`: " in page
    for method, libraries in DIFFERENCES.items():
        for library, text in libraries.items():
            assert f"- `{method}`, {library}: {text}" in page
