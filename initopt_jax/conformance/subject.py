"""A transform with its options, and the few runs that its contracts are read from.

All runs are on one convex quadratic. Two programs are compiled: one update from traced numbers, and
`STEPS` steps of several lanes, which differ in their numbers.
"""

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from initopt_jax.initializers import Layout, standard_layout
from initopt_jax.tree import named_leaves
from initopt_jax.types import Array, PyTree

STEPS, FEW, FEWER = 100, 5, 2
# Roots and bases of nearly singular matrices amplify rounding to 1e-4 and more from step to step.
AMPLIFYING = ("adagrad_full", "shampoo", "soap")
SMALL_RATE, LARGE_RATE = 0.01, 3.0  # beyond 2 / 1, where descent on the quadratic below diverges
LARGE = "large "
START = {
    "dense": {"kernel": np.linspace(-1, 1, 6).reshape(2, 3)},
    "bias": np.array([0.3, -0.7, 0.1]),
}
CURVATURE = {
    "dense": {"kernel": np.linspace(0.2, 1, 6).reshape(2, 3)},
    "bias": np.array([1.0, 0.5, 0.3]),
}
CENTRE = 0.15  # of every weight, none of which starts there


def start(dtype: Any = jnp.float32) -> PyTree:
    """The first weights, a nested tree."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), START)


def plain_layouts() -> dict[str, Layout]:
    """What a study would say of the leaves, for a transform that asks for `layouts`.

    Of the nested tree, of its part `dense` alone, and of one array or number, whose path is empty.
    """
    trees = (START, START["dense"], 0.0)
    leaves = [leaf for tree in trees for leaf in named_leaves(tree)]
    return {path: standard_layout(np.shape(leaf)) for path, leaf in leaves}


def gradients(params: PyTree) -> PyTree:
    """Of the quadratic, by hand; a dtype stays what it is."""
    return jax.tree.map(
        lambda curvature, p: jnp.asarray(curvature, p.dtype) * (p - jnp.asarray(CENTRE, p.dtype)),
        CURVATURE,
        params,
    )


def loss(params: PyTree) -> Array:
    """The quadratic, float32."""
    leaves = zip(jax.tree.leaves(gradients(params)), jax.tree.leaves(params), strict=True)
    products = [jnp.sum(g * (p - jnp.asarray(CENTRE, p.dtype))) for g, p in leaves]
    return jnp.sum(jnp.stack(products)).astype(jnp.float32) / 2


def extra_arguments(params: PyTree) -> dict[str, Any]:
    """What the engine passes on besides gradients, state and weights."""
    return {
        "value": loss(params),
        "grad": gradients(params),
        "value_fn": lambda params, key=None: loss(params),
        "key": jax.random.key(0),
    }


class Path(NamedTuple):
    """Updates [T, ...] like the weights, and the loss [T] before each."""

    updates: PyTree
    losses: Array


@dataclass(frozen=True)
class Subject:
    """What is looked at.

    Attributes:
        name: as in a config.
        make: makes the transform.
        numbers: options that are traced, with the values that are looked at.
        static: options that are not.
        given: names of the numbers that were asked for; the others are defaults.
        registered: whether it is one of the package's own.
    """

    name: str
    make: Callable[..., Any]
    numbers: Mapping[str, float]
    static: Mapping[str, Any]
    given: frozenset[str]
    registered: bool

    def build(self, numbers: Mapping[str, Any] | None = None) -> Any:
        """The transform, with extra arguments; numbers as given or as they stand."""
        made = self.make(**self.written, **{**self.traceable, **(numbers or {})})
        return optax.with_extra_args_support(made)

    @functools.cached_property
    def untraceable(self) -> tuple[str, ...]:
        """Numbers that cannot be traced: the others can, all at once."""

        def traces(names: tuple[str, ...]) -> bool:
            fixed = {key: value for key, value in self.numbers.items() if key not in names}

            def first(numbers: Any, params: Any) -> Any:
                made = self.make(**self.static, **fixed, **numbers)
                transform = optax.with_extra_args_support(made)
                return transform.update(
                    gradients(params), transform.init(params), params, **extra_arguments(params)
                )[0]

            numbers = {name: jax.ShapeDtypeStruct((), jnp.float32) for name in names}
            try:
                jax.eval_shape(first, numbers, start())
            except Exception:  # noqa: BLE001, for whatever reason
                return False
            return True

        names = tuple(self.numbers)
        if traces(names) or not traces(()):
            return ()
        return tuple(name for name in names if not traces((name,)))

    @property
    def few(self) -> int:
        """Steps that are compared: fewer where nothing is known of how rounding grows."""
        return FEW if self.registered and self.name not in AMPLIFYING else FEWER

    @property
    def written(self) -> dict[str, Any]:
        """Options that are not traced: static ones, and numbers that cannot be."""
        return dict(self.static) | {name: self.numbers[name] for name in self.untraceable}

    @property
    def traceable(self) -> dict[str, float]:
        """Numbers that can be traced, with the values that are looked at."""
        return {key: value for key, value in self.numbers.items() if key not in self.untraceable}

    @property
    def rate(self) -> str | None:
        """The option that is the learning rate, where there is one with a number."""
        names = [name for name in self.numbers if name.endswith("learning_rate") or name == "lr"]
        return names[0] if names else None

    @functools.cached_property
    def lanes(self) -> dict[str, dict[str, float]]:
        """Numbers per lane: as they stand, each one changed, and with a small learning rate.

        Again with a large learning rate, at which losses rise: what acts then alone is felt too.
        """
        base = self.traceable
        found = {"": base} | {name: base | {name: _other(base[name])} for name in base}
        if self.rate in base:
            found["small"] = base | {self.rate: min(base[self.rate], SMALL_RATE)}
            fast = base | {self.rate: LARGE_RATE}
            found[LARGE] = fast
            found |= {LARGE + name: fast | {name: _other(fast[name])} for name in base}
        return found

    @property
    def bases(self) -> tuple[str, ...]:
        """The lanes that others differ from by one number, by the beginning of their names."""
        return ("", LARGE) if LARGE in self.lanes else ("",)

    @functools.cached_property
    def together(self) -> dict[str, Path]:
        """`STEPS` steps of all lanes, in one compiled program."""

        def lane(numbers: Any) -> Path:
            transform = self.build(numbers)

            def step(carry: Any, _: None) -> Any:
                params, state = carry
                given = extra_arguments(params)
                updates, state = transform.update(gradients(params), state, params, **given)
                return (optax.apply_updates(params, updates), state), (updates, given["value"])

            return Path(*jax.lax.scan(step, (start(), transform.init(start())), length=STEPS)[1])

        names = list(self.lanes)
        columns = {
            name: jnp.asarray([self.lanes[key][name] for key in names], jnp.float32)
            for name in self.traceable
        }
        paths = jax.device_get(jax.jit(jax.vmap(lane, axis_size=len(names)))(columns))
        return {
            key: jax.tree.map(lambda leaf, row=row: leaf[row], paths)
            for row, key in enumerate(names)
        }

    @functools.cached_property
    def compiled(self) -> Callable[..., Any]:
        """`(numbers, gradients, state, params) -> (updates, state)`.

        Gradients are an argument, so that others than those of the quadratic can be had from it.
        """

        def update(numbers: Any, g: Any, state: Any, params: Any) -> Any:
            given = extra_arguments(params) | {"grad": g}
            return self.build(numbers).update(g, state, params, **given)

        return jax.jit(update)

    def alone(self, lane: str) -> PyTree:
        """The first updates of one lane, one compiled update after another."""
        numbers = as_arrays(self.lanes[lane])
        return walk(self.build(numbers), functools.partial(self.compiled, numbers), self.few)

    @functools.cached_property
    def plain(self) -> PyTree:
        """The first updates, nothing compiled."""
        return self.uncompiled(as_arrays(self.traceable))

    def uncompiled(self, numbers: Mapping[str, Any]) -> PyTree:
        """As `plain`, with these numbers."""
        transform = self.build(numbers)

        def update(g: Any, state: Any, params: Any) -> Any:
            return transform.update(g, state, params, **extra_arguments(params))

        return walk(transform, update, self.few)


def walk(transform: Any, update: Callable[..., Any], steps: int) -> PyTree:
    """Updates [steps, ...] from the start."""
    params = start()
    state, taken = transform.init(params), []
    for _ in range(steps):
        updates, state = update(gradients(params), state, params)
        taken.append(jax.device_get(updates))
        params = optax.apply_updates(params, updates)
    return jax.tree.map(lambda *leaves: np.stack(leaves), *taken)


def as_arrays(numbers: Mapping[str, float]) -> dict[str, Array]:
    """Numbers as a study passes them: float32 scalars."""
    return {name: jnp.float32(value) for name, value in numbers.items()}


def _other(value: float) -> float:
    """Another value, which should be felt: a half of it, or 0.05 where that is next to nothing."""
    return value / 2 if abs(value) >= 0.01 else 0.05
