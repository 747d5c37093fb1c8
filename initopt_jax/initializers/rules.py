"""Which initializer draws which leaf: rules over parameter paths that must cover the whole tree."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp

from initopt_jax.errors import unknown_name
from initopt_jax.initializers.registry import REGISTRY
from initopt_jax.keys import named_key
from initopt_jax.networks.layout import Layout, standard_layout, stated_layout
from initopt_jax.tree import last_name, matches, named_leaves
from initopt_jax.types import Array, PyTree, Shape

Draw = Callable[..., Array]
Rules = Mapping[str, str | Draw] | Sequence[tuple[str, str | Draw]]
# Patterns of default rules. The first two are no paths: they stand for what a leaf is.
BIAS, SCALE = "(bias)", "(scale)"
DEFAULT_PATTERNS = (BIAS, SCALE, "*")


@dataclass(frozen=True)
class WithLayout:
    """An initializer that says how the leaf it draws is used, where the network cannot be followed.

    Attributes:
        draw: the initializer.
        layout: as of `layout.stated_layout`, such as `a i o`.
    """

    draw: Draw
    layout: str

    def __call__(self, key: Array, shape: Shape, dtype: Any) -> Array:
        """What the initializer draws."""
        return self.draw(key, shape, dtype)


def with_layout(initializer: str | Draw, layout: str) -> WithLayout:
    """An initializer for `initialize`, with the layout of the leaf that it draws.

    Args:
        initializer: a name from `REGISTRY` or a callable.
        layout: a letter per axis: i (inputs, summed over), o (outputs), w (window of a
            convolution), a (numbers kernels that stand alone); `3a*o i` cuts an axis. Or
            `embedding`.

    >>> rules = {"experts": with_layout("he_normal", "a i o")}
    >>> drawn = initialize(jax.random.key(0), {"experts": jnp.zeros((4, 500, 32))}, rules)
    >>> round(float(drawn["experts"].std()), 3)
    0.063
    """
    return WithLayout(_as_draw("with_layout", initializer), layout)


@dataclass(frozen=True)
class LeafRule:
    """A leaf and the rule that draws it.

    Attributes:
        path: of the leaf, such as `dense_0/kernel`.
        shape: of the leaf.
        dtype: of the leaf.
        pattern: of the first rule that matches the path.
        draw: that rule's initializer, `(key, shape, dtype) -> Array`, for one kernel.
        layout: how the leaf is made of kernels.
    """

    path: str
    shape: Shape
    dtype: Any
    pattern: str
    draw: Draw
    layout: Layout


def default_rules(
    weights: str | Draw, bias: str | Draw = "zeros", scale: str | Draw = "ones"
) -> list[tuple[str, str | Draw]]:
    """One initializer for all weights, and the usual ones for biases and scales.

    Args:
        weights: for every leaf that is neither of the others.
        bias: for biases: vectors that the network adds to activations, and leaves called `bias`.
        scale: for scales, as of normalization layers: vectors that it multiplies activations with,
            and leaves called `scale`.

    Returns:
        Rules for `initialize`, to be used alone or after one's own. `(bias)` and `(scale)` are no
        patterns of paths: what a leaf is follows from its use, where layouts are given, and else
        from its name, the whole last word of the path (`upscale` is no scale). A network without
        biases or scales is fine: the three rules of this function, in its order and at the end,
        may find nothing to do.

    >>> default_rules("he_normal")
    [('(bias)', 'zeros'), ('(scale)', 'ones'), ('*', 'he_normal')]
    """
    return list(zip(DEFAULT_PATTERNS, (bias, scale, weights), strict=True))


def match_rules(
    params_or_shapes: PyTree, rules: Rules, layouts: Mapping[str, Layout] | None = None
) -> list[LeafRule]:
    """The rule of every leaf: the first whose pattern matches the path.

    A rule that never applies is a mistake that would go unseen (a misspelt path, or an earlier rule
    that takes all of its leaves), so it is refused. Only a closing `*`, which takes what is left,
    and the closing rules of `default_rules` may find nothing to do.

    Args:
        params_or_shapes: tree of arrays or of `jax.ShapeDtypeStruct`.
        rules: `{pattern: initializer}` or `(pattern, initializer)` pairs, in order. Patterns are
            shell-style and match the whole path; `*` also crosses `/`. `(bias)` and `(scale)` stand
            for all biases and scales, see `default_rules`. An initializer is a name from
            `REGISTRY`, a callable `(key, shape, dtype) -> Array`, or one of them with the layout of
            its leaf (`with_layout`).
        layouts: path to layout, as of `initializers.layouts`; by default what the shape suggests.

    Returns:
        One entry per leaf, in the order of `jax.tree.leaves`.

    Raises:
        ValueError: if a leaf is not covered or not an array, a rule never applies, or an
            initializer is unknown.

    >>> shapes = {"dense": {"bias": jnp.zeros(3), "kernel": jnp.zeros((2, 3))}}
    >>> [(leaf.path, leaf.pattern) for leaf in match_rules(shapes, default_rules("he_normal"))]
    [('dense/bias', '(bias)'), ('dense/kernel', '*')]
    """
    pairs = list(rules.items()) if isinstance(rules, Mapping) else list(rules)
    draws = [(pattern, _as_draw(pattern, initializer)) for pattern, initializer in pairs]
    leaves = named_leaves(params_or_shapes)
    matched: list[LeafRule] = []
    uncovered: list[str] = []
    roles: dict[str, str] = {}
    for path, leaf in leaves:
        if not (hasattr(leaf, "shape") and hasattr(leaf, "dtype")):
            raise ValueError(f"leaf {path!r} must have a shape and a dtype, got {leaf!r}")
        shape = tuple(leaf.shape)
        layout = (layouts or {}).get(path) or standard_layout(shape)
        roles[path] = layout.role or last_name(path)
        match = next((pair for pair in draws if _applies(pair[0], path, roles)), None)
        if match is None:
            uncovered.append(path)
            continue
        pattern, draw = match
        if isinstance(draw, WithLayout):
            try:
                layout = stated_layout(draw.layout, shape)
            except ValueError as error:
                raise ValueError(f"leaf {path!r}, rule {pattern!r}: {error}") from error
        matched.append(LeafRule(path, shape, leaf.dtype, pattern, draw, layout))
    if uncovered:
        raise ValueError(
            f"no rule matches {_listing(uncovered)}; add a pattern for each, or close the rules "
            f"with '*'. Patterns given: {_listing([pattern for pattern, _ in draws])}"
        )
    _refuse_idle_rules([pattern for pattern, _ in draws], roles)
    return matched


def _applies(pattern: str, path: str, roles: Mapping[str, str]) -> bool:
    """Whether a rule's pattern takes a leaf; `roles` are what the leaves are, by path."""
    if pattern in (BIAS, SCALE):
        return f"({roles[path]})" == pattern
    return matches(path, pattern)


