"""Fans of leaves that are cut, picked, stacked or multiplied before they meet data.

Every case is held against a truth that knows nothing of how leaves are followed: with weights and
inputs of variance 1, the variance of a sum is the number of its terms.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from initopt_jax import models, tasks
from initopt_jax.initializers import initialize, layouts, stated_layout, with_layout
from initopt_jax.tree import named_leaves
from initopt_jax.types import Split

DRAWS = 200
NHWC = ("NHWC", "HWIO", "NHWC")
X = (8, 16)
PICTURES = (2, 12, 12, 4)


def split_in_three(p, x):
    return jnp.stack([x @ part.T for part in jnp.split(p["w"], 3)])


def transposed(stride, padding="VALID"):
    """Without its margin, where fewer taps meet an input."""

    def apply(p, x):
        made = lax.conv_transpose(x, p["w"], (stride, stride), padding)
        return made[:, 4 * stride : 8 * stride, 4 * stride : 8 * stride]

    return apply


def patches(p, x):
    made = lax.conv_general_dilated_patches(x, (3, 3), (1, 1), "VALID", dimension_numbers=NHWC)
    return made @ p["w"].transpose(2, 0, 1, 3).reshape(36, 6)


def convolve(x, kernel, **options):
    return lax.conv_general_dilated(x, kernel, (1, 1), "VALID", dimension_numbers=NHWC, **options)


def local(p, x):
    return lax.conv_general_dilated_local(
        x, p["w"], (1, 1), "VALID", (3, 3), dimension_numbers=NHWC
    )


def one_of_many(p, x):
    return lax.fori_loop(2, 3, lambda i, h: x @ p["w"][i], jnp.zeros((8, 16)))


def of_scan(p, x):
    return lax.scan(lambda _, i: (x @ p["w"][i], None), jnp.zeros((8, 16)), jnp.arange(3))[0]


def by_condition(p, x):
    return x @ lax.cond(x.sum() > 0, lambda: p["w"][0], lambda: p["w"][1])


def packed(p, x):
    """Input and recurrent weights of four gates in one leaf, cut and regrouped."""
    return jnp.einsum("bi,gio->gbo", x, p["w"].reshape(16, 4, 8).transpose(1, 0, 2)[1:2])


ROUTES = jnp.array([0, 1, 2, 3, 3, 2, 1, 0])
U, V = {"u": (16, 3), "v": (3, 32)}, {"v": 3**-0.5}
# name: shapes, apply, shape of the inputs, the leaf, its fans, scales of the other leaves
CASES = {
    "experts": ({"w": (4, 16, 32)}, lambda p, x: jnp.einsum("bi,bio->bo", x, p["w"][ROUTES]), X,
                "w", (16, 32), {}),
    "experts taken": ({"w": (4, 16, 32)},
                      lambda p, x: jnp.einsum("bi,bio->bo", x, jnp.take(p["w"], ROUTES, axis=0)),
                      X, "w", (16, 32), {}),
    "experts chosen by data": (
        {"w": (4, 16, 32)},
        lambda p, x: jnp.einsum("bi,bio->bo", x, p["w"][jnp.argmax(x[:, :4], -1)]),
        X, "w", (16, 32), {}),
    "experts of ragged rows": ({"w": (4, 16, 32)},
                               lambda p, x: lax.ragged_dot(x, p["w"], jnp.array([2, 2, 2, 2])),
                               X, "w", (16, 32), {}),
    "vmapped experts": ({"w": (4, 16, 32)},
                        lambda p, x: jax.vmap(lambda w, x: x @ w)(p["w"], x.reshape(4, 2, 16)),
                        X, "w", (16, 32), {}),
    "layer by number": ({"w": (6, 16, 16)}, lambda p, x: x @ p["w"][-1], X, "w", (16, 16), {}),
    "layer in a loop": ({"w": (6, 16, 16)}, one_of_many, X, "w", (16, 16), {}),
    "layer in a scan over numbers": ({"w": (3, 16, 16)}, of_scan, X, "w", (16, 16), {}),
    "layer at a place": ({"w": (6, 16, 16)},
                         lambda p, x: x @ lax.dynamic_index_in_dim(p["w"], 2, keepdims=False),
                         X, "w", (16, 16), {}),
    "layer by condition": ({"w": (2, 16, 16)}, by_condition, X, "w", (16, 16), {}),
    "layer by data": ({"w": (2, 16, 16)},
                      lambda p, x: x @ jnp.where(x.sum() > 0, p["w"][0], p["w"][1]),
                      X, "w", (16, 16), {}),
    "packed, split": ({"w": (48, 16)}, split_in_three, X, "w", (16, 16), {}),
    "packed, reshaped": ({"w": (48, 16)},
                         lambda p, x: jnp.einsum("bi,koi->kbo", x, p["w"].reshape(3, 16, 16)[1:2]),
                         X, "w", (16, 16), {}),
    "packed, interleaved": ({"w": (16, 48)}, lambda p, x: x @ p["w"][:, ::3], X, "w", (16, 16), {}),
    "packed gates": ({"w": (16, 32)}, packed, X, "w", (16, 8), {}),
    "packed heads": ({"w": (16, 3, 4, 4)}, lambda p, x: jnp.einsum("bi,ihd->hbd", x, p["w"][:, 0]),
                     X, "w", (16, 16), {}),
    "rows of a column": ({"w": (32, 4, 5)},
                         lambda p, x: x @ p["w"].reshape(2, 16, 20)[1, :, :], X, "w", (16, 20), {}),
    "low rank, first": (U, lambda p, x: x @ (p["u"] @ p["v"]), X, "u", (16, 3), V),
    "low rank, second": (U, lambda p, x: x @ (p["u"] @ p["v"]), X, "v", (3, 32), {"u": 0.25}),
    "added low rank": ({"w": (32, 16), "a": (3, 16), "b": (32, 3)},
                       lambda p, x: x @ (p["w"] + p["b"] @ p["a"]).T, X,
                       "a", (16, 3), {"b": 3**-0.5}),
    "beside low rank": ({"w": (32, 16), "a": (3, 16), "b": (32, 3)},
                        lambda p, x: x @ (p["w"] + p["b"] @ p["a"]).T, X, "w", (16, 32), {}),
    "gained": ({"w": (16, 32), "g": (32,)}, lambda p, x: x @ (p["g"][None] * p["w"]), X,
               "w", (16, 32), {"g": 1}),
    "masked": ({"w": (16, 32)}, lambda p, x: x @ (p["w"] * (-1.0) ** jnp.arange(32)[None]), X,
               "w", (16, 32), {}),
    "made by weights": ({"z": (5,), "w": (5, 512)},
                        lambda p, x: x @ (p["z"] @ p["w"]).reshape(16, 32), X,
                        "w", (80, 32), {"z": 1}),
    "joined": ({"w": (16, 8), "o": (16, 8)},
               lambda p, x: (x @ jnp.concatenate([p["w"], p["o"]], 1))[:, :8], X,
               "w", (16, 8), {}),
    "stacked": ({"w": (16, 8), "o": (16, 8)},
                lambda p, x: jnp.einsum("bi,kio->kbo", x, jnp.stack([p["w"], p["o"]]))[0], X,
                "w", (16, 8), {}),
    "padded": ({"w": (16, 8)}, lambda p, x: (x @ jnp.pad(p["w"], ((0, 0), (2, 3))))[:, 2:10], X,
               "w", (16, 8), {}),
    "products summed": ({"w": (16, 32)}, lambda p, x: (x[:, :, None] * p["w"][None]).sum(1), X,
                        "w", (16, 32), {}),
    "one score": ({"w": (16,)}, lambda p, x: x @ p["w"], X, "w", (16, 1), {}),
    "one hot": ({"w": (16, 32)}, lambda p, x: jax.nn.one_hot(jnp.argmax(x, 1), 16) @ p["w"], X,
                "w", (16, 32), {}),
    "patches": ({"w": (3, 3, 4, 6)}, patches, PICTURES, "w", (36, 6), {}),
    "kernel per place": ({"w": (10, 10, 36, 5)}, local, PICTURES, "w", (36, 5), {}),
    "grouped": ({"w": (3, 3, 2, 6)},
                lambda p, x: convolve(x, p["w"], feature_group_count=2), PICTURES,
                "w", (18, 27), {}),
    "depthwise": ({"w": (3, 3, 1, 8)},
                  lambda p, x: convolve(x, p["w"], feature_group_count=4), PICTURES,
                  "w", (9, 18), {}),
    "stacked kernels": ({"w": (2, 3, 3, 4, 6)},
                        lambda p, x: jax.vmap(lambda w, x: convolve(x[None], w))(p["w"], x),
                        PICTURES, "w", (36, 54), {}),
    "kernels on one picture": ({"w": (2, 3, 3, 4, 6)},
                               lambda p, x: jax.vmap(lambda w: convolve(x, w))(p["w"]),
                               PICTURES, "w", (36, 108), {}),
    "transposed, stride 1": ({"w": (3, 3, 4, 6)}, transposed(1), PICTURES, "w", (36, 54), {}),
    "transposed, stride 2": ({"w": (4, 4, 4, 6)}, transposed(2), PICTURES, "w", (16, 96), {}),
    "transposed, 3 taps": ({"w": (3, 3, 4, 6)}, transposed(2), PICTURES, "w", (9, 54), {}),
    "transposed, 5 taps": ({"w": (5, 5, 1, 6)}, transposed(2), (2, 12, 12, 1),
                           "w", (6.25, 150), {}),
}  # fmt: skip


def found_in(shapes, apply, *inputs):
    given = {name: jnp.zeros(shape) for name, shape in shapes.items()}
    return layouts(apply, given, *inputs)


@pytest.mark.parametrize("name", CASES)
def test_fan_in_is_the_variance_of_a_sum(name):
    shapes, apply, size, path, fans, scales = CASES[name]
    layout = found_in(shapes, apply, jnp.zeros(size))[path]
    assert layout.fans(shapes[path]) == fans
    if name == "one hot":
        return  # its inputs are no normal numbers: one of 16 is 1

    draw = np.random.default_rng(1)
    scale = {**dict.fromkeys(shapes, 0.0), **scales, path: 1.0}
    params = {
        leaf: (scale[leaf] * draw.normal(size=(DRAWS, *shape))).astype(np.float32)
        for leaf, shape in shapes.items()
    }
    inputs = draw.normal(size=(DRAWS, *size)).astype(np.float32)
    power = jax.jit(lambda given: lax.map(lambda one: jnp.square(apply(*one)).mean(), given))
    powers = np.asarray(power((params, inputs)))
    error = powers.std() / math.sqrt(DRAWS)
    assert error < 0.1 * fans[0]  # else the test says little
    assert abs(powers.mean() - fans[0]) < 5 * error


@pytest.mark.parametrize("name", CASES)
def test_taken_apart_and_back(name):
    shapes, apply, size, path, _, _ = CASES[name]
    layout = found_in(shapes, apply, jnp.zeros(size))[path]
    leaf = np.arange(math.prod(shapes[path])).reshape(shapes[path])
    apart = layout.take_apart(leaf)
    assert len(apart) == layout.kernels(leaf.shape)
    np.testing.assert_array_equal(layout.put_together(apart, leaf.shape), leaf)


def test_parts_are_drawn_one_by_one():
    """The case of the issue: He's deviation in three packed kernels, and each orthogonal."""
    found = found_in({"w": (48, 16)}, split_in_three, jnp.zeros(X))
    assert found["w"].describe() == "dense (3a*o i)"
    drawn = initialize(jax.random.key(0), {"w": jnp.zeros((48, 16))}, {"*": "orthogonal"}, found)
    for part in np.split(np.asarray(drawn["w"], np.float64), 3):
        np.testing.assert_allclose(part.T @ part, np.eye(16), atol=1e-5)
    experts, apply = CASES["experts"][:2]
    found = found_in(experts, apply, jnp.zeros(X))
    given = {"w": jnp.zeros(experts["w"])}
    he = initialize(jax.random.key(0), given, {"*": "he_normal"}, found)["w"]
    # sqrt(2 / 16), within five standard errors of a deviation from 2,048 weights
    assert float(he.std()) == pytest.approx(0.3536, rel=5 / math.sqrt(2 * 2048))


