"""From a Flax Linen module to a `Model`: two pure functions, plain nested dicts between them."""

from typing import Any

import jax
from flax import linen as nn
from flax import nnx

from initopt_jax.errors import ConfigError
from initopt_jax.keys import named_key
from initopt_jax.models.modes import flags_of, linen_in_mode, pure_in_mode, told
from initopt_jax.models.nnx_adapter import from_nnx
from initopt_jax.types import Array, Model, PyTree


def from_linen(module: nn.Module) -> Model:
    """Any Linen module as a model.

    `params` is the module's collection of that name; every other collection (such as
    `batch_stats`) is part of `model_state`, which a forward pass returns updated with `train=True`
    and unchanged otherwise. Whether it trains is told to the module by the flags that its
    `__call__` takes and those among its fields and the modules that these hold, see `modes.FLAGS`:
    `train`, `training`, `deterministic`, `use_running_average` and the like. `key` serves all of
    its random streams.

    Args:
        module: an instance; its `__call__` takes a batch [B, ...] and returns outputs [B, K].

    Returns:
        `init(key, inputs) -> (params, model_state)` and
        `apply(params, model_state, inputs, *, key=None, train=False) -> (outputs, model_state)`.

    Raises:
        ConfigError: `__call__` needs an argument besides inputs and flags.

    >>> import jax.numpy as jnp
    >>> model = from_linen(nn.Dense(3))
    >>> params, model_state = model.init(jax.random.key(0), jnp.ones((1, 2)))
    >>> jax.tree.map(jnp.shape, params), model_state
    ({'bias': (3,), 'kernel': (2, 3)}, {})
    """
    flags = flags_of(f"{type(module).__name__}.__call__", type(module).__call__, skip=2)
    switched = {}
    for mode in (False, True):
        switched[mode], own = linen_in_mode(module, flags, mode)
    flags = {name: trains for name, trains in flags.items() if name not in own}

    def init(key: Array, inputs: Array) -> tuple[PyTree, PyTree]:
        made = switched[False].init(key, inputs, **told(flags, False))
        variables: dict[str, Any] = dict(nn.unbox(made))
        params = variables.pop("params", {})
        return params, variables

    def apply(
        params: PyTree,
        model_state: PyTree,
        inputs: Array,
        *,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        options: dict[str, Any] = dict(told(flags, train))
        if key is not None:
            # A stream that is not there is drawn from that of this name.
            options["rngs"] = {"dropout": key, "params": named_key(key, "streams")}
        variables = {"params": params, **model_state}
        mutable = list(model_state) if train else []
        outputs, updated = switched[train].apply(variables, inputs, mutable=mutable, **options)
        return outputs, {**model_state, **updated}

    return Model(init, apply)


def as_model(value: Any, name: str = "model") -> Model:
    """What a user's own function returned, as a model.

    Args:
        value: a `Model`, or an instance of a Linen or NNX module.
        name: how messages call it.

    Returns:
        The model.

    Raises:
        ConfigError: `value` is neither.
    """
    if isinstance(value, Model):
        return pure_in_mode(value)
    if isinstance(value, nn.Module):
        return from_linen(value)
    if isinstance(value, nnx.Module):
        return from_nnx(value)
    if is_module_class(value):
        raise ConfigError(f"{name} must return an instance of {value.__name__}, got the class")
    raise ConfigError(
        f"{name} must return a Model, a flax.linen.Module or a flax.nnx.Module, "
        f"got {type(value).__name__}"
    )


def is_model(value: Any) -> bool:
    """Whether `as_model` takes what a function returned."""
    return isinstance(value, Model | nn.Module | nnx.Module)


def is_module_class(value: Any) -> bool:
    """Whether a value is a class of Flax modules, Linen or NNX."""
    return isinstance(value, type) and issubclass(value, nn.Module | nnx.Module)


def brings_weights(value: Any) -> bool:
    """Whether what a function returned has weights already, which no key changes: an NNX module."""
    return isinstance(value, nnx.Module)


def param_shapes(model: Model, inputs: jax.ShapeDtypeStruct | Array) -> PyTree:
    """Shapes and dtypes of a model's parameters; nothing is computed.

    Args:
        model: the model.
        inputs: shape and dtype of a batch [B, ...], or a batch.

    Returns:
        A tree like `params` with a `jax.ShapeDtypeStruct` for each leaf.

    >>> import jax.numpy as jnp
    >>> shapes = param_shapes(from_linen(nn.Dense(3)), jax.ShapeDtypeStruct((1, 2), jnp.float32))
    >>> shapes["kernel"].shape
    (2, 3)
    """
    params, _ = jax.eval_shape(model.init, jax.random.key(0), inputs)
    return params
