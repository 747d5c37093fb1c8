import math
import zlib
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from initopt_jax.models.convolution import (
    LARGEST_PATCHES,
    Geometry,
    choose_form,
    conv_general_dilated,
)
from initopt_jax.networks.fans import fans

NHWC = ("NHWC", "HWIO", "NHWC")
PLAIN = Geometry((1, 1), ((1, 1), (1, 1)))

# inputs, kernel, strides, padding, lhs dilation, rhs dilation, groups
CASES = {
    "same": ((2, 7, 6, 5), (3, 3, 5, 4), (1, 1), "SAME", (1, 1), (1, 1), 1),
    "valid": ((2, 7, 6, 5), (3, 3, 5, 4), (1, 1), "VALID", (1, 1), (1, 1), 1),
    "one channel": ((3, 9, 8, 1), (3, 3, 1, 6), (1, 1), "SAME", (1, 1), (1, 1), 1),
    "even kernel": ((2, 6, 7, 4), (2, 4, 4, 3), (1, 1), "SAME", (1, 1), (1, 1), 1),
    "pointwise": ((2, 5, 5, 4), (1, 1, 4, 6), (1, 1), "VALID", (1, 1), (1, 1), 1),
    "explicit": ((2, 7, 6, 5), (3, 3, 5, 4), (1, 1), ((2, 0), (1, 3)), (1, 1), (1, 1), 1),
    "cropping": ((2, 9, 9, 5), (3, 3, 5, 4), (1, 1), ((-1, 0), (1, -2)), (1, 1), (1, 1), 1),
    "wide padding": ((2, 3, 3, 5), (3, 3, 5, 4), (1, 1), ((4, 4), (3, 5)), (1, 1), (1, 1), 1),
    "whole picture": ((3, 4, 4, 6), (4, 4, 6, 5), (1, 1), "VALID", (1, 1), (1, 1), 1),
    "dilated kernel": ((2, 9, 8, 5), (3, 3, 5, 4), (1, 1), "SAME", (1, 1), (2, 3), 1),
    "strided": ((2, 8, 9, 5), (3, 3, 5, 4), (2, 3), "SAME", (1, 1), (1, 1), 1),
    "strided valid": ((2, 8, 9, 5), (3, 2, 5, 4), (3, 2), "VALID", (1, 1), (1, 1), 1),
    "strides beyond the kernel": ((2, 9, 9, 3), (2, 2, 3, 4), (3, 4), "VALID", (1, 1), (1, 1), 1),
    "dilated pictures": ((2, 4, 5, 3), (3, 3, 3, 4), (1, 1), ((1, 2), (2, 1)), (2, 3), (1, 1), 1),
    "all at once": ((2, 5, 6, 3), (3, 2, 3, 4), (2, 1), ((3, 1), (0, 2)), (2, 3), (2, 1), 1),
    "groups": ((2, 6, 7, 6), (3, 3, 2, 9), (1, 1), "SAME", (1, 1), (1, 1), 3),
    "groups, strided": ((2, 6, 7, 6), (3, 3, 3, 4), (2, 2), "SAME", (1, 1), (1, 1), 2),
    "depthwise": ((2, 6, 7, 5), (3, 3, 1, 5), (1, 1), "SAME", (1, 1), (1, 1), 5),
    "depthwise, multiplied": ((2, 6, 7, 5), (3, 3, 1, 10), (1, 1), "SAME", (1, 1), (1, 1), 5),
    "one axis": ((3, 11, 4), (5, 4, 6), (1,), "SAME", (1,), (1,), 1),
    "one axis, strided": ((3, 11, 4), (4, 4, 6), (3,), ((2, 1),), (1,), (2,), 1),
}


def numbers(spatial):
    return NHWC if spatial == 2 else ("NWC", "WIO", "NWC")


def drawn(name):
    """Pictures, kernel and options of a case; `zlib` because `hash` differs between processes."""
    inputs, kernel, strides, padding, holes, gaps, groups = CASES[name]
    generator = np.random.default_rng(zlib.crc32(name.encode()))
    arrays = (generator.normal(size=shape).astype(np.float32) for shape in (inputs, kernel))
    options = {
        "window_strides": strides,
        "padding": padding,
        "lhs_dilation": holes,
        "rhs_dilation": gaps,
        "dimension_numbers": numbers(len(strides)),
        "feature_group_count": groups,
    }
    return *arrays, options


def all_three(convolve, pictures, kernel, cotangent):
    """Outputs and both gradients."""
    outputs, pull_back = jax.vjp(convolve, pictures, kernel)
    return outputs, *pull_back(cotangent)