# What cannot be known ---------------------------------------------------------------------------

UNKNOWN = {
    "parts of several sizes": (
        (16, 24), lambda p, x: (x @ p["w"][:, :16]).sum() + (x @ p["w"][:, 16:]).sum(), "differ"),
    "a bias in the last row": ((17, 8), lambda p, x: x @ p["w"][:-1] + p["w"][-1:], "differ"),
    "a transform": ((16, 16), lambda p, x: (x @ jnp.fft.fft(p["w"])).real, "fft"),
    "a square": ((16, 16), lambda p, x: x @ (p["w"] @ p["w"].T), "multiplied with itself"),
    "a factorization": ((16, 16), lambda p, x: x @ jnp.linalg.qr(p["w"])[0], "pass through"),
    "taps by hand": (
        (3, 16), lambda p, x: x * p["w"][:1] + jnp.roll(x, 1, 0) * p["w"][1:2], "one by one"),
    "parts used differently": (
        (32, 16), lambda p, x: x @ p["w"][:16] + x @ p["w"][16:].T, "different ways"),
    "nothing": ((4, 3), lambda p, x: x, "no operation"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_not_followed_is_said(name):
    shape, apply, why = UNKNOWN[name]
    layout = found_in({"w": shape}, apply, jnp.zeros(X))["w"]
    assert layout.kind == "unknown"
    assert why in layout.why
    assert layout.fans(shape) is None
    shapes, key = {"layer": {"w": jnp.zeros(shape)}}, jax.random.key(0)
    found = {"layer/w": layout}
    with pytest.raises(ValueError, match=r"leaf 'layer/w' \(.*he_normal.*layout: \"i o\""):
        initialize(key, shapes, {"*": "he_normal"}, found)
    assert float(initialize(key, shapes, {"*": "normal"}, found)["layer"]["w"].std()) > 0
    stated = {"layer/w": with_layout("he_normal", "i o"), "*": "zeros"}
    drawn = initialize(key, shapes, stated, found)["layer"]["w"]
    n = math.prod(shape)
    assert abs(float(jnp.square(drawn).mean()) * shape[0] / 2 - 1) < 5 * math.sqrt(2 / n)


@pytest.mark.parametrize("name", ["orthogonal", "sparse", "hadamard", "delta_orthogonal", "siren",
                                  "signed_constant", "identity", "glorot_uniform"])  # fmt: skip
def test_no_draw_that_is_about_units_guesses(name):
    shape, apply, _ = UNKNOWN["a transform"]
    found = found_in({"w": shape}, apply, jnp.zeros(X))
    with pytest.raises(ValueError, match=r"leaf 'w' \(16, 16\).*not known.*fft"):
        initialize(jax.random.key(0), {"w": jnp.zeros(shape)}, {"*": name}, found)


def test_stated_layouts():
    assert stated_layout("w w i o", (3, 3, 4, 8)).fans((3, 3, 4, 8)) == (36, 72)
    assert stated_layout("3a*o i", (48, 16)).kernel_shape((48, 16)) == (16, 16)
    assert stated_layout("embedding", (100, 16)).fans((100, 16)) == (1, 16)
    for text in ("i", "i i", "i o o", "i x", "5a*o i", "a*o i", "3a* i", ""):
        with pytest.raises(ValueError, match="letter per axis"):
            stated_layout(text, (48, 16))


def test_uses_that_disagree_are_told():
    shapes = {"e": (50, 16), "w": (16, 16)}

    def tied(p, words):
        return (p["e"][words] @ p["w"]) @ p["e"].T

    found = found_in(shapes, tied, jnp.zeros((2, 5), int))
    assert found["e"].describe() == "embedding; also dense (o i)"
    assert found["w"].fans((16, 16)) == (16, 16)


def test_rows_used_as_activations_are_embeddings():
    shapes = {"words": (50, 16), "places": (9, 16), "u": (50, 16)}

    def apply(p, words):
        pooled = (p["u"][words] * p["u"][words[::-1]]).sum(-1)
        return 4.0 * p["words"][words] + p["places"][jnp.arange(5)][None], pooled

    found = found_in(shapes, apply, jnp.zeros((2, 5), int))
    assert {path: layout.kind for path, layout in found.items()} == dict.fromkeys(
        shapes, "embedding"
    )


# Shipped models ----------------------------------------------------------------------------------

WORDS, SERIES = jnp.zeros((2, 6), jnp.int32), jnp.zeros((2, 6, 3))
SHIPPED = [
    ("mlp", {"hidden": [8]}, jnp.zeros((2, 6))),
    ("cnn", {"channels": [4, 8], "groups": 2}, jnp.zeros((2, 8, 8, 2))),
    ("lstm", {}, SERIES),
    ("transformer", {"vocabulary": 7}, WORDS),
    ("mixer", {}, jnp.zeros((2, 8, 8, 1))),
]


@pytest.mark.parametrize(("name", "options", "inputs"), SHIPPED)
def test_fans_of_shipped_models(name, options, inputs):
    model = models.as_model(models.find_model(name)(outputs=5, **options))
    params, state = model.init(jax.random.key(0), inputs)
    train = Split(np.asarray(inputs), np.zeros(len(inputs), np.int32))
    network = models.network_of(model, tasks.REGISTRY["classification"], params, state, train)
    leaves, measured = dict(named_leaves(params)), variances_of_sums(network.plain, params, inputs)
    assert network.anatomy.kernels
    for kernel in network.anatomy.kernels:
        leaf = leaves[kernel.path]
        fan_in, _ = kernel.layout.fans(leaf.shape)
        rel = 5 * math.sqrt(2 / leaf.size)  # five standard errors of a mean of squares
        assert measured(kernel.path) == pytest.approx(fan_in, rel=rel), kernel.path


def variances_of_sums(apply, params, inputs):
    """The variance of the first sum over a leaf and data of variance 1: the sum of the squares.

    Independent of the package: operations are evaluated one by one with all other leaves 0, and a
    sum over the leaf is one of an operand that is not 0 and does not depend on the inputs.
    """
    closed = jax.make_jaxpr(apply)(params, inputs)

    def sums(leaves):
        seen = []
        data = [False] * len(leaves) + [True]
        evaluate(closed.jaxpr, closed.consts, [*leaves, inputs], data, seen)
        return jnp.array([there for there, _ in seen]), jnp.array([found for _, found in seen])

    compiled = jax.jit(sums)

    def measured(path):
        draw = np.random.default_rng(3)
        drawn = [
            draw.normal(size=leaf.shape).astype(np.float32) if other == path else 0 * leaf
            for other, leaf in named_leaves(params)
        ]
        there, found = compiled(drawn)
        return float(found[int(jnp.argmax(there))])

    return measured


def evaluate(jaxpr, consts, values, tainted, seen):
    """Appends, of every sum of weights with data, whether they are not 0, and its variance."""
    known = {v: (c, False) for v, c in zip(jaxpr.constvars, consts, strict=True)}
    known.update(zip(jaxpr.invars, zip(values, tainted, strict=True), strict=True))
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, dict(equation.params)
        read = [(v.val, False) if hasattr(v, "val") else known[v] for v in equation.invars]
        numbers, data = [number for number, _ in read], [flag for _, flag in read]
        inner = next(
            (p for p in params.values() if hasattr(p, "jaxpr") or hasattr(p, "eqns")), None
        )
        body = getattr(inner, "jaxpr", inner)
        if body is not None and name != "while" and len(body.invars) == len(numbers):
            # Of a loop, one round: what is stacked loses an axis, what is handed on is data.
            stacked = [
                jnp.ndim(n) > len(v.aval.shape) for n, v in zip(numbers, body.invars, strict=True)
            ]
            first = [n[0] if many else n for n, many in zip(numbers, stacked, strict=True)]
            carry = params.get("num_carry", 0)
            start = params.get("num_consts", 0)
            handed = [d or start <= place < start + carry for place, d in enumerate(data)]
            evaluate(body, getattr(inner, "consts", ()), first, handed, seen)
        elif name in ("dot_general", "conv_general_dilated") and sum(data) == 1:
            side = data.index(False)
            ones, squares = jnp.ones_like(numbers[1 - side]), jnp.square(numbers[side])
            if name == "conv_general_dilated":
                params["padding"] = ((0, 0),) * len(params["padding"])
            pair = (ones, squares) if side else (squares, ones)
            found = equation.primitive.bind(*pair, **params).mean()
            seen.append((jnp.any(numbers[side] != 0), found))
        given = equation.primitive.get_bind_params(equation.params)
        functions, options = given if isinstance(given, tuple) else ((), given)
        made = jax.tree.leaves(equation.primitive.bind(*functions, *numbers, **options))
        known.update(zip(equation.outvars, [(m, any(data)) for m in made], strict=True))


def test_what_a_loop_starts_from_is_used_by_it():
    """Embedded words, and a learnt first state, that rounds of a loop hand on."""
    shapes = {"words": (20, 8), "w": (8, 8), "first": (1, 8)}
    params = {path: jax.ShapeDtypeStruct(shape, "float32") for path, shape in shapes.items()}
    words = jax.ShapeDtypeStruct((4,), "int32")

    def scanned(p, words):
        start = (p["words"][words], jnp.broadcast_to(p["first"], (4, 8)))
        return lax.scan(lambda c, _: ((c[0] @ p["w"], c[1] + c[0]), None), start, length=3)[0]

    def looped(p, words):
        start = (0, p["words"][words], jnp.broadcast_to(p["first"], (4, 8)))
        step = lambda c: (c[0] + 1, c[1] @ p["w"], c[2] + c[1])  # noqa: E731
        return lax.while_loop(lambda c: c[0] < 3, step, start)[1:]

    for apply in (scanned, looped):
        found = layouts(apply, params, words)
        assert found["words"].kind == "embedding"
        assert found["w"].fans((8, 8)) == (8, 8)
        assert found["first"].kind == "added"
