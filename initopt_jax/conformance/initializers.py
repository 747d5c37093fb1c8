"""Does an initializer keep the contracts that a study relies on? One function per contract."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from initopt_jax import models, tasks
from initopt_jax.audits import audit_leaf
from initopt_jax.conformance.finding import (
    Broken,
    Finding,
    Unchecked,
    hold_to,
    refuse_values,
)
from initopt_jax.errors import ConfigError
from initopt_jax.initializers import (
    MODEL_LEVEL,
    REGISTRY,
    Network,
    default_rules,
    initialize,
    standard_layout,
)
from initopt_jax.lookup.names import find_initializer
from initopt_jax.lookup.options import check_options, required_options
from initopt_jax.types import Initializer, ModelInitializer, Split, option_names

SHAPE, CONVOLUTION, LARGE = (64, 10), (3, 3, 4, 8), (400, 250)
SEEDS = 3


def check_initializer(name: str, options: Mapping[str, Any] | None = None) -> list[Finding]:
    """Hold an initializer to every contract.

    Args:
        name: as in a config: of the registry, `jax.<name>` or `module:function`.
        options: values for its options, as in a config; those without a default need one.

    Returns:
        A finding per contract, in a fixed order.

    Raises:
        ConfigError: there is no such initializer or option, or it refuses an option's value.

    >>> {finding.outcome for finding in check_initializer("he_normal")}
    {'ok'}
    """
    entry = find_initializer(name, {**REGISTRY, **MODEL_LEVEL})
    given = dict(options or {})
    if isinstance(entry, ModelInitializer):
        check_options(f"initializer {name!r}", entry.refine, given, given=_first(entry.refine))
        before, network = _perceptron(entry.base)
        trial = functools.partial(_shapes, entry.refine, before, network)
        refuse_values(f"initializer {name!r}", trial, given, required_options(entry.refine))
        entry = replace(entry, refine=functools.partial(entry.refine, **given))
        return [hold_to(contract, entry) for contract in WHOLE_CONTRACTS]
    check_options(f"initializer {name!r}", entry.draw, given, given=_first(entry.draw))
    trial = functools.partial(entry.draw, jax.random.key(0), SHAPE, jnp.float32)
    refuse_values(f"initializer {name!r}", trial, given, required_options(entry.draw))
    distribution = entry.distribution and functools.partial(entry.distribution, **given)
    entry = replace(entry, draw=functools.partial(entry.draw, **given), distribution=distribution)
    return [hold_to(contract, entry) for contract in CONTRACTS]


def _first(function: Callable[..., Any]) -> tuple[str, ...]:
    """The three arguments before the options, whatever they are called."""
    return tuple(option_names(function))[:3]


# Tensor level -------------------------------------------------------------------------------------


def takes_key_shape_dtype(entry: Initializer) -> None:
    """It takes (key, shape, dtype), then options by keyword."""
    parameters = inspect.signature(entry.draw).parameters.values()
    positional = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    if len(positional) < 3:
        names = ", ".join(positional)
        raise Broken(f"it takes ({names}); a config calls it with a key, a shape and a dtype")


def returns_what_was_asked(entry: Initializer) -> None:
    """It returns the shape and the dtype that it was asked for, dense and convolution."""
    for shape, dtype in ((SHAPE, "float32"), (CONVOLUTION, "float32"), (SHAPE, "bfloat16"),
                         (SHAPE, "float16")):  # fmt: skip
        weights = jnp.asarray(entry.draw(jax.random.key(0), shape, jnp.dtype(dtype)))
        if weights.weak_type:
            raise Broken("the weights have a weak dtype, which the first operation may change")
        if weights.shape != shape or weights.dtype != dtype:
            raise Broken(f"asked for {shape} {dtype}, it gave {weights.shape} {weights.dtype.name}")


def draws_finite_weights(entry: Initializer) -> None:
    """All weights are finite."""
    for shape in (SHAPE, CONVOLUTION, LARGE):
        weights = np.asarray(entry.draw(jax.random.key(1), shape, jnp.float32))
        if wrong := int((~np.isfinite(weights)).sum()):
            raise Broken(f"{wrong} of {weights.size} weights of shape {shape} are not finite")


def depends_on_the_key_alone(entry: Initializer) -> None:
    """The same key gives the same weights: no hidden state, no clock."""
    first, again = (np.asarray(entry.draw(jax.random.key(2), SHAPE, jnp.float32)) for _ in "ab")
    if not np.array_equal(first, again):
        raise Broken(f"{(first != again).sum()} of {first.size} weights differ between two calls")


def listens_to_the_key(entry: Initializer) -> None:
    """Another key gives other weights, unless its distribution says that nothing is random."""
    if entry.distribution and entry.distribution(SHAPE).kind in ("constant", "exact"):
        return
    first, other = (entry.draw(jax.random.key(seed), SHAPE, jnp.float32) for seed in (3, 4))
    if np.array_equal(first, other):
        raise Broken(
            "two keys give equal weights; give it a distribution of kind constant or exact if so"
        )


def compiles(entry: Initializer) -> None:
    """It can be compiled (jit), and gives the same weights within rounding."""
    key = jax.random.key(5)
    plain = np.asarray(entry.draw(key, SHAPE, jnp.float32))
    compiled = np.asarray(jax.jit(lambda key: entry.draw(key, SHAPE, jnp.float32))(key))
    _same(plain, compiled, "compiled")


def runs_on_many_lanes(entry: Initializer) -> None:
    """It can be mapped over keys (vmap), and every lane gets what it would get alone."""
    keys = jax.random.split(jax.random.key(6), SEEDS)
    many = jax.jit(jax.vmap(lambda key: entry.draw(key, SHAPE, jnp.float32)))(keys)
    for lane, key in enumerate(keys):
        alone = np.asarray(entry.draw(key, SHAPE, jnp.float32))
        _same(alone, np.asarray(many[lane]), f"lane {lane}")


def numbers_may_be_traced(entry: Initializer) -> None:
    """Its numbers may be swept: traced by JAX, without a compilation for each value."""
    numbers = {
        name: default
        for name, default in option_names(entry.draw, skip=_first(entry.draw)).items()
        if isinstance(default, float)
    }
    if not numbers:
        raise Unchecked("it has no option with a number as its default")
    key, traces = jax.random.key(7), []

    def draw(options: Any) -> Any:
        traces.append(1)
        return entry.draw(key, SHAPE, jnp.float32, **options)

    compiled = jax.jit(draw)
    for values in (numbers, _other_numbers(entry, numbers)):
        swept = compiled({name: jnp.float32(value) for name, value in values.items()})
        written = entry.draw(key, SHAPE, jnp.float32, **values)
        _same(np.asarray(written), np.asarray(swept), "traced options")
    if len(traces) > 1:
        raise Broken("it was compiled again for another value")


def _other_numbers(entry: Initializer, numbers: Mapping[str, float]) -> dict[str, float]:
    """The same options with other values, as far as the initializer allows any."""
    others = dict(numbers)
    for name, value in numbers.items():
        for other in (value / 2, value * 1.5) if value else (0.25, 1.0):
            try:
                entry.draw(jax.random.key(0), SHAPE, jnp.float32, **{**others, name: other})
            except ValueError:
                continue
            others[name] = other
            break
    if others == numbers:
        raise Unchecked("no other values of its numbers were found that it allows")
    return others


def keeps_its_distribution(entry: Initializer) -> None:
    """The weights follow the distribution that it states, at three seeds and three shapes."""
    if entry.distribution is None:
        raise Unchecked(
            "it states no distribution, so that an audit can only see whether weights are finite; "
            "give it an attribute: my_init.distribution = lambda shape, **options: "
            "DistributionSpec('normal', std=...)"
        )
    for shape in (SHAPE, CONVOLUTION, LARGE):
        distribution, fans = entry.distribution(shape), standard_layout(shape).fans(shape)
        for seed in range(SEEDS):
            weights = np.asarray(entry.draw(jax.random.key(seed), shape, jnp.float32))
            row = audit_leaf("kernel", "*", weights, distribution, fans)
            if row.verdict == "fails":
                raise Broken(f"shape {shape}, key {seed}: {row.reason}")


CONTRACTS: Sequence[Callable[[Initializer], None]] = (
    takes_key_shape_dtype,
    returns_what_was_asked,
    draws_finite_weights,
    depends_on_the_key_alone,
    listens_to_the_key,
    compiles,
    runs_on_many_lanes,
    numbers_may_be_traced,
    keeps_its_distribution,
)

# Model level --------------------------------------------------------------------------------------


def takes_key_params_network(entry: ModelInitializer) -> None:
    """It takes (key, params, network), then options by keyword."""
    parameters = inspect.signature(entry.refine).parameters.values()
    positional = [one.name for one in parameters if one.kind is one.POSITIONAL_OR_KEYWORD]
    if len(positional) < 3:
        names = ", ".join(positional)
        raise Broken(f"it takes ({names}), not a key, params and a network")


def returns_the_same_tree(entry: ModelInitializer) -> None:
    """It returns params of the same paths, shapes and dtypes, all finite, and a dict of scalars."""
    before, after, info = _refined(entry)
    if jax.tree.map(_kind, before) != jax.tree.map(_kind, after):
        raise Broken("paths, shapes or dtypes differ from those of the params that it was given")
    if not all(bool(jnp.isfinite(leaf).all()) for leaf in jax.tree.leaves(after)):
        raise Broken("some weights are not finite")
    if not isinstance(info, dict) or any(jnp.ndim(value) for value in info.values()):
        raise Broken("the second result must be a dictionary of scalars")


def changes_something(entry: ModelInitializer) -> None:
    """It changes at least one leaf."""
    before, after, _ = _refined(entry)
    if _equal(before, after):
        raise Broken("every leaf is as it was drawn")


def refines_alike_each_time(entry: ModelInitializer) -> None:
    """The same key and params give the same weights."""
    if not _equal(_refined(entry)[1], _refined(entry)[1]):
        raise Broken("weights differ between two calls")


WHOLE_CONTRACTS: Sequence[Callable[[ModelInitializer], None]] = (
    takes_key_params_network,
    returns_the_same_tree,
    changes_something,
    refines_alike_each_time,
)


def _refined(entry: ModelInitializer) -> tuple[Any, Any, Any]:
    """Params before and after, and what was measured, on a small perceptron with random data."""
    before, network = _perceptron(entry.base)
    refine = jax.jit(lambda key, params: entry.refine(key, params, network))
    try:
        after, info = refine(jax.random.key(1), before)
    except ConfigError as error:
        raise Unchecked(f"a small perceptron is no model for it: {error}") from error
    return before, after, info


def _perceptron(base: str) -> tuple[Any, Network]:
    """A small perceptron with random data: its first weights, and the network."""
    random = np.random.default_rng(0)
    train = Split(
        random.standard_normal((128, 12), dtype=np.float32),
        random.integers(0, 4, 128).astype(np.int32),
    )
    model = models.REGISTRY["mlp"].make(outputs=4, hidden=(16, 16))
    shapes = models.param_shapes(model, jax.ShapeDtypeStruct((2, 12), np.float32))
    network = models.network_of(model, tasks.REGISTRY["classification"], shapes, {}, train)
    rules = default_rules(base)
    before = initialize(jax.random.key(0), shapes, rules, network.anatomy.layouts)
    return before, network


def _shapes(refine: Callable[..., Any], before: Any, network: Network, **options: Any) -> Any:
    """What a refinement would return, as shapes."""
    made = lambda key, params: refine(key, params, network, **options)  # noqa: E731
    return jax.eval_shape(made, jax.random.key(1), before)


def _same(expected: np.ndarray, found: np.ndarray, what: str) -> None:
    # Last bits may differ between compilations: some 1e-7 of the largest weight.
    allowed = 1e-5 * float(np.abs(expected).max(initial=0.0))
    gap = float(np.abs(expected.astype(np.float64) - found.astype(np.float64)).max(initial=0.0))
    if not (gap <= allowed and math.isfinite(gap)):
        raise Broken(f"{what}: weights differ by up to {gap:.3g}")


def _equal(left: Any, right: Any) -> bool:
    pairs = zip(jax.tree.leaves(left), jax.tree.leaves(right), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs)


def _kind(leaf: Any) -> tuple[Any, ...]:
    return leaf.shape, leaf.dtype