def assert_equal_sums(ours, stock, terms, scale):
    """Sums of so many products of standard normals, in two orders.

    Each order is off by at most about sqrt(terms) half-roundings of partial sums that stay below
    4 sqrt(terms), so their difference by 4 terms eps; twice that leaves room for the extremes.
    """
    eps = np.finfo(np.float32).eps
    assert ours.dtype == stock.dtype
    np.testing.assert_allclose(ours, stock, rtol=0, atol=8 * terms * eps * scale)


BLOCKED = ["same", "explicit", "cropping", "dilated kernel", "groups"]  # strided ones always are


@pytest.mark.parametrize(
    ("name", "whole"), [(name, True) for name in CASES] + [(name, False) for name in BLOCKED]
)
def test_outputs_and_gradients_equal_the_stock_form(name, whole, monkeypatch):
    if not whole:
        monkeypatch.setattr("initopt_jax.models.convolution.CACHED", 0)
    monkeypatch.setattr("initopt_jax.models.convolution_blocks.BLOCK_COLUMNS", 8)  # several blocks
    pictures, kernel, options = drawn(name)
    expected_shape = jax.eval_shape(
        lambda x, k: lax.conv_general_dilated(x, k, **options), pictures, kernel
    ).shape
    cotangent = np.random.default_rng(1).normal(size=expected_shape).astype(np.float32)

    def ours(x, k):
        return conv_general_dilated(x, k, **options, convolution="patches")

    def stock(x, k):
        return lax.conv_general_dilated(x, k, **options)

    assert "conv_general_dilated" not in str(jax.make_jaxpr(ours)(pictures, kernel))
    found = jax.jit(lambda *a: all_three(ours, *a))(pictures, kernel, cotangent)
    wanted = all_three(stock, pictures, kernel, cotangent)
    window = math.prod(kernel.shape[:-1])
    fan_out = math.prod(kernel.shape[:-2]) * kernel.shape[-1]
    pixels = cotangent.size // cotangent.shape[-1]
    for one, other, terms in zip(found, wanted, (window, fan_out, pixels), strict=True):
        assert_equal_sums(one, other, terms, scale=1)


@pytest.mark.parametrize("name", ["same", "one channel", "strided", "depthwise", "one axis"])
def test_lanes_with_kernels_of_their_own_equal_a_loop(name):
    pictures, kernel, options = drawn(name)
    kernels = np.stack([kernel, 2 * kernel[::-1], -kernel])

    def gradients(k):
        return jax.grad(
            lambda x, k: jnp.sum(
                jnp.sin(conv_general_dilated(x, k, **options, convolution="patches"))
            ),
            argnums=(0, 1),
        )(pictures, k)

    together = jax.jit(jax.vmap(gradients))(kernels)
    for lane, one in enumerate(kernels):
        for found, wanted in zip(together, gradients(one), strict=True):
            assert_equal_sums(found[lane], wanted, max(kernel.size, pictures.size), scale=1)


def test_second_derivatives_equal_the_stock_form():
    pictures, kernel, options = drawn("strided")

    def curvature(**more):
        def cost(k):
            return jnp.sum(conv_general_dilated(pictures, k, **options, **more) ** 3)

        slope = jax.grad(cost)
        return jax.grad(lambda k: jnp.vdot(slope(k), kernel))(kernel)

    wanted = curvature(convolution="stock")
    found = curvature(convolution="patches")
    # cubes of sums of 45 products, added over 24 pixels: relative to the largest entry
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("padding", "strides", "groups", "dilation"),
    [("SAME", 1, 1, 1), ("VALID", 2, 1, 1), ("CIRCULAR", 1, 2, 1), (2, 1, 4, 2)],
)
def test_flax_takes_it_as_its_convolution(padding, strides, groups, dilation):
    inputs = np.random.default_rng(3).normal(size=(2, 9, 8, 4)).astype(np.float32)
    options = {
        "features": 8,
        "kernel_size": (3, 3),
        "padding": padding,
        "strides": strides,
        "feature_group_count": groups,
        "kernel_dilation": dilation,
    }
    stock = nn.Conv(**options)
    params = stock.init(jax.random.key(0), inputs)
    ours = nn.Conv(**options, conv_general_dilated=conv_general_dilated)
    assert_equal_sums(ours.apply(params, inputs), stock.apply(params, inputs), 36, scale=1)


def test_any_layout_of_dimensions_is_taken():
    pictures, kernel, options = drawn("strided")
    wanted = lax.conv_general_dilated(pictures, kernel, **options)
    options["dimension_numbers"] = ("NCHW", "OIHW", "HWNC")
    found = conv_general_dilated(
        pictures.transpose(0, 3, 1, 2), kernel.transpose(3, 2, 0, 1), **options
    )
    assert_equal_sums(found.transpose(2, 0, 1, 3), wanted, 45, scale=1)


