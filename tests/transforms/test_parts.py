"""Methods for matrices and layers see the kernels that a network uses, not the shapes of leaves.

What a leaf holds is taken apart by hand here, into leaves of their own. A method with the layouts
of the network must step as it does without them along those.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from initopt_jax import modifiers, transforms
from initopt_jax.initializers import Layout, layouts, standard_layout
from initopt_jax.transforms.parts import parts_of
from initopt_jax.tree import named_leaves

SHAPES = {
    "bias": (5,),
    "conv": (3, 3, 6),  # in two groups
    "dense": (6, 5),
    "experts": (2, 6, 6),
    "out": (2, 3, 6),
    "packed": (18, 6),  # three kernels, each transposed
    "places": (4, 6),
    "query": (6, 2, 3),
    "stack": {"bias": (2, 6), "kernel": (2, 6, 6)},
    "table": (7, 6),
}
TABLES = ("places", "table")
STEPS = 3


def shapes(tree=SHAPES):
    return jax.tree.map(
        lambda shape: jax.ShapeDtypeStruct(shape, "float32"),
        tree,
        is_leaf=lambda node: isinstance(node, tuple),
    )


def network(params, words):
    """Words, places, heads, packed kernels, a stack in a loop, experts, a grouped convolution."""
    x = params["table"][words] + params["places"][None]
    x = jnp.einsum("btd,dhk->bthk", x, params["query"])
    x = jnp.einsum("bthk,hkd->btd", x, params["out"])
    x = sum(jnp.tanh(x @ one.T) for one in jnp.split(params["packed"], 3))
    layer = lambda x, p: (jnp.tanh(x @ p["kernel"] + p["bias"][None, None]), None)  # noqa: E731
    x, _ = jax.lax.scan(layer, x, params["stack"])
    x = jnp.sum(jnp.einsum("ebtd,edo->ebto", jnp.stack([x, -x]), params["experts"]), axis=0)
    axes = ("NWC", "WIO", "NWC")
    x = jax.lax.conv_general_dilated(
        x, params["conv"], (1,), "SAME", dimension_numbers=axes, feature_group_count=2
    )
    return x[:, 0] @ params["dense"] + params["bias"][None]


LAYOUTS = layouts(network, shapes(), jax.ShapeDtypeStruct((3, 4), "int32"))


def random(seed, dtype=float):
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), dtype), shapes())


def by_hand(path, leaf, groups=True, rows=False):
    """The leaves that stand for one leaf, and how theirs become one again."""
    if path in ("query", "out"):
        return [leaf.reshape(6, 6)], lambda parts: parts[0].reshape(leaf.shape)
    if path in ("stack/kernel", "stack/bias", "experts") or (rows and path in TABLES):
        return list(leaf), jnp.stack
    if path == "packed":
        parts = [part.T for part in jnp.split(leaf, 3)]
        return parts, lambda parts: jnp.concatenate([part.T for part in parts])
    if path == "conv" and groups:
        return [leaf[..., :3], leaf[..., 3:]], lambda parts: jnp.concatenate(parts, axis=-1)
    return [leaf], lambda parts: parts[0]


def follow(transform, params, gradients):
    """The updates of the last of some steps, and the state after it."""

    def step(carry, g):
        params, state, _ = carry
        updates, state = transform.update(g, state, params)
        return (optax.apply_updates(params, updates), state, updates), None

    start = (params, transform.init(params), params)
    several = jax.tree.map(lambda *leaves: jnp.stack(leaves), *gradients)
    (_, state, updates), _ = jax.jit(lambda *given: jax.lax.scan(step, *given))(start, several)
    return updates, state


# Name, what it takes, whether the groups of a convolution are kernels of their own to it (else one
# layer), whether rows of tables are units of their own.
METHODS = {
    "shampoo": (functools.partial(transforms.shampoo, 0.1, eps=0.1), True, False),
    "soap": (functools.partial(transforms.soap, 0.1, eps=0.1, refresh_every=1), True, False),
    "lars": (functools.partial(transforms.lars, 0.1, trust_coefficient=0.5), False, False),
    "lamb": (functools.partial(transforms.lamb, 0.1), False, False),
    "novograd": (functools.partial(transforms.novograd, 0.1), False, False),
    # Its sums belong to kernels, its root mean squares to layers: one of them rests at a time.
    "adafactor sums": (
        functools.partial(transforms.adafactor, 0.1, clip=1e9, min_scale=9.0), True, False,
    ),
    "adafactor": (functools.partial(transforms.adafactor, 0.1, clip=0.7), None, False),
    "muon": (functools.partial(transforms.muon, 0.1), True, None),
    "adaptive_clip": (functools.partial(modifiers.adaptive_clip, 0.1), True, True),
}  # fmt: skip


@pytest.mark.parametrize("name", METHODS)
def test_steps_are_those_of_kernels_that_are_leaves_of_their_own(name):
    make, groups, rows = METHODS[name]
    with jax.enable_x64(True):
        params, *gradients = (random(seed) for seed in range(STEPS + 1))
        paths = [path for path, _ in named_leaves(params)]
        leave_out = {"conv"} if groups is None else set(TABLES) if rows is None else set()

        def apart(tree):
            return {path: by_hand(path, leaf, groups, rows)[0] for path, leaf in named_leaves(tree)}

        ours, _ = follow(make(layouts=LAYOUTS), params, gradients)
        alone, _ = follow(make(), apart(params), [apart(g) for g in gradients])
        shaped = dict(named_leaves(params))
        for path, found in named_leaves(ours):
            if path not in leave_out:
                expected = by_hand(path, shaped[path], groups, rows)[1](alone[path])
                np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10, err_msg=path)
        assert len(paths) == len(alone)


def test_muon_leaves_tables_and_stacked_biases_to_adam():
    with jax.enable_x64(True):
        params, *gradients = (random(seed) for seed in range(STEPS + 1))
        ours, _ = follow(transforms.muon(0.1, layouts=LAYOUTS), params, gradients)
        adam, _ = follow(transforms.adam(0.1, b1=0.9, b2=0.95), params, gradients)
        for path in ("places", "table", "bias"):
            np.testing.assert_allclose(ours[path], adam[path], rtol=1e-10)
        np.testing.assert_allclose(ours["stack"]["bias"], adam["stack"]["bias"], rtol=1e-10)


def test_the_scale_of_muon_is_that_of_the_kernel():
    # A leaf (2, 3, 24) that gives 24 outputs of 2 * 3 inputs, and one (6, 2, 12) that does so too.
    sides = {"out": (2, 3, 24), "query": (6, 2, 12)}
    uses = {
        "out": Layout("dense", inputs=(0, 1), outputs=(2,)),
        "query": Layout("dense", inputs=(0,), outputs=(1, 2)),
    }
    gradient = {name: jnp.asarray(np.eye(6, 24).reshape(shape)) for name, shape in sides.items()}
    core = transforms.scale_by_muon(layouts=uses)
    updates, _ = core.update(gradient, core.init(gradient))
    for name, update in updates.items():
        values = np.linalg.svd(np.asarray(update).reshape(6, 24), compute_uv=False)
        assert np.all((values > 2 * 0.68) & (values < 2 * 1.21)), name


@pytest.mark.parametrize("name", METHODS)
def test_layouts_that_shapes_suggest_change_no_bit(name):
    make, *_ = METHODS[name]
    plain = {"bias": (5,), "conv": (3, 2, 4), "dense": (6, 5)}
    rng = np.random.default_rng(0)
    params, *gradients = (
        {path: jnp.asarray(rng.normal(size=shape), "float32") for path, shape in plain.items()}
        for _ in range(STEPS + 1)
    )
    uses = {path: standard_layout(shape) for path, shape in plain.items()}
    ours, plainly = (follow(make(layouts=one), params, gradients) for one in (uses, None))
    assert jax.tree.structure(ours) == jax.tree.structure(plainly)
    jax.tree.map(np.testing.assert_array_equal, ours, plainly)


@pytest.mark.parametrize("name", METHODS)
def test_with_layouts_lanes_share_a_program_and_keep_dtypes(name):
    make, *_ = METHODS[name]
    number = "clipping" if name == "adaptive_clip" else "learning_rate"
    make = functools.partial(make.func, **make.keywords, layouts=LAYOUTS)
    traced = []

    @jax.jit
    def step(value, g, params):
        traced.append(None)
        transform = make(**{number: value})
        state = transform.init(params)
        for _ in range(2 if name == "soap" else 1):  # the first one moves nothing
            updates, state = transform.update(g, state, params)
        return updates

    values = jnp.array([0.1, 0.02], jnp.float32)
    few = ("conv", "query", "stack")
    g, params = ({path: random(seed, dtype="float32")[path] for path in few} for seed in (0, 1))
    alone = [step(value, g, params) for value in values]
    assert len(traced) == 1
    lanes = jax.vmap(step, (0, None, None))(values, g, params)
    for row, expected in enumerate(alone):
        for path, leaf in named_leaves(jax.tree.map(lambda leaf, row=row: leaf[row], lanes)):
            whole = np.asarray(dict(named_leaves(expected))[path])
            room = 1e-4 * np.abs(whole).max()
            np.testing.assert_allclose(leaf, whole, atol=room, rtol=0, err_msg=path)
    narrow = jax.tree.map(lambda leaf: leaf.astype("bfloat16"), params)
    updates = jax.eval_shape(step, jnp.float32(0.1), narrow, narrow)
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("bfloat16")}


def test_statistics_belong_to_kernels_and_layers():
    params = random(0, dtype="float32")
    soap = transforms.scale_by_soap(layouts=LAYOUTS).init(params)
    factors = dict(zip([path for path, _ in named_leaves(params)], soap.factors, strict=True))
    found = {path: [factor.shape for factor in axes] for path, axes in factors.items()}
    assert found["stack/kernel"] == [(2, 6, 6), (2, 6, 6)]
    assert found["query"] == [(6, 6), (6, 6)]
    assert found["conv"] == [(2, 3, 3)] * 3
    assert found["stack/bias"] == []
    norms = transforms.scale_by_novograd(layouts=LAYOUTS).init(params).norm
    assert (norms["stack"]["bias"].shape, norms["conv"].shape) == ((2,), ())
    sums = transforms.scale_by_adafactor(layouts=LAYOUTS).init(params)
    assert (sums.rows["query"].shape, sums.columns["stack"]["kernel"].shape) == ((6,), (2, 6))


def test_layouts_may_be_a_tree_and_hold_more_leaves_than_are_trained():
    params = random(0, dtype="float32")
    tree = jax.tree.unflatten(
        jax.tree.structure(params), [LAYOUTS[path] for path, _ in named_leaves(params)]
    )
    assert parts_of("kernel", tree, params) == parts_of("kernel", LAYOUTS, params)
    labels = dict.fromkeys(params, "rest") | {"stack": "mine"}
    split = optax.partition(
        {"mine": transforms.lamb(0.1, layouts=LAYOUTS), "rest": optax.set_to_zero()}, labels
    )
    updates, _ = split.update(params, split.init(params), params)
    alone = transforms.lamb(0.1, layouts=LAYOUTS)
    own = {"stack": params["stack"]}
    expected, _ = alone.update(own, alone.init(own), own)
    jax.tree.map(np.testing.assert_array_equal, updates["stack"], expected["stack"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"kernl": standard_layout((2, 3))}, "no entry for the leaf 'kernel'; they have 'kernl'"),
        (
            {"kernel": Layout("dense", inputs=(1,), outputs=(2,))},
            "does not fit its shape \\(2, 3\\)",
        ),
        ({"kernel": Layout("dense", inputs=(0,))}, "does not fit its shape \\(2, 3\\)"),
        ({"kernel": "dense"}, "must be a Layout"),
        ("dense", "no entry for the leaf 'kernel'"),
    ],
)
def test_layouts_that_do_not_fit_are_refused(given, message):
    params = {"kernel": jnp.ones((2, 3))}
    with pytest.raises(ValueError, match=message):
        transforms.muon(0.1, layouts=given).init(params)


def test_a_leaf_that_layouts_do_not_know_is_as_its_shape_suggests():
    unknown = Layout("unknown", inputs=(0,), outputs=(1,))  # pyright: ignore[reportArgumentType]
    params = {"kernel": jnp.ones((2, 3, 4))}
    (parts,) = jax.tree.leaves(parts_of("kernel", {"kernel": unknown}, params))
    assert (parts.shape, parts.count, parts.kind) == ((2, 3, 4), 1, "dense")