def initialize(
    key: Array,
    params_or_shapes: PyTree,
    rules: Rules,
    layouts: Mapping[str, Layout] | None = None,
) -> PyTree:
    """First weights for a whole network.

    The key of a leaf is `keys.named_key(key, path)`: adding, removing or renaming a layer leaves
    all other leaves as they were, bit for bit. A leaf of several kernels (groups, a stack of
    layers, the rows of an embedding) draws each with a key of its own.

    Args:
        key: of the network.
        params_or_shapes: tree of arrays (their values are not looked at) or of
            `jax.ShapeDtypeStruct`, as `jax.eval_shape` gives.
        rules: see `match_rules`; all leaves must be covered.
        layouts: how leaves are used, from `layouts(apply, params, inputs)`. Without it, shapes are
            read as `(*window, inputs, outputs)`, which is wrong for attention with an axis for its
            heads, grouped convolutions, einsums and embeddings.

    Returns:
        The tree with every leaf drawn, in its shape and dtype.

    Raises:
        ValueError: as `match_rules`, or if an initializer returns another shape or dtype.

    >>> shapes = {"bias": jax.ShapeDtypeStruct((3,), "float32")}
    >>> initialize(jax.random.key(0), shapes, {"bias": "ones"})["bias"].tolist()
    [1.0, 1.0, 1.0]
    """
    leaves = match_rules(params_or_shapes, rules, layouts)
    drawn = draw_leaves([named_key(key, leaf.path) for leaf in leaves], leaves)
    return jax.tree.unflatten(jax.tree.structure(params_or_shapes), drawn)


