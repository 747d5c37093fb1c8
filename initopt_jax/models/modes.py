"""How a model is told whether it trains: the flags that are understood, and what each one means."""

import dataclasses
import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any

from flax import linen as nn
from flax import nnx

from initopt_jax.errors import ConfigError
from initopt_jax.types import Array, Model, PyTree

# True in training.
TRAINS = ("train", "training", "is_training", "is_train", "train_mode")
# True in evaluation.
EVALUATES = (
    "deterministic",
    "use_running_average",
    "eval",
    "eval_mode",
    "is_eval",
    "evaluation",
    "inference",
    "inference_mode",
    "is_inference",
)
FLAGS = {**dict.fromkeys(TRAINS, True), **dict.fromkeys(EVALUATES, False)}  # value in training
KEYS = ("key", "rng")  # of pure functions
# Defaults of arguments that choose a mode in words.
MODES = ("train", "training", "eval", "evaluation", "val", "test", "infer", "inference", "predict")
UNDERSTOOD = (
    "flags that are understood are train, training, is_training (true in training) and "
    "deterministic, use_running_average, inference, eval (true in evaluation)"
)


def flags_of(
    what: str, function: Callable[..., Any], *, skip: int, also: Collection[str] = ()
) -> dict[str, bool]:
    """The flags that a function takes, each with its value in training.

    Args:
        what: the function, for messages.
        function: by whose signature flags are known.
        skip: so many arguments come first that are no flags.
        also: further arguments that are given.

    Raises:
        ConfigError: it needs an argument that nobody gives, or takes a mode in words.

    >>> flags_of("mine", lambda x, *, deterministic, training=False: x, skip=1)
    {'deterministic': False, 'training': True}
    """
    flags: dict[str, bool] = {}
    for parameter in list(inspect.signature(function).parameters.values())[skip:]:
        name, default = parameter.name, parameter.default
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or name in also:
            continue
        required = default is parameter.empty
        if name in FLAGS and parameter.kind is not parameter.POSITIONAL_ONLY:
            if not (required or default is None or isinstance(default, bool | int)):
                raise ConfigError(f"{what} takes {name}={default!r}, which must be true or false")
            flags[name] = FLAGS[name]
        elif required:
            raise ConfigError(
                f"{what} needs {name!r}, and a study gives it its inputs alone and whether it "
                f"trains; {UNDERSTOOD}; give any other argument a default"
            )
        elif isinstance(default, str) and default.lower() in MODES:
            raise ConfigError(f"{what} takes {name}={default!r}; {UNDERSTOOD}")
    return flags


def told(flags: Mapping[str, bool], train: bool) -> dict[str, bool]:
    """The flags' values in training or evaluation.

    >>> told({"deterministic": False}, train=True)
    {'deterministic': False}
    """
    return {name: trains == train for name, trains in flags.items()}


def refuse_flags(what: str, make: Any, options: Collection[str]) -> None:
    """Refuse options of a module's class that a study sets itself, in training and evaluation."""
    given = [name for name in options if name in FLAGS]
    if given and isinstance(make, type):
        raise ConfigError(
            f"{what}: {given[0]} is set by the study, otherwise in training than in evaluation; "
            "leave it out (to do without dropout, set its rate to 0)"
        )


def linen_in_mode(
    module: nn.Module, flags: Collection[str], train: bool
) -> tuple[nn.Module, list[str]]:
    """A Linen module whose own flags, and those of the modules in its fields, are set.

    A flag that is None is left to `__call__` where that takes it (in `flags`), and to the module
    that holds it, unless that is `nn.Sequential`, which hands none on. Modules that are made inside
    of `__call__` are not reached.

    Returns:
        The module (the given one where nothing is set), and the flags that `__call__` takes and
        that must not be given besides, as they are set in a field.
    """
    own = [name for name in flags if isinstance(getattr(module, name, None), bool)]
    unset = [name for name in FLAGS if name not in flags]
    return _set(module, train, unset, {}), own


def _set(module: nn.Module, train: bool, unset: Collection[str], known: dict[int, Any]) -> Any:
    """`linen_in_mode` of a module; `unset`: flags that are set where they are None, too."""
    if id(module) in known:  # held twice, its weights are shared
        return known[id(module)]
    changed: dict[str, Any] = {}
    within = tuple(FLAGS) if isinstance(module, nn.Sequential) else ()
    for field in dataclasses.fields(module):
        value = getattr(module, field.name, None)
        if field.name in ("parent", "name"):
            continue
        if field.name in FLAGS:
            if isinstance(value, bool) or (value is None and field.name in unset):
                changed[field.name] = FLAGS[field.name] == train
        else:
            held = _held(value, train, within, known)
            if held is not value:
                changed[field.name] = held
    known[id(module)] = module.clone(**changed) if changed else module
    return known[id(module)]


def _held(value: Any, train: bool, unset: Collection[str], known: dict[int, Any]) -> Any:
    """What a field holds, its modules set; the value itself where there is nothing to set."""
    if isinstance(value, nn.Module):
        return _set(value, train, unset, known)
    if isinstance(value, list | tuple):
        items = [_held(item, train, unset, known) for item in value]
        if any(new is not old for new, old in zip(items, value, strict=True)):
            return type(value)(items) if type(value) in (list, tuple) else type(value)(*items)
    elif isinstance(value, Mapping):
        made = {key: _held(item, train, unset, known) for key, item in value.items()}
        if any(made[key] is not value[key] for key in made):
            return made
    return value


def nnx_in_mode(module: nnx.Module, train: bool) -> nnx.Module:
    """A copy of an NNX module in training or evaluation, and all modules in it.

    As `module.train()` and `module.eval()` do, which are called where a class has its own; besides,
    attributes that are true or false and called like a flag.
    """
    switched = nnx.clone(module)
    for _, part in nnx.iter_modules(switched):
        for name, trains in FLAGS.items():
            value = getattr(part, name, None)
            standard = name in ("deterministic", "use_running_average") and hasattr(part, name)
            if isinstance(value, bool) or standard:
                setattr(part, name, trains == train)
    method = "train" if train else "eval"
    own = getattr(type(switched), method)
    if own is not getattr(nnx.Module, method) and callable(own):
        own(switched)
    return switched


def pure_in_mode(model: Model) -> Model:
    """A pair of pure functions whose `apply` may name its flag and its key otherwise, or lack them.

    Raises:
        ConfigError: `apply` needs an argument that nobody gives.
    """
    try:
        parameters = inspect.signature(model.apply).parameters
    except (TypeError, ValueError):
        return model
    flags = flags_of("apply of the Model", model.apply, skip=3, also=KEYS)
    keys = [name for name in KEYS if name in parameters]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if (flags == {"train": True} or (takes_any and not flags)) and (keys == ["key"] or takes_any):
        return model

    def apply(
        params: PyTree,
        model_state: PyTree,
        inputs: Array,
        *,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        options: dict[str, Any] = {**told(flags, train), **dict.fromkeys(keys, key)}
        return model.apply(params, model_state, inputs, **options)

    return Model(model.init, apply)
