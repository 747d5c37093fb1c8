"""From a name in a config to what it names: registries, Optax, JAX, the user's own files."""

import functools
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, TypeVar

import jax
import optax

from initopt_jax.errors import ConfigError, near_names, nearest, unknown_name
from initopt_jax.lookup import trust
from initopt_jax.lookup.user_code import user_code
from initopt_jax.lookup.user_files import SourceFile, is_installed, roots
from initopt_jax.types import (
    Initializer,
    ModelInitializer,
    Modifier,
    Schedule,
    Transform,
    option_names,
)

T = TypeVar("T")
RATE = "learning_rate"
OWN = "; or 'module:function' from your own file"


@contextmanager
def importable_from(*folders: Path) -> Iterator[None]:
    """Let `module:function` find files in these folders for the time of the block.

    No bytecode is written: one of the same second and size could hide a change of the file.
    """
    added = [str(folder.resolve()) for folder in folders]
    sys.path[:0] = added
    writes_none, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.dont_write_bytecode = writes_none
        for folder in added:
            if folder in sys.path:
                sys.path.remove(folder)


@contextmanager
def own_code(files: Mapping[str, SourceFile]) -> Iterator[None]:
    """Let the user's own code run for the time of the block: it imports these files, and no others
    in the place of an installed package.

    Args:
        files: as `sources.collect` found them, by module.
    """
    guard = _InstalledFirst({name.partition(".")[0] for name in files})
    with importable_from(*roots(files)):
        sys.meta_path.insert(0, guard)
        try:
            yield
        finally:
            sys.meta_path.remove(guard)


class _InstalledFirst:
    """Finds installed packages before files of the same names in the user's folders.

    Python asks the folders first, so that a file which nobody named, such as `plotly.py`, would be
    run where this package imports one of those that it needs late.
    """

    def __init__(self, own: Collection[str]):
        self.own = own

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec of an installed module that is not the user's own; None for all others."""
        del target
        if path is not None or name in self.own:
            return None
        spec = PathFinder.find_spec(name, [p for p in sys.path if is_installed(Path(p).resolve())])
        return spec if spec is not None and spec.origin is not None else None


def import_object(kind: str, reference: str) -> Any:
    """The object that `module:name` names. Raises ConfigError where it cannot be had."""
    module_name, _, attribute = reference.partition(":")
    if not module_name or not attribute:
        raise ConfigError(f"{kind} {reference!r} must be written 'module:function'")
    what = f"{kind} {reference!r}"
    trust.refuse_module(what, module_name)
    module = _import_module(what, module_name)
    found: Any = module
    for part in attribute.split("."):
        with user_code(what):  # a module may make its names when they are asked for
            there = hasattr(found, part)
        if not there:
            raise ConfigError(f"{what}: " + unknown_name("name", part, _own_names(found)))
        found = getattr(found, part)
        trust.refuse_step(what, module_name, part, found)
    trust.refuse_object(what, module_name, found)
    if not callable(found):
        raise ConfigError(f"{what} must be a function that makes it, got {type(found).__name__}")
    try:
        inspect.signature(found)
    except (TypeError, ValueError):
        raise ConfigError(
            f"{what} does not say which arguments it takes; wrap it in a function"
        ) from None
    return found


def _import_module(what: str, name: str) -> ModuleType:
    where = "the current folder, the config's folder and the installed packages"
    absent = f"{what}: no module {name!r} in {where}{_meant(name)}"
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(absent)
    try:
        with user_code(f"{what}: importing it failed"):
            return importlib.import_module(name)
    except ConfigError as error:
        missing = error.__cause__
        lost = missing.name if isinstance(missing, ModuleNotFoundError) else None
        if lost and name.split(".")[0] == lost.split(".")[0]:
            raise ConfigError(absent) from None
        raise


def _meant(module: str) -> str:
    """What a module that is not there was likely meant to be."""
    dotted = module.removesuffix(".py").replace("/", ".").strip(".")
    if dotted != module:
        return f"; write {dotted!r}, as in an import"
    # `importable_from` puts the user's folders first.
    close = nearest(module, [each.name for each in pkgutil.iter_modules(sys.path[:2])])
    return f"; did you mean {close!r}?" if close else ""


def _own_names(found: Any) -> list[str]:
    """The public functions and classes that a module, or class, defines itself."""
    public = {name: value for name, value in vars(found).items() if not name.startswith("_")}
    return [
        name
        for name, value in public.items()
        if callable(value) and getattr(value, "__module__", None) == found.__name__
    ] or list(public)


def lookup(
    kind: str,
    name: str,
    registry: Mapping[str, T],
    also: str = OWN,
    elsewhere: Callable[[], Iterable[str]] = tuple,
) -> T:
    """The registry's entry of a name. Raises ConfigError with the nearest match.

    Args:
        kind: of thing, for the message.
        name: as in a config.
        registry: by name.
        also: what else may be written.
        elsewhere: gives names that may be meant besides those of the registry.
    """
    if name not in registry:
        also_near = list(elsewhere())
        raise ConfigError(
            unknown_name(kind, name, registry, also, elsewhere=also_near, last=bool(also_near))
        )
    return registry[name]