@pytest.mark.parametrize(
    ("inputs", "kernel", "geometry", "dtype", "platform", "form"),
    [
        ((16, 14, 14, 64), (3, 3, 16, 32), PLAIN, jnp.float32, "cpu", "rows"),
        ((16, 14, 14, 64), (3, 3, 16, 32), PLAIN, jnp.bfloat16, "cpu", "rows"),
        ((1, 28, 28, 64), (3, 3, 1, 16), PLAIN, jnp.float32, "cpu", "patches"),
        # 3 c + 3 f against 9 c numbers per pixel: f = 2 c is the border
        ((16, 14, 14, 64), (3, 3, 16, 33), PLAIN, jnp.float32, "cpu", "patches"),
        ((16, 14, 14, 64), (1, 1, 16, 32), PLAIN, jnp.float32, "cpu", "patches"),
        (
            (16, 14, 14, 64),
            (3, 3, 16, 32),
            Geometry((2, 1), PLAIN.padding),
            jnp.float32,
            "cpu",
            "blocks",
        ),
        # 3 c + 3 f = 144 numbers per pixel against 2^21 in all: 75 pictures of 14 x 14 do not fit
        ((16, 14, 14, 74), (3, 3, 16, 32), PLAIN, jnp.float32, "cpu", "rows"),
        ((16, 14, 14, 75), (3, 3, 16, 32), PLAIN, jnp.float32, "cpu", "blocks"),
        ((16, 14, 14, 64), (3, 3, 16, 32), PLAIN, jnp.float32, "gpu", "stock"),
        ((16, 14, 14, 64), (3, 3, 16, 32), PLAIN, jnp.int32, "cpu", "stock"),
        ((16, 14, 14, 64), (3, 3, 16, 32), PLAIN, jnp.complex64, "cpu", "stock"),
        ((16, 14, 14, 0), (3, 3, 16, 32), PLAIN, jnp.float32, "cpu", "stock"),
        ((16, 1, 1, 8), (5, 5, 16, 32), PLAIN, jnp.float32, "cpu", "stock"),
    ],
)
def test_the_rule_knows_shapes_and_platform_only(inputs, kernel, geometry, dtype, platform, form):
    assert choose_form(inputs, kernel, geometry, dtype, platform) == form


def test_the_rule_bounds_the_memory_of_patches():
    spread = Geometry((1, 1), ((2, 2), (2, 2)), lhs_dilation=(2, 2))
    kernel = (3, 3, 32, 64)
    pixels = math.prod(spread.outputs(32, 32, (3, 3)))
    batch = LARGEST_PATCHES // (9 * 32 * pixels)
    for extra, form in ((0, "patches"), (1, "stock")):
        inputs = (32, 32, 32, batch + extra)
        assert choose_form(inputs, kernel, spread, jnp.float32, "cpu") == form
    assert choose_form((32, 64, 64, 10**4), kernel, PLAIN, jnp.float32, "cpu") == "blocks"


def test_what_the_fast_forms_lack_is_left_to_the_stock_form():
    def jaxpr(pictures, kernel, **options):
        options = {"window_strides": (1,) * (pictures.ndim - 2), "padding": "SAME"} | options
        return str(jax.make_jaxpr(lambda x, k: conv_general_dilated(x, k, **options))(*arrays))

    ones = jnp.ones
    cube = ("NDHWC", "DHWIO", "NDHWC")
    for arrays, options in [
        ((ones((2, 4, 4, 4, 3)), ones((3, 3, 3, 3, 2))), {"dimension_numbers": cube}),
        ((ones((4, 4, 4, 3)), ones((3, 3, 3, 4))), {"batch_group_count": 2}),
        ((ones((4, 4, 4, 3)), ones((3, 3, 3, 4))), {"preferred_element_type": jnp.float32}),
    ]:
        assert "conv_general_dilated" in jaxpr(*arrays, **({"dimension_numbers": NHWC} | options))
    arrays = ones((4, 4, 4, 3)), ones((3, 3, 3, 4))
    assert "conv_general_dilated" not in jaxpr(*arrays, dimension_numbers=NHWC)


@pytest.mark.parametrize(("rows", "columns"), list(product((1, 3, 5), (1, 2))))
def test_fans_of_kernels_count_the_receptive_field(rows, columns):
    inputs, outputs = 4, 6
    pictures = jnp.ones((1, 9, 9, inputs))

    def total(kernel):
        return conv_general_dilated(pictures, kernel, (1, 1), "SAME", dimension_numbers=NHWC)

    kernel = jnp.ones((rows, columns, inputs, outputs))
    # with ones everywhere, an output in the middle counts the weights that feed it, and an input's
    # gradient those that it feeds
    fan_in = int(total(kernel)[0, 4, 4, 0])
    feeds = jax.grad(
        lambda x: conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=NHWC).sum()
    )(pictures)
    assert fans(kernel.shape) == (fan_in, int(feeds[0, 4, 4, 0]))
