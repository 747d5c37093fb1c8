"""Does what a model declares act? Dropout and batch statistics in training, neither in evaluation.

Read from the operations of one training step and one evaluation, before anything is trained: what
depends on the key, and which statistics come out as they went in.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax import nnx

from initopt_jax.errors import ConfigError
from initopt_jax.keys import stable_hash
from initopt_jax.models.fit import Forms, batch_of
from initopt_jax.models.modes import UNDERSTOOD
from initopt_jax.networks.dependence import depends, random_operations
from initopt_jax.tree import named_leaves
from initopt_jax.types import Model, PyTree, Shape

STATISTICS = "batch_stats/"  # of a Linen module, by name
FEW = 4  # examples of a trial
SHIFT = 0.1  # of weights, so that none is 0
CLOSE = 1e-4  # of the largest output: sums of other numbers beside it may be taken otherwise
COMPILER = {"xla_backend_optimization_level": 0}


@dataclasses.dataclass(frozen=True)
class Declared:
    """What a model says that it does in training.

    Attributes:
        chance: what drops units or the like, as `name=rate`.
        statistics: paths in its state that a training step moves.
        notes: what it holds that is the same for every seed, for whoever reads the results.
    """

    chance: tuple[str, ...] = ()
    statistics: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()


def declared(made: Any, options: Mapping[str, Any]) -> Declared:
    """What a model declares by its options and, of an NNX module, by its parts.

    A rate is a number above 0 whose name speaks of dropping (`dropout`, `drop_path_rate`). The
    layers of a Linen module are seen when they are called.

    Args:
        made: what the function of a user returned.
        options: of that function, as in a config.
    """
    chance = _rates("", options)
    statistics: set[str] = set()
    notes: list[str] = []
    if isinstance(made, nnx.Module):
        for path, part in nnx.iter_modules(made):
            place = "".join(f"{step}." for step in path)
            chance |= _rates(place, vars(part))
            if isinstance(part, nnx.Dropout) and _is_rate(part.rate):
                chance[f"{place}rate"] = float(part.rate)
        kept = nnx.to_flat_state(nnx.state(made, nnx.BatchStat))
        statistics = {"/".join(map(str, path)) for path, _ in kept}
        notes = _fixed_state(made)
    rates = tuple(f"{name}={rate:g}" for name, rate in chance.items())
    return Declared(rates, frozenset(statistics), tuple(notes))


def _fixed_state(module: nnx.Module) -> list[str]:
    """A note on numbers in an instance's state that may have been drawn, once for all seeds."""
    _, _, _, others = nnx.split(module, nnx.Param, nnx.RngState, ...)
    varied = []
    for path, variable in nnx.to_flat_state(others):
        value = np.asarray(variable.get_value())
        if value.size and np.issubdtype(value.dtype, np.floating) and np.ptp(value) > 0:
            varied.append("/".join(map(str, path)))
    if not varied:
        return []
    note = f"the state {', '.join(varied)} of the NNX module is that of the instance, the same for "
    return [note + "every seed; to draw it from the seed, return from_nnx(function of rngs)"]


def require_modes(
    name: str, model: Model, known: Declared, forms: Forms, shape: Shape, batch: int = 2
) -> None:
    """Refuse a model that is not in training while it trains, or in training while it is measured.

    Args:
        name: of the model, for messages.
        model: the model.
        known: what it declares.
        forms: shapes of its weights and state.
        shape: of one example.
        batch: how many of them are tried.

    Raises:
        ConfigError: what it declares never acts; its random numbers in training do not follow the
            key; or it draws from the key in evaluation.
    """
    still, rates = _Watch(), dict.fromkeys(known.chance)
    with nn.intercept_methods(still):
        trained = _ForwardTrace(model, forms, batch_of(shape, batch), train=True)
    rates |= dict.fromkeys(still.rates)
    evaluated = _ForwardTrace(model, forms, batch_of(shape, batch), train=False)
    if evaluated.follows_key:
        raise ConfigError(
            f"model {name!r} draws random numbers in evaluation: whether it trains does not reach "
            f"the layer that does; {UNDERSTOOD}"
        )
    if still.resting:
        raise ConfigError(
            f"model {name!r}: {', '.join(still.resting)} never drops anything, in training either; "
            f"{UNDERSTOOD}; hand it on to the layer, or set its rate to 0"
        )
    if rates and not trained.follows_key:
        raise ConfigError(
            f"model {name!r} declares {', '.join(rates)}, and its outputs in training do not "
            f"depend on the key: nothing is ever dropped, or the same at every step; {UNDERSTOOD}; "
            "hand it on to the layer that drops, which draws from the key, or set the rate to 0"
        )
    if trained.draws - evaluated.draws and not trained.uses_key:
        raise ConfigError(
            f"model {name!r} draws random numbers in training that are the same for every key; "
            "draw them from the key that apply is given (make_rng('dropout'), or the module's Rngs)"
        )
    fixed = [
        path for path in trained.unmoved if path.startswith(STATISTICS) or path in known.statistics
    ]
    if fixed:
        raise ConfigError(
            f"model {name!r}: batch statistics never move, in training either: {', '.join(fixed)}; "
            f"{UNDERSTOOD}; hand it on to the normalization"
        )


