"""An optimizer of a config tried on shapes before anything runs: what a step could not use."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax

from initopt_jax.errors import ConfigError
from initopt_jax.keys import NOISE_KEY
from initopt_jax.lookup.options import call_with
from initopt_jax.lookup.user_code import ASKS_FOR_VALUES
from initopt_jax.networks.dependence import depends, random_operations
from initopt_jax.precision import param_dtype
from initopt_jax.transforms.chance import holds_keys
from initopt_jax.tree import named_leaves
from initopt_jax.types import PyTree

Make = Callable[[Mapping[str, Any]], Any]
TRANSFORM = (
    "a function of its numbers that returns an optax.GradientTransformation: init(params) -> "
    "state, update(grads, state, params) -> (updates, state)"
)
SCHEDULE = "(count, steps, options) -> one number, which multiplies the learning rate"
UPHILL = 0.5  # the cosine of 60 degrees
NO_SCHEDULE = (
    "takes no schedule: under 'schedule:' its learning_rate is a function of the step, and it uses "
    "it as a number; write optax.scale_by_learning_rate(learning_rate), which takes both, or "
    "learning_rate(count) where it is callable, with a count of steps in the state; or leave out "
    "the schedule"
)


def try_values(
    what: str,
    function: Callable[..., Any],
    axes: Mapping[str, Sequence[float]],
    static: Mapping[str, Any],
    expects: str = "",
) -> None:
    """Call a function at every value, one axis at a time."""
    first = {name: values[0] for name, values in axes.items()}
    for name, values in axes.items() or [("", [0.0])]:
        for value in values:
            options = {**first, **({name: value} if name else {}), **static}
            call_with(what, function, options, expects)


def try_schedule(
    what: str,
    multiplier: Callable[..., Any],
    axes: Mapping[str, Sequence[float]],
    static: Mapping[str, Any],
    expects: str = "",
) -> None:
    """Call a schedule at every value, and trace it; refuse what gives no real number for a step."""

    def traced(**options: Any) -> None:
        at = functools.partial(multiplier, **options)
        made: Any = jax.eval_shape(at, jnp.zeros(()), jnp.full((), 10.0))
        shape, dtype = getattr(made, "shape", None), getattr(made, "dtype", None)
        if dtype is None or shape != () or jnp.issubdtype(dtype, jnp.complexfloating):
            got = f"{dtype} of shape {shape}" if dtype is not None else type(made).__name__
            raise ConfigError(f"{what} must give one real number for a step, got {got}")
        multiplier(jnp.zeros(()), 10.0, **options)

    try_values(what, traced, axes, static, expects)


def try_update(
    what: str,
    make: Make,
    numbers: Mapping[str, float],
    params: PyTree,
    *,
    unscheduled: Make | None = None,
    expects: str = "",
) -> tuple[bool, str]:
    """Trace one update with all numbers.

    Args:
        what: is tried, for messages.
        make: `(numbers) -> transformation`.
        numbers: by name, at values that it takes.
        params: shapes of the parameters.
        unscheduled: the same without its schedule, where it has one.
        expects: of a user's own function: what it must be.

    Returns:
        Whether its state holds random keys, and a note where it draws what no seed changes.

    Raises:
        ConfigError: it fails, its state changes its structure, or its updates are not like the
            parameters.
    """
    try:
        return _try(what, make, numbers, params, expects)
    except ConfigError as error:
        if unscheduled is None:
            raise
        try:
            _try(what, unscheduled, numbers, params, expects)
        except ConfigError as other:
            raise other from None
        raise ConfigError(f"{what} {NO_SCHEDULE}") from error


def uphill_note(what: str, make: Make, numbers: Mapping[str, float], params: PyTree) -> str:
    """A note where the first step goes up a plane, whose gradient is 1 everywhere; else empty.

    The updates and the gradient are compared by their angle, below 60 degrees: noise in many
    weights is at a right angle to nearly everything.

    Args:
        what: is tried, for the note.
        make: `(numbers) -> transformation`.
        numbers: by name, at values that it takes.
        params: shapes of the parameters.
    """

    @jax.jit
    def cosine() -> Any:
        start = jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), params)
        updates = jax.tree.leaves(_one_step(what, make, numbers, start)[2])
        flat = jnp.concatenate([jnp.ravel(leaf).astype(param_dtype()) for leaf in updates])
        return jnp.sum(flat) / (jnp.linalg.norm(flat) * flat.size**0.5)

    if not float(cosine()) > UPHILL:  # NaN where it does not move at all
        return ""
    return (
        f"{what} goes uphill in its first step on a plane: its updates have the sign of the "
        "gradient; a chain ends with optax.scale_by_learning_rate(learning_rate), which turns them"
    )


def _try(
    what: str, make: Make, numbers: Mapping[str, float], params: PyTree, expects: str
) -> tuple[bool, str]:
    traceable = {name: jax.ShapeDtypeStruct((), param_dtype()) for name in numbers}
    one_step = functools.partial(_one_step, what, make)
    key = jax.eval_shape(lambda: jax.random.key(0))

    def traced() -> Any:
        try:
            return jax.make_jaxpr(one_step, return_shape=True)(traceable, params, key)
        except jax.errors.ConcretizationTypeError as error:
            raise ConfigError(f"{what}: {_deciding(one_step, numbers, params)}") from error

    closed, (state, after, updates) = call_with(what, traced, {}, expects)
    if _kinds(state) != _kinds(after):
        raise ConfigError(
            f"{what}: its state has another structure, shape or dtype after an update than before, "
            "and cannot be carried from step to step"
        )
    if jax.tree.structure(updates) != jax.tree.structure(params):
        raise ConfigError(f"{what}: its updates are no tree like that of the parameters")
    for (path, given), (_, wanted) in zip(named_leaves(updates), named_leaves(params), strict=True):
        if given.shape != wanted.shape:
            raise ConfigError(
                f"{what}: its updates of {path} have shape {given.shape}, not {wanted.shape}"
            )
    return holds_keys(state), _of_chance(what, closed.jaxpr)


def _of_chance(what: str, jaxpr: Any) -> str:
    """A note where a step, whose last argument is a key, draws what no key changes."""
    own = random_operations(jaxpr)["random_bits"] > 0
    if not own or depends(jaxpr, [True] * len(jaxpr.outvars))[-1]:
        return ""
    return (
        f"{what} draws random numbers from a key of its own, the same for every seed; let its "
        "function take key, or its update the extra argument key"
    )


def _one_step(
    what: str, make: Make, numbers: Mapping[str, Any], params: PyTree, key: Any = None
) -> Any:
    own, each = jax.random.split(jax.random.key(0) if key is None else key)
    made = make({**numbers, NOISE_KEY: own})
    if not (callable(getattr(made, "init", None)) and callable(getattr(made, "update", None))):
        kind = type(made).__name__
        raise ConfigError(f"{what} must return an optax.GradientTransformation, got {kind}")
    transform = optax.with_extra_args_support(made)
    state = transform.init(params)
    value, grads = jax.value_and_grad(_cost)(params)
    result: Any = transform.update(
        grads, state, params, value=value, grad=grads, value_fn=_cost, key=each
    )
    if not (isinstance(result, tuple) and len(result) == 2):
        kind = type(result).__name__
        raise ConfigError(f"{what}: its update must return (updates, state), got {kind}")
    return state, result[1], result[0]


def _cost(params: PyTree, key: Any = None) -> Any:
    del key
    return sum((jnp.sum(leaf) for leaf in jax.tree.leaves(params)), jnp.zeros(()))


def _deciding(one_step: Callable[..., Any], numbers: Mapping[str, float], params: PyTree) -> str:
    """Which numbers cannot be traced, in words."""

    def traces(*names: str) -> bool:
        rest = {key: value for key, value in numbers.items() if key not in names}
        traced = {name: jax.ShapeDtypeStruct((), param_dtype()) for name in names}
        try:
            jax.eval_shape(lambda some, params: one_step(rest | some, params), traced, params)
        except jax.errors.ConcretizationTypeError:
            return False
        return True

    if not traces():  # the gradients' own values, then
        return ASKS_FOR_VALUES
    untraceable = [name for name in numbers if not traces(name)] or list(numbers)
    if any("." in name for name in untraceable):  # of a modifier or a schedule
        return (
            f"{' and '.join(untraceable)} cannot be traced and so not be swept: {ASKS_FOR_VALUES}"
        )
    return (
        f"{' and '.join(untraceable)} decides its structure and cannot be swept; "
        "move it under 'static:'"
    )


def _kinds(tree: PyTree) -> Any:
    return jax.tree.map(lambda leaf: (leaf.shape, str(leaf.dtype)), tree)
