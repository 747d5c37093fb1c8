"""Generated and bundled sets: the properties by which each is known."""

import itertools

import numpy as np
import pytest

from initopt_jax.data import REGISTRY, SplitSpec, load
from initopt_jax.errors import ConfigError

GENERATED = {
    "two_moons": {},
    "spirals": {"classes": 3},
    "blobs": {"classes": 4, "features": 3},
    "parity": {"bits": 8, "relevant": 3},
    "adding": {"length": 9},
    "copying": {"symbols": 4, "memory": 3, "delay": 5},
    "friedman": {},
    "california_like": {},
}


def kind_of(name):
    return REGISTRY[name].kinds[0]


def whole(name, samples=60, **options):
    """All examples in the order in which they were drawn, in their units."""
    spec = {"name": name, "samples": samples, "normalize": False} | GENERATED[name] | options
    data = load(spec, kind=kind_of(name), split=SplitSpec(seed=1))
    parts = (data.train, data.val, data.test)
    order = np.argsort(np.random.default_rng(1).permutation(samples))
    inputs, targets = (
        np.concatenate([getattr(p, f) for p in parts])[order] for f in parts[0]._fields
    )
    return inputs, targets


@pytest.mark.parametrize("name", GENERATED)
def test_more_samples_begin_with_the_fewer_and_seeds_differ(name):
    few, many, other = whole(name), whole(name, 90), whole(name, seed=1)
    for fewer, more in zip(few, many, strict=True):
        np.testing.assert_array_equal(fewer, more[:60])
    assert not np.array_equal(few[0], other[0])


def test_moons_without_noise_lie_on_their_half_circles():
    inputs, labels = whole("two_moons", noise=0.0)
    upper = inputs[labels == 0]
    lower = np.array([1.0, 0.5], np.float32) - inputs[labels == 1]
    assert len(upper) == len(lower) == 30
    for points in (upper, lower):
        np.testing.assert_allclose(np.linalg.norm(points, axis=1), 1, atol=1e-6)
        assert (points[:, 1] >= 0).all()


def test_spirals_are_turned_copies_of_equal_size():
    inputs, labels = whole("spirals", samples=300, classes=3, turns=2.0, noise=0.0)
    assert np.bincount(labels).tolist() == [100, 100, 100]
    radius = np.linalg.norm(inputs, axis=1)
    assert radius.min() >= 0.1 - 1e-6
    assert radius.max() <= 1 + 1e-6
    turned = np.arctan2(inputs[:, 1], inputs[:, 0]) / (2 * np.pi) - 2.0 * radius
    # equal but for whole turns; float32 angles near the centre are good to 1e-6
    apart = turned - labels / 3
    np.testing.assert_allclose(apart, np.rint(apart), atol=1e-5)


def test_blobs_have_the_stated_spread_around_kept_centres():
    inputs, labels = whole("blobs", samples=4000, spread=0.5)
    centres = np.random.default_rng([0, 0]).normal(size=(4, 3))
    difference = inputs - centres[labels]
    # 12,000 draws: five standard errors of a standard deviation, sigma / sqrt(2 n)
    assert abs(difference.std() - 0.5) < 5 * 0.5 / np.sqrt(24_000)
    assert np.abs(difference.mean(axis=0)).max() < 5 * 0.5 / np.sqrt(4000)


def test_one_set_of_bits_and_no_other_explains_the_parity():
    inputs, labels = whole("parity", samples=200)
    assert set(np.unique(inputs)) == {-1.0, 1.0}
    explaining = [
        chosen
        for chosen in itertools.combinations(range(8), 3)
        if np.array_equal(np.prod(inputs[:, chosen], axis=1) < 0, labels == 1)
    ]
    assert len(explaining) == 1
    assert set(explaining[0]) == set(np.random.default_rng([0, 0]).permutation(8)[:3])


def test_the_sum_of_the_marked_numbers_is_the_target():
    inputs, targets = whole("adding", samples=6000)
    numbers, marks = inputs[..., 0], inputs[..., 1]
    assert set(np.unique(marks)) == {0.0, 1.0}
    assert (marks[:, :4].sum(axis=1) == 1).all()
    assert (marks[:, 4:].sum(axis=1) == 1).all()
    assert (marks.sum(axis=0) > 0).all()
    np.testing.assert_allclose((numbers * marks).sum(axis=1), targets[:, 0], atol=1e-6)
    # The sum of two uniforms has variance 1/6 and (s - 1)^2 a standard deviation of 0.2 (1/15 mean
    # fourth power less 1/36): five standard errors.
    assert abs(np.square(targets - 1).mean() - 1 / 6) < 5 * np.sqrt(1 / 15 - 1 / 36) / np.sqrt(6000)


def test_the_label_is_the_symbol_at_the_place_asked_for():
    inputs, labels = whole("copying", samples=300)
    assert inputs.shape == (300, 9, 7)
    told, silence, asked = inputs[:, :3, :4], inputs[:, 3:8], inputs[:, 8, 4:]
    assert (told.sum(axis=2) == 1).all()
    assert not silence.any()
    assert not inputs[:, :3, 4:].any()
    assert (asked.sum(axis=1) == 1).all()
    answers = [told[row, asked[row].argmax()].argmax() for row in range(300)]
    np.testing.assert_array_equal(answers, labels)
    assert len(np.unique(labels)) == 4