def require_apart(name: str, model: Model, inputs: np.ndarray) -> None:
    """Refuse a model whose evaluation changes its state, or mixes the examples of a batch.

    Args:
        name: of the model, for messages.
        model: the model.
        inputs: examples [N, ...], of which a few are tried.

    Raises:
        ConfigError: it does either.
    """
    few = np.asarray(inputs[: 2 * FEW])
    few = np.take(few, np.arange(2 * FEW), axis=0, mode="wrap")
    mixed = np.concatenate([few[:1], few[FEW + 1 :]])

    def evaluate(key: Any, inputs: Any, mixed: Any) -> Any:
        params, state = model.init(key, inputs)
        moved = [_shifted(path, leaf) for path, leaf in named_leaves(params)]
        params = jax.tree.unflatten(jax.tree.structure(params), moved)
        outputs, after = model.apply(params, state, inputs, train=False)
        return outputs[0], model.apply(params, state, mixed, train=False)[0][0], state, after

    compiled = jax.jit(evaluate, compiler_options=dict(COMPILER))
    one, other, state, after = jax.device_get(compiled(jax.random.key(0), few[:FEW], mixed))
    for (path, was), (_, now) in zip(named_leaves(state), named_leaves(after), strict=True):
        if np.asarray(was).tobytes() != np.asarray(now).tobytes():
            raise ConfigError(
                f"model {name!r} changes its state in evaluation: {path}; return it as it is with "
                "train=False"
            )
    one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
    size = max(np.max(np.abs(one), initial=0.0), np.max(np.abs(other), initial=0.0))
    if np.isfinite(size) and np.max(np.abs(one - other), initial=0.0) > CLOSE * size:
        raise ConfigError(
            f"model {name!r}: in evaluation the outputs of an example depend on the others in its "
            "batch; normalize by running averages in evaluation, and keep the first axis for "
            f"examples; {UNDERSTOOD}"
        )


def _shifted(path: str, leaf: Any) -> Any:
    """A leaf moved a little, so that no weight is 0."""
    if not jnp.issubdtype(leaf.dtype, jnp.floating):
        return leaf
    draw = np.random.default_rng(stable_hash(path)).standard_normal(leaf.shape, np.float32)
    return leaf + jnp.asarray(SHIFT * draw, leaf.dtype)


class _Watch:
    """Sees the layers of Linen modules as they are called.

    Attributes:
        rates: those declared in the fields of modules, as `place.name=rate`.
        resting: dropout layers that have a rate, and returned their inputs each time.
    """

    def __init__(self) -> None:
        self._acted: dict[str, bool] = {}
        self.rates: dict[str, None] = {}

    @property
    def resting(self) -> list[str]:
        return [name for name, acted in self._acted.items() if not acted]

    def __call__(self, call: Any, arguments: Any, options: Any, context: Any) -> Any:
        made = call(*arguments, **options)
        module = context.module
        if context.method_name != "__call__":
            return made
        place = "/".join(map(str, module.path)) or type(module).__name__
        if isinstance(module, nn.Dropout):
            if _is_rate(module.rate):
                text = f"{place} (Dropout, rate {float(module.rate):g})"
                given = [*arguments, *options.values()]
                acts = not any(made is value for value in given)
                self._acted[text] = self._acted.get(text, False) or acts
        else:
            fields = {f.name: getattr(module, f.name, None) for f in dataclasses.fields(module)}
            found = _rates(f"{place}.", fields)
            self.rates |= dict.fromkeys(f"{name}={rate:g}" for name, rate in found.items())
        return made


class _ForwardTrace:
    """The operations of a forward pass with a key.

    Attributes:
        follows_key: whether the outputs depend on the key.
        uses_key: whether the outputs or the state after it do.
        unmoved: paths in the state that come out as they went in.
        draws: the random operations in it, and how many of each.
    """

    def __init__(self, model: Model, forms: Forms, inputs: Any, *, train: bool):
        def forward(params: PyTree, state: PyTree, key: Any, inputs: Any) -> Any:
            return model.apply(params, state, inputs, key=key, train=train)

        key = jax.eval_shape(lambda: jax.random.key(0))
        given = (forms.params, forms.state, key, inputs)
        jaxpr = jax.make_jaxpr(forward)(*given).jaxpr
        weights, kept = (len(jax.tree.leaves(tree)) for tree in given[:2])
        outputs = len(jaxpr.outvars) - kept
        wanted = [number < outputs for number in range(len(jaxpr.outvars))]
        self.follows_key = depends(jaxpr, wanted)[weights + kept]
        self.uses_key = depends(jaxpr, [True] * len(wanted))[weights + kept]
        paths = [path for path, _ in named_leaves(forms.state)]
        before, after = jaxpr.invars[weights : weights + kept], jaxpr.outvars[outputs:]
        self.unmoved = [p for p, a, b in zip(paths, before, after, strict=True) if a is b]
        self.draws = random_operations(jaxpr)


def _rates(place: str, values: Mapping[str, Any]) -> dict[str, float]:
    """Those of the values that are rates of dropping, by their names."""
    return {
        f"{place}{name}": float(value)
        for name, value in values.items()
        if _drops(str(name)) and _is_rate(value)
    }


def _drops(name: str) -> bool:
    lower = name.lower()
    return "drop" in lower and not any(word in lower for word in ("keep", "surviv"))


def _is_rate(value: Any) -> bool:
    return isinstance(value, float) and 0 < value <= 1
