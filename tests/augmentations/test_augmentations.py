"""Every augmentation against NumPy with the same draws, its statistics, and what it refuses."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from initopt_jax.augmentations import (
    REGISTRY,
    cutout,
    gaussian_noise,
    make_augment,
    random_crop,
    random_flip,
)
from initopt_jax.errors import ConfigError
from initopt_jax.keys import named_key

OPTIONS = {
    "random_crop": {"padding": 2},
    "random_flip": {"probability": 0.5},
    "cutout": {"size": 3},
    "gaussian_noise": {"stddev": 0.5},
}
MANY = 20_000


def key(seed=0):
    return jax.random.key(seed)


def pictures(count=9, height=6, width=7, channels=2):
    """No two numbers are equal and none is 0: where each pixel came from can be read off."""
    shape = (count, height, width, channels)
    return np.arange(1, 1 + np.prod(shape), dtype=np.float32).reshape(shape)


def drawn(seed, limits, count):
    """The whole numbers that the pictures' own function draws, from the bits as documented."""
    bits = np.asarray(jax.random.bits(key(seed), (len(limits), count), jnp.uint32))
    return (bits % np.array(limits, np.uint32)[:, None]).astype(int)


def normals(of, shape):
    """The noise of `gaussian_noise`: two halves, each from a key of its own."""
    half = -(-int(np.prod(shape)) // 2)
    parts = [np.asarray(jax.random.normal(part, (half,))) for part in jax.random.split(of)]
    return np.concatenate(parts)[: np.prod(shape)].reshape(shape)


def reference(name, seed, images):
    """Pixel by pixel as the formulas say."""
    count, height, width, _ = images.shape
    made = np.zeros_like(images)
    if name == "random_flip":
        heads = np.asarray(jax.random.bernoulli(key(seed), 0.5, (count,)))
        return np.stack([x[:, ::-1] if head else x for x, head in zip(images, heads, strict=True)])
    if name == "gaussian_noise":
        return images + np.float32(0.5) * normals(key(seed), images.shape)
    if name == "random_crop":
        limits = (5, 5)
    else:
        limits, made = (height, width), images.copy()
    for b, (first, second) in enumerate(drawn(seed, limits, count).T):
        for i in range(height):
            for j in range(width):
                if name == "random_crop":
                    row, column = i + first - 2, j + second - 2
                    if 0 <= row < height and 0 <= column < width:
                        made[b, i, j] = images[b, row, column]
                elif 0 <= i - first + 1 < 3 and 0 <= j - second + 1 < 3:
                    made[b, i, j] = 0
    return made


def test_every_augmentation_is_covered():
    assert set(OPTIONS) == set(REGISTRY)


@pytest.mark.parametrize("name", OPTIONS)
def test_equals_the_formula_in_each_lane(name):
    """Under vmap and jit, as a tile runs it: lanes of two seeds, one of them twice."""
    seeds = (3, 4, 3)
    images = np.stack([pictures(), -pictures(), pictures()])
    images[0, 0, 2, 2, 0] = np.nan  # a bad pixel spoils no other, nor those of other lanes
    images[2, 1:] *= -1  # of the last lane all but the first picture
    apply = jax.jit(jax.vmap(lambda k, x: REGISTRY[name].apply(k, x, **OPTIONS[name])))
    made = np.asarray(apply(jnp.stack([key(seed) for seed in seeds]), images))
    assert made.dtype == np.float32
    wanted = np.stack([reference(name, s, x) for s, x in zip(seeds, images, strict=True)])
    if name == "gaussian_noise":  # one rounding of the sum, one where it is fused with the product
        np.testing.assert_allclose(made, wanted, rtol=3e-7, atol=1e-7)
    else:
        np.testing.assert_array_equal(made, wanted)
    good = np.isfinite(made[0, 0])
    np.testing.assert_array_equal(made[2, 0][good], made[0, 0][good])  # of one seed: one draw
    assert not np.array_equal(made[0, 1:], -made[1, 1:])


def chi_squared(numbers, classes):
    counts = np.bincount(numbers, minlength=classes)
    expected = len(numbers) / classes
    assert len(counts) == classes
    return np.sum((counts - expected) ** 2 / expected)


def test_crops_begin_everywhere_alike():
    """One dark pixel in the middle says where each crop began."""
    images = np.zeros((MANY, 9, 9, 1), np.float32)
    images[:, 4, 4] = 1
    moved = np.asarray(random_crop(key(1), images, padding=4))[..., 0]
    assert (moved.sum(axis=(1, 2)) == 1).all()
    _, rows, columns = np.nonzero(moved)
    # A chi-squared with 80 degrees of freedom exceeds 124.8 in one case of a thousand: rows and
    # columns are uniform, and independent of each other.
    assert chi_squared(9 * rows + columns, 81) < 124.8


def test_flips_are_as_frequent_as_asked():
    images = np.tile(np.array([0.0, 1.0], np.float32).reshape(1, 1, 2, 1), (MANY, 1, 1, 1))
    for probability in (0.0, 0.3, 0.5, 1.0):
        made = np.asarray(random_flip(key(2), images, probability=probability))
        share = made[:, 0, 0, 0].mean()
        # 3.3 standard deviations of a binomial share: one case of a thousand lies outside.
        tolerance = 3.3 * np.sqrt(probability * (1 - probability) / MANY)
        assert abs(share - probability) <= tolerance


@pytest.mark.parametrize("size", [1, 4, 5, 8])
def test_cutout_hides_what_is_left_of_the_square_at_the_borders(size):
    height, width = 8, 10
    made = np.asarray(cutout(key(3), np.ones((MANY, height, width, 2), np.float32), size=size))
    np.testing.assert_array_equal(made[..., 0], made[..., 1])
    hidden = made[..., 0] == 0

    def lengths(side):
        first = np.arange(side) - size // 2
        return np.minimum(first + size, side) - np.maximum(first, 0)

    rows, columns = hidden.any(axis=2).sum(axis=1), hidden.any(axis=1).sum(axis=1)
    area = hidden.sum(axis=(1, 2))
    np.testing.assert_array_equal(area, rows * columns)
    areas = np.outer(lengths(height), lengths(width))
    assert {int(a) for a in area} <= {int(a) for a in areas.ravel()}
    # 3.3 standard errors of the mean area, which is exact for size 1.
    assert abs(area.mean() - areas.mean()) <= 3.3 * areas.std() / np.sqrt(MANY)


def test_noise_has_the_deviation_asked_for_and_takes_any_input():
    for shape in ((MANY + 1,), (MANY // 4, 4), (MANY // 8, 2, 2, 2)):
        noise = np.asarray(gaussian_noise(key(4), jnp.full(shape, 7.0), stddev=0.2)) - 7
        assert noise.shape == shape
        # 3.3 standard errors of a mean and of a normal's standard deviation.
        assert abs(noise.mean()) < 3.3 * 0.2 / np.sqrt(MANY)
        assert abs(noise.std() / 0.2 - 1) < 3.3 / np.sqrt(2 * MANY)


def test_a_chain_draws_under_names():
    """Of two entries of one name each draws anew; others do not change what an entry draws."""
    images = jnp.asarray(pictures())
    noise = ("gaussian_noise", {"stddev": 1.0})
    alone = make_augment([noise], images.shape[1:])(key(5), images) - images
    twice = make_augment([noise, noise], images.shape[1:])(key(5), images) - images
    wanted = [normals(named_key(key(5), f"gaussian_noise{n}"), images.shape)
              for n in ("", "/1")]  # fmt: skip
    # Numbers up to 756 are rounded to half of 2^-14 at each addition.
    np.testing.assert_allclose(alone, wanted[0], rtol=0, atol=2.0**-14)
    np.testing.assert_allclose(twice, wanted[0] + wanted[1], rtol=0, atol=2.0**-13)
    flip = ("random_flip", {"probability": 1.0})
    flipped = make_augment([flip, noise], images.shape[1:])(key(5), images)
    np.testing.assert_allclose(flipped - images[:, :, ::-1], wanted[0], rtol=0, atol=2.0**-14)


@pytest.mark.parametrize(
    ("name", "options", "shape", "message"),
    [
        ("random_cropp", {}, (8, 8, 1), r"unknown augmentation.*did you mean 'random_crop'\?"),
        ("random_crop", {"pading": 1}, (8, 8, 1), r"unknown option.*did you mean 'padding'\?"),
        ("random_crop", {"padding": 0}, (8, 8, 1), "padding must be a whole number above 0"),
        ("random_crop", {"padding": 1.5}, (8, 8, 1), "padding must be a whole number above 0"),
        ("random_crop", {"padding": [1, 2]}, (8, 8, 1), "padding must be a whole number above 0"),
        ("random_crop", {"padding": 8}, (8, 9, 1), r"smaller side.*8 x 9; got 8"),
        ("random_crop", {}, (64,), r"pictures \[H, W, C\]; the inputs have shape \(64,\)"),
        ("random_flip", {}, (8, 8), r"pictures \[H, W, C\]; the inputs have shape \(8, 8\)"),
        ("random_flip", {"probability": 1.1}, (8, 8, 1), "probability must be between 0 and 1"),
        ("random_flip", {"probability": "half"}, (8, 8, 1), "probability must be a number"),
        ("cutout", {}, (8, 8, 1), "'cutout' needs size"),
        ("cutout", {"size": 9}, (9, 8, 1), r"smaller side.*9 x 8; got 9"),
        ("cutout", {"size": -1}, (8, 8, 1), "size must be a whole number above 0"),
        ("cutout", {"size": 2}, (5, 3), r"pictures \[H, W, C\]"),
        ("gaussian_noise", {}, (4,), "'gaussian_noise' needs stddev"),
        ("gaussian_noise", {"stddev": -0.1}, (4,), "stddev must be a finite number of at least 0"),
    ],
)
def test_refuses(name, options, shape, message):
    with pytest.raises(ConfigError, match=message):
        make_augment([(name, options)], shape)


def test_noise_on_whole_numbers_is_refused():
    with pytest.raises(ValueError, match="floating-point inputs, got int32"):
        gaussian_noise(key(), jnp.arange(3), stddev=1.0)
