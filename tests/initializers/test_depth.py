"""What survives fifty layers of the structured starts that contract to keep a signal.

Layers are applied in float64 NumPy. Where a start is an isometry, the norm is kept but for the
float32 rounding of its weights: at most 1e-5 per layer (the bound of `orthogonal`), 5e-4 in all.
"""

import jax
import numpy as np
import pytest

from initopt_jax.initializers import REGISTRY

DEPTH = 50
TOLERANCE = DEPTH * 1e-5


def stack(name, shape, **options):
    """Fifty leaves [50, ...] of one shape."""
    keys = jax.random.split(jax.random.key(0), DEPTH)
    draw = jax.jit(jax.vmap(lambda key: REGISTRY[name].draw(key, shape, **options)))
    return np.asarray(draw(keys), np.float64)


def circular(images, kernel):
    """Cross-correlation of images [B, H, W, C] with a kernel (h, w, C, D), edges joined."""
    total = 0.0
    for (i, j), matrix in (((i, j), kernel[i, j]) for i, j in np.ndindex(kernel.shape[:2])):
        shift = ((kernel.shape[0] - 1) // 2 - i, (kernel.shape[1] - 1) // 2 - j)
        total = total + np.roll(images, shift, axis=(1, 2)) @ matrix
    return total


def signal(*shape):
    return np.random.default_rng(1).normal(size=shape)


@pytest.mark.parametrize(
    ("name", "width"), [("orthogonal", 64), ("identity", 64), ("hadamard", 64), ("identity", 9)]
)
def test_linear_nets_keep_every_norm(name, width):
    x = h = signal(20, width)
    for weights in stack(name, (width, width)):
        h = h @ weights
    np.testing.assert_allclose(
        np.linalg.norm(h, axis=1) / np.linalg.norm(x, axis=1), 1, atol=TOLERANCE
    )


def test_delta_orthogonal_convolutions_keep_every_norm_at_every_frequency():
    images = h = signal(4, 6, 6, 8)
    for kernel in stack("delta_orthogonal", (3, 3, 8, 8)):
        h = circular(h, kernel)
    ratio = np.linalg.norm(h, axis=-1) / np.linalg.norm(images, axis=-1)  # pixel by pixel
    np.testing.assert_allclose(ratio, 1, atol=TOLERANCE)


def test_orthogonal_convolutions_do_not():
    """What delta-orthogonal kernels are for: of the window's 72 rows, 8 columns leave most out."""
    images = h = signal(4, 6, 6, 8)
    for kernel in stack("orthogonal", (3, 3, 8, 8)):
        h = circular(h, kernel)
    ratio = (np.abs(np.fft.fft2(h, axes=(1, 2))) ** 2).sum(axis=(0, 3))
    ratio /= (np.abs(np.fft.fft2(images, axes=(1, 2))) ** 2).sum(axis=(0, 3))
    assert ratio.max() > 10 * ratio.min()


def test_looks_linear_rectified_net_is_the_linear_one():
    """First layer [Q, -Q], hidden ones of four blocks, last [Q; -Q]: x Q_1 ... Q_50 with ReLU."""
    width = 16
    (first,) = stack("looks_linear", (width, 2 * width), mirror="outputs")[:1]
    (last,) = stack("looks_linear", (2 * width, width), mirror="inputs")[:1]
    x = signal(20, width)
    h, linear = x @ first, x @ first[:, :width]
    for weights in stack("looks_linear", (2 * width, 2 * width))[: DEPTH - 2]:
        h = np.maximum(h, 0) @ weights
        linear = linear @ weights[:width, :width]
        assert h.var() == pytest.approx((linear**2).mean(), rel=1e-9)  # the halves' mean is 0
    np.testing.assert_allclose(np.maximum(h, 0) @ last, linear @ last[:width], atol=1e-12)
    ratio = np.linalg.norm(linear, axis=1) / np.linalg.norm(x, axis=1)
    np.testing.assert_allclose(ratio, 1, atol=TOLERANCE)


def test_looks_linear_rectified_convolutions():
    width = 4
    images = h = signal(2, 5, 5, width)
    h = circular(h, stack("looks_linear", (3, 3, width, 2 * width), mirror="outputs")[0])
    for kernel in stack("looks_linear", (3, 3, 2 * width, 2 * width)):
        h = circular(np.maximum(h, 0), kernel)
    ratio = np.linalg.norm(h[..., :width], axis=-1) / np.linalg.norm(images, axis=-1)
    np.testing.assert_allclose(ratio, 1, atol=TOLERANCE)