def find_transform(name: str, registry: Mapping[str, Transform]) -> Transform:
    """A transform by registry name, `optax.<name>` or `module:function`."""
    if ":" in name:
        make = import_object("optimizer", name)
        return Transform(name, make, _first_line(make), reference=name, origin="user")
    if name.startswith("optax."):
        make = _of_optax(name)
        return Transform(name, make, _first_line(make), reference="Optax", origin="optax")
    return lookup("optimizer", name, registry, "; or optax.<name>" + OWN, optax_optimizers)


def find_schedule(name: str, registry: Mapping[str, Schedule]) -> Schedule:
    """A schedule by registry name or `module:function`: `(count, steps, **options) -> number`."""
    if ":" in name:
        found = import_object("schedule", name)
        if len(option_names(found)) < 2:
            raise ConfigError(f"schedule {name!r} must take (count, steps), then its options")
        return Schedule(name, found, _first_line(found), reference=name)
    return lookup("schedule", name, registry)


def find_modifier(name: str, registry: Mapping[str, Modifier]) -> Modifier:
    """A modifier by registry name or `module:function`.

    A user's function whose first parameter is called `inner` stands around the optimizer; of others
    the attribute `place` says whether they change gradients (by default) or updates.
    """
    if ":" in name:
        make = import_object("modifier", name)
        inside = next(iter(option_names(make)), "") == "inner"
        place = "wrapper" if inside else getattr(make, "place", "pre-transform")
        if place not in ("pre-transform", "post-transform", "wrapper"):
            raise ConfigError(
                f"modifier {name!r}: its place must be pre-transform (of gradients) or "
                f"post-transform (of updates), got {place!r}"
            )
        return Modifier(name, place, make, _first_line(make), reference=name)
    return lookup("modifier", name, registry)


def find_initializer(
    name: str, registry: Mapping[str, Initializer | ModelInitializer]
) -> Initializer | ModelInitializer:
    """An initializer by registry name, `jax.<name>` or `module:function`.

    A user's function may carry its distribution as the attribute `distribution`:
    `(shape, **options) -> DistributionSpec`; the audit then holds its draws to it. One
    whose second parameter is called `params` sees the whole network: `(key, params, network,
    **options) -> (params, info)`. It starts from weights of the initializer that its attribute
    `base` names, by default `lecun_normal`.
    """
    if ":" in name:
        draw = import_object("initializer", name)
        if list(option_names(draw))[1:2] == ["params"]:
            base = getattr(draw, "base", "lecun_normal")
            return ModelInitializer(name, draw, base, formula=_first_line(draw), reference=name)
        distribution = getattr(draw, "distribution", None)
        return Initializer(name, draw, distribution, formula=_first_line(draw), reference=name)
    if name.startswith("jax."):
        attribute = name.removeprefix("jax.")
        if name not in jax_initializers():
            message = unknown_name("initializer", name, jax_initializers(), last=True)
            raise ConfigError(message)
        found = getattr(jax.nn.initializers, attribute)
        return Initializer(
            name, _from_jax(attribute, found), None, formula=_first_line(found), reference="JAX"
        )
    return lookup("initializer", name, registry, "; or jax.<name>" + OWN, jax_initializers)


WITHOUT_FANS = ("constant", "normal", "truncated_normal", "uniform")  # of jax.nn.initializers


def _from_jax(attribute: str, found: Callable[..., Any]) -> Callable[..., Any]:
    """JAX names some initializers (`zeros`) and factories of initializers (`he_normal()`) alike."""
    if attribute in ("zeros", "ones"):
        return found

    def draw(key: Any, shape: Any, dtype: Any, **options: Any) -> Any:
        if hasattr(shape, "fans") and attribute not in WITHOUT_FANS:  # a KernelShape
            known = shape.fans or f"not known: {shape.why}"
            raise ValueError(
                f"jax.{attribute} reads fan-in and fan-out off the shape, and those of this leaf "
                f"are {known}"
            )
        return found(**options)(key, shape, dtype)

    return draw


FUNCTIONS = (FunctionType, functools.partial)  # Optax's nadam is a partial


def optax_optimizers() -> list[str]:
    """The optimizers of Optax that need nothing but numbers: `optax.<name>`.

    >>> {"optax.adam", "optax.contrib.muon"} <= set(optax_optimizers())
    True
    """
    places = (("optax.", optax), ("optax.contrib.", optax.contrib))
    return [
        prefix + name
        for prefix, module in places
        for name, found in sorted(vars(module).items())
        if isinstance(found, FUNCTIONS)
        and not name.startswith(("_", "scale_by_"))
        and RATE in inspect.signature(found).parameters
        and not _wants_functions(found)
    ]