def test_chebyshev_points_and_the_points_between():
    data = load({"name": "chebyshev"}, kind="regression", split=SplitSpec(seed=4))
    x = np.sort(data.train.inputs[:, 0])
    np.testing.assert_allclose(x, np.linspace(-1, 1, 20), atol=1e-7)
    for part in (data.train, data.val, data.test):
        z = part.inputs.astype(np.float64)
        # T_5 written out; its slope is at most 25, so float32 inputs give 25 * 6e-8
        np.testing.assert_allclose(part.targets, 16 * z**5 - 20 * z**3 + 5 * z, atol=4e-6)
    step = 2 / 19
    np.testing.assert_allclose(data.val.inputs[:, 0], x[:-1] + step / 3, atol=1e-6)
    np.testing.assert_allclose(data.test.inputs[:, 0], x[1:] - step / 3, atol=1e-6)
    few = load(
        {"name": "chebyshev", "points": 2, "degree": 1}, kind="regression", split=SplitSpec()
    )
    np.testing.assert_allclose(few.val.targets, [[-1 / 3]], atol=1e-6)


def friedman(x):
    return 10 * np.sin(np.pi * x[0] * x[1]) + 20 * (x[2] - 0.5) ** 2 + 10 * x[3] + 5 * x[4]


def houses(x):
    income, age, rooms, _, _, occupancy, north, east = x
    near_los_angeles = np.exp(-((north - 34) ** 2 + (east + 118.3) ** 2))
    near_san_francisco = np.exp(-2 * ((north - 37.7) ** 2 + (east + 122.3) ** 2))
    rest = 0.4 * income + 0.005 * age + 0.1 * rooms - 0.5 * np.log(occupancy)
    return rest + near_los_angeles + 1.2 * near_san_francisco


@pytest.mark.parametrize(
    ("name", "formula", "noise"), [("friedman", friedman, 1.0), ("california_like", houses, 0.3)]
)
def test_formulas_and_the_floor_of_the_noise(name, formula, noise):
    inputs, clean = whole(name, samples=3000, noise=0.0)
    expected = formula(inputs.astype(np.float64).T)
    # float32 coordinates of about -122 are good to 4e-6
    np.testing.assert_allclose(clean[:, 0], expected, rtol=1e-5, atol=2e-5)
    again, noisy = whole(name, samples=3000)
    np.testing.assert_array_equal(again, inputs)
    floor = np.square(noisy - clean).mean()
    # a mean of n squares of normals has a standard error of sigma^2 sqrt(2 / n); five of them
    assert abs(floor - noise**2) < 5 * noise**2 * np.sqrt(2 / 3000)
    assert clean.std() > 2 * noise


@pytest.mark.parametrize(
    ("name", "examples", "features", "classes"),
    [("breast_cancer", 569, 30, 2), ("iris", 150, 4, 3), ("wine", 178, 13, 3)],
)
def test_bundled_tables_are_standardized_feature_by_feature(name, examples, features, classes):
    data = load({"name": name}, kind="classification", split=SplitSpec())
    assert sum(len(p.inputs) for p in (data.train, data.val, data.test)) == examples
    assert data.train.inputs.shape[1] == features
    assert data.outputs == classes == len(np.unique(data.test.targets))
    inputs = data.train.inputs.astype(np.float64)
    np.testing.assert_allclose(inputs.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.std(axis=0), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "two_moons", "noise": -0.1}, "noise must be a finite number of at least 0"),
        ({"name": "two_moons", "samples": 0}, "samples must be an integer of at least 1, got 0"),
        ({"name": "two_moons", "classes": 3}, "unknown option of data set two_moons 'classes'"),
        ({"name": "spirals", "classes": 1}, "classes must be an integer of at least 2, got 1"),
        ({"name": "spirals", "turns": float("inf")}, "turns must be a finite number .* got inf"),
        ({"name": "spirals", "seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"name": "blobs", "classes": 1}, "classes must be an integer of at least 2, got 1"),
        ({"name": "blobs", "features": 0}, "features must be an integer of at least 1, got 0"),
        ({"name": "blobs", "spread": "big"}, "spread must be a finite number .* got 'big'"),
        ({"name": "parity", "bits": 0}, "bits must be an integer of at least 1, got 0"),
        ({"name": "parity", "relevant": 21}, r"relevant must be at most bits \(20\), got 21"),
        ({"name": "adding", "length": 1}, "length must be an integer of at least 2, got 1"),
        ({"name": "copying", "symbols": 1}, "symbols must be an integer of at least 2, got 1"),
        ({"name": "copying", "memory": 0}, "memory must be an integer of at least 1, got 0"),
        ({"name": "copying", "delay": -1}, "delay must be an integer of at least 0, got -1"),
        ({"name": "chebyshev", "points": 1}, "points must be an integer of at least 2, got 1"),
        ({"name": "chebyshev", "degree": 0}, "degree must be an integer of at least 1, got 0"),
        ({"name": "friedman", "noise": True}, "noise must be a finite number .* got True"),
        ({"name": "california_like", "samples": 1.5}, "samples must be an integer"),
    ],
)
def test_wrong_options_are_refused(spec, message):
    with pytest.raises(ConfigError, match=message):
        load(spec, kind=kind_of(spec["name"]), split=SplitSpec())
