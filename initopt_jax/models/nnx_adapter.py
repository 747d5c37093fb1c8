"""From a Flax NNX module to a `Model`: its structure apart from its arrays."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from initopt_jax.errors import ConfigError
from initopt_jax.keys import named_key
from initopt_jax.models.modes import flags_of, nnx_in_mode, told
from initopt_jax.types import Array, Model, PyTree

Flat = dict[tuple[Any, ...], Any]  # variables by their place in the module


def from_nnx(module: nnx.Module | Callable[[nnx.Rngs], nnx.Module]) -> Model:
    """Any NNX module as a model.

    `params` holds its `nnx.Param`s, by the names of its attributes. Every other variable (the
    `nnx.BatchStat`s of a normalization, or of a class of one's own) is part of `model_state`, which
    a forward pass returns updated with `train=True` and unchanged otherwise. Random streams are
    neither: with `train=True` each starts anew from `key` and its own place in the module.

    Dropout and normalization are switched as `module.train()` and `module.eval()` switch them, and
    so are attributes called like a flag of `modes.FLAGS`; the flags that `__call__` takes are given
    to it. Where it takes `rngs`, it gets streams of the key.

    Args:
        module: an instance, or a function of `nnx.Rngs` that makes one; the module's `__call__`
            takes a batch [B, ...] and returns outputs [B, K]. It is not changed.

    Returns:
        `init(key, inputs) -> (params, model_state)` and
        `apply(params, model_state, inputs, *, key=None, train=False) -> (outputs, model_state)`.
        Of an instance, `init` gives the weights that it has, whatever the key.

    Raises:
        ConfigError: `module` is neither, or its `__call__` needs an argument that nobody gives; or
            (when called) it has random streams and is trained without a key.

    >>> model = from_nnx(lambda rngs: nnx.Linear(2, 3, rngs=rngs))
    >>> params, model_state = model.init(jax.random.key(0), jnp.ones((1, 2)))
    >>> jax.tree.map(jnp.shape, params), model_state
    ({'bias': (3,), 'kernel': (2, 3)}, {})
    """
    template = _template(module)
    call = type(template).__call__
    flags = flags_of(f"{type(template).__name__}.__call__", call, skip=2, also=("rngs",))
    rngs = inspect.signature(call).parameters.get("rngs")
    graphs = {train: _parts(template, train)[0] for train in (False, True)}
    _, weights, streams, others = _parts(template, False)

    def init(key: Array, inputs: Array) -> tuple[PyTree, PyTree]:
        del inputs
        made = module if isinstance(module, nnx.Module) else module(nnx.Rngs(key))
        _, weights, _, others = _parts(made, False)
        return _nested(weights), _nested(others)

    def apply(
        params: PyTree,
        model_state: PyTree,
        inputs: Array,
        *,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        if train and streams and key is None:
            raise ConfigError(
                f"{type(template).__name__} has random streams: training it needs a key"
            )
        variables = _filled(weights, params) | _filled(others, model_state)
        own = jax.random.key(0) if key is None else key
        variables |= _started(streams, own)
        # Without `copy` the variables of the template would be written to.
        now = nnx.merge(graphs[train], nnx.from_flat_state(variables), copy=True)
        options: dict[str, Any] = dict(told(flags, train))
        if rngs and (rngs.default is rngs.empty or (train and key is not None)):
            options["rngs"] = nnx.Rngs(named_key(own, "rngs"))
        outputs = now(inputs, **options)
        if not train:
            return outputs, model_state
        after = dict(nnx.to_flat_state(nnx.state(now)))
        return outputs, _nested({path: after[path] for path in others})

    return Model(init, apply)


def _template(module: Any) -> nnx.Module:
    """The module, or one like it without arrays."""
    if isinstance(module, nnx.Module):
        return module
    if isinstance(module, type) or not callable(module):
        raise ConfigError(
            "from_nnx takes an instance of nnx.Module, or a function of nnx.Rngs that makes one, "
            f"got {module!r}"
        )
    made = nnx.eval_shape(lambda: module(nnx.Rngs(0)))
    if not isinstance(made, nnx.Module):
        raise ConfigError(
            f"the function given to from_nnx must make an nnx.Module, got {type(made).__name__}"
        )
    return made


def _parts(module: nnx.Module, train: bool) -> tuple[Any, Flat, Flat, Flat]:
    """The structure in training or evaluation; weights, random streams and all else by place."""
    graph, *states = nnx.split(nnx_in_mode(module, train), nnx.Param, nnx.RngState, ...)
    weights, streams, others = (dict(nnx.to_flat_state(state)) for state in states)
    return graph, weights, streams, others


def _nested(variables: Flat) -> dict[str, Any]:
    """Their values as nested dicts; a list's items are named by their numbers."""
    tree: dict[str, Any] = {}
    for path, variable in variables.items():
        place = tree
        for part in path[:-1]:
            place = place.setdefault(str(part), {})
        place[str(path[-1])] = variable.get_value()
    return tree


def _filled(variables: Flat, values: Mapping[str, Any]) -> Flat:
    """The variables with the values of a tree that `_nested` made."""
    filled: Flat = {}
    for path, variable in variables.items():
        value: Any = values
        for part in path:
            value = value[str(part)]
        # A module may write into its variables, and NumPy's arrays would be written to in place.
        filled[path] = variable.replace(jnp.asarray(value))
    return filled


def _started(streams: Flat, key: Array) -> Flat:
    """Random streams at their beginning, each with a key of its own."""
    started: Flat = {}
    for path, variable in streams.items():
        if isinstance(variable, nnx.RngKey):
            own = named_key(key, "/".join(map(str, path)))
            started[path] = variable.replace(own)
        else:
            started[path] = variable.replace(jnp.zeros((), jnp.uint32))
    return started
