import numpy as np
import pytest

from initopt_jax.data.split import SplitSpec, split_indices
from initopt_jax.errors import ConfigError


@pytest.mark.parametrize(
    ("count", "val", "test", "sizes"),
    [
        (1797, 0.2, 0.2, [1078, 359, 360]),
        (442, 0.2, 0.2, [265, 88, 89]),
        (100, 0.29, 0.1, [61, 29, 10]),  # 0.29 * 100 is below 29 in binary
        (30, 0.1, 0.1, [24, 3, 3]),  # 0.1 * 30 is above 3 in binary
        (3, 0.34, 0.33, [1, 1, 1]),
    ],
)
def test_sizes(count, val, test, sizes):
    parts = split_indices(count, SplitSpec(val=val, test=test))
    assert [len(part) for part in parts] == sizes


@pytest.mark.parametrize("with_test", [True, False])
def test_parts_are_disjoint_and_complete(with_test):
    parts = split_indices(101, SplitSpec(seed=3), with_test=with_test)
    assert sorted(np.concatenate(parts).tolist()) == list(range(101))
    assert (len(parts[2]) > 0) == with_test


def test_seed_decides_the_permutation():
    first, again, other = (split_indices(50, SplitSpec(seed=seed))[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert not np.array_equal(first, np.sort(first))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"val": 0.0}, r"split\.val must be a number in \(0, 1\), got 0\.0"),
        ({"test": 1}, r"split\.test must be a number in \(0, 1\), got 1"),
        ({"val": True}, r"split\.val .* got True"),
        ({"test": float("nan")}, r"split\.test .* got nan"),
        ({"val": "a fifth"}, r"split\.val .* got 'a fifth'"),
        ({"val": 0.5, "test": 0.5}, r"val \+ split\.test must stay below 1, got 0\.5 \+ 0\.5"),
        ({"seed": -1}, r"split\.seed must be an integer of at least 0, got -1"),
        ({"seed": 1.5}, r"split\.seed must be an integer of at least 0, got 1\.5"),
    ],
)
def test_wrong_specs_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        SplitSpec(**options)


def test_too_few_examples_are_refused():
    with pytest.raises(ConfigError, match=r"3 examples are too few.*2 would train, 0 validate"):
        split_indices(3, SplitSpec())