def jax_initializers() -> list[str]:
    """The initializers of JAX: `jax.<name>`.

    >>> "jax.glorot_normal" in jax_initializers()
    True
    """
    found = sorted(vars(jax.nn.initializers).items())
    return [
        f"jax.{name}"
        for name, value in found
        if callable(value) and not inspect.isclass(value) and not name.startswith("_")
    ]


def _of_optax(name: str) -> Callable[..., Any]:
    """What makes the transformation of a name in Optax. Raises ConfigError where nothing does."""
    known = optax_optimizers()
    found = _attribute(optax, name.removeprefix("optax."))
    if found is None:
        raise ConfigError(unknown_name("optimizer", name, known, last=True))
    made = inspect.signature(found).return_annotation if isinstance(found, FUNCTIONS) else None
    kinds = (optax.GradientTransformation, optax.GradientTransformationExtraArgs)
    if made not in (*kinds, inspect.Signature.empty):
        close = near_names(re.sub("ScaleBy|State$", "", name), known, last=True)
        hint = f"; did you mean {close[0]!r}?" if close else "."
        if re.search("schedule|decay", name):
            hint = "; a schedule is one of `initopt list schedules`, under schedule:."
        kind = "is a class" if inspect.isclass(found) else "makes no gradient transformation"
        raise ConfigError(
            f"optimizer {name!r} {kind}{hint} Allowed: those of `initopt list transforms`"
        )
    if _wants_functions(found):
        raise ConfigError(
            f"optimizer {name!r} wraps another or wants a function of its own; call it in a "
            "function of yours, named as 'module:function', or see `initopt list modifiers`"
        )
    _refuse_part(name, found, known)
    return found


# Parts of Optax's optimizers: what has the same effect in a config, where its name does not say it.
WHOLE = {
    "differentially_private_aggregate": "optax.contrib.dpsgd",
    "ema": "optax.sgd",
    "identity": "optax.sgd",
    "scale": "optax.sgd",
    "scale_by_belief": "optax.adabelief",
    "scale_by_distance_over_gradients": "optax.contrib.dog",
    "scale_by_factored_rms": "optax.adafactor",
    "scale_by_optimistic_gradient": "optax.optimistic_gradient_descent",
    "scale_by_polyak": "optax.polyak_sgd",
    "scale_by_rms": "optax.rmsprop",
    "scale_by_rss": "optax.adagrad",
    "scale_by_sign": "optax.sign_sgd",
    "scale_by_stddev": "optax.rmsprop",
    "scale_by_trust_ratio": "optax.lamb",
    "scale_by_zoom_linesearch": "optax.lbfgs",
    "trace": "optax.sgd",
}
AS_MODIFIER = {
    "adaptive_grad_clip": "adaptive_clip",
    "add_decayed_weights": "decoupled_weight_decay",
    "add_noise": "gradient_noise",
    "apply_every": "accumulate",
    "clip": "clip_by_value",
    "clip_by_block_rms": "clip_by_leaf_norm",
    "clip_by_global_norm": "clip_by_global_norm",
    "freeze": "freeze",
}


def _refuse_part(name: str, found: Callable[..., Any], known: Sequence[str]) -> None:
    """Refuse what turns gradients into updates that no learning rate has turned downhill.

    Raises:
        ConfigError: it is such a part; with what to write.
    """
    part = name.rpartition(".")[2]
    rated = any(option.endswith(RATE) for option in inspect.signature(found).parameters)
    if name in known or part == f"scale_by_{RATE}":
        return
    if rated and not part.startswith("scale_by_"):  # such as polyak_sgd, by its largest rate
        return
    whole = WHOLE.get(part) or next(
        (full for full in known if full.rpartition(".")[2] == part.removeprefix("scale_by_")), ""
    )
    instead = [f"the optimizer {whole!r}"] if whole else []
    instead += [f"under modifiers: {AS_MODIFIER[part]!r}"] if part in AS_MODIFIER else []
    chain = f"optax.chain({name}(...), optax.scale_by_learning_rate(learning_rate))"
    instead += [f"a function of yours, named as 'module:function', that returns {chain}"]
    raise ConfigError(
        f"optimizer {name!r} is a part of optimizers: it follows the gradient uphill, or not at "
        f"all, as no learning rate stands behind it; write {', or '.join(instead)}"
    )


def _wants_functions(found: Callable[..., Any]) -> bool:
    """Whether an argument without a default is no number, by its annotation."""
    return any(
        parameter.default is parameter.empty
        and parameter.annotation is not parameter.empty
        and not re.search("float|int|Numeric|Array", str(parameter.annotation))
        for parameter in inspect.signature(found).parameters.values()
        if parameter.kind is not parameter.VAR_KEYWORD
    )


def _attribute(module: Any, dotted: str) -> Any:
    """What a dotted name stands for in a module; None for what is not there or not public."""
    found = module
    for part in dotted.split("."):
        if part.startswith("_") or not hasattr(found, part):
            return None
        found = getattr(found, part)
    return found


def _first_line(function: Any) -> str:
    lines = str(getattr(function, "__doc__", None) or "").strip().splitlines()
    return lines[0] if lines else ""