def draw_leaves(keys: Sequence[Array], leaves: Sequence[LeafRule]) -> list[Array]:
    """The leaves of a network, each with its own key; errors as `initialize`."""
    return [_draw(key, leaf) for key, leaf in zip(keys, leaves, strict=True)]


def _draw(key: Array, leaf: LeafRule) -> Array:
    shape, count = leaf.layout.kernel_shape(leaf.shape), leaf.layout.kernels(leaf.shape)

    def one(key: Array) -> Array:
        try:
            value = leaf.draw(key, shape, leaf.dtype)
        except (TypeError, ValueError) as error:
            raise ValueError(_refusal(leaf, error)) from error
        if jnp.shape(value) != shape or jnp.result_type(value) != leaf.dtype:
            raise ValueError(
                f"the initializer of rule {leaf.pattern!r} must return {tuple(shape)} "
                f"{jnp.dtype(leaf.dtype).name} for leaf {leaf.path!r}, got {jnp.shape(value)} "
                f"{jnp.result_type(value).name}"
            )
        return value

    if leaf.layout == standard_layout(leaf.shape):
        return one(key)
    kernels = one(key)[None] if count == 1 else jax.vmap(one)(jax.random.split(key, count))
    return leaf.layout.put_together(kernels, leaf.shape)


def _refusal(leaf: LeafRule, error: Exception) -> str:
    """That an initializer cannot draw a leaf, and what to write instead."""
    named = leaf.draw.draw if isinstance(leaf.draw, WithLayout) else leaf.draw
    name = getattr(named, "__name__", type(named).__name__)
    if leaf.layout.kind == "unknown" and len(leaf.shape) > 1:
        letters = " ".join(["a"] * (len(leaf.shape) - 2) + ["i", "o"])
        advice = (
            f'{{"{leaf.path}": {{name: {name}, layout: "{letters}"}}}}, with a letter per axis: i '
            "(inputs, summed over), o (outputs), w (window), a (stands alone); or an initializer "
            "that needs no fans, such as {name: normal, stddev: 0.02}"
        )
    else:
        advice = (
            f'{{"{leaf.path}": zeros}}, or ones, or {{name: constant, value: 0.25}}, or {{name: '
            "normal, stddev: 0.02}"
        )
    return (
        f"leaf {leaf.path!r} {leaf.shape}, which rule {leaf.pattern!r} gives to {name}: {error}. "
        f"Write a rule for it, in a config rules: {advice}"
    )


def _as_draw(pattern: str, initializer: str | Draw) -> Draw:
    if callable(initializer):
        return initializer
    if not isinstance(initializer, str):
        raise ValueError(
            f"the initializer of rule {pattern!r} must be a name or a callable, got {initializer!r}"
        )
    if initializer not in REGISTRY:
        raise ValueError(unknown_name("initializer", initializer, REGISTRY))
    return REGISTRY[initializer].draw


def _refuse_idle_rules(patterns: list[str], roles: Mapping[str, str]) -> None:
    """Raises where a rule applies to no leaf, except for the closing defaults."""
    closing = 0
    if tuple(patterns[-len(DEFAULT_PATTERNS) :]) == DEFAULT_PATTERNS:
        closing = len(DEFAULT_PATTERNS)
    elif patterns[-1:] == ["*"]:
        closing = 1
    for index, pattern in enumerate(patterns[: len(patterns) - closing]):
        own = [path for path in roles if _applies(pattern, path, roles)]
        if not own:
            raise ValueError(f"rule {pattern!r} matches no leaf; there are {_listing(list(roles))}")
        earlier = patterns[:index]
        if all(any(_applies(other, path, roles) for other in earlier) for path in own):
            raise ValueError(
                f"rule {pattern!r} never applies: earlier rules ({_listing(earlier)}) take all of "
                f"its leaves ({_listing(own)}); put it before them"
            )


def _listing(names: Sequence[str]) -> str:
    """The names in quotes, the first twenty of them."""
    shown = ", ".join(repr(name) for name in names[:20]) or "none"
    return shown + (f" and {len(names) - 20} more" if len(names) > 20 else "")
