"""The maximal update parametrization: every layer learns features, however wide the network is."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.errors import ConfigError
from initopt_jax.initializers.model_level.multipliers import (
    Kind,
    Multipliers,
    require_kind,
    sides,
)
from initopt_jax.networks.anatomy import Anatomy
from initopt_jax.networks.network import Network, leaves_of, with_leaves
from initopt_jax.tree import named_leaves
from initopt_jax.types import Array, ModelInitializer, PyTree


def mup(
    key: Array,
    params: PyTree,
    network: Network,
    *,
    base_width: ArrayLike = 64.0,
    zero_readout: bool = False,
) -> tuple[PyTree, dict[str, Array]]:
    """Makes the output layer's weights smaller, the wider the network is.

    `W_out <- W_out sqrt(base_width / fan_in)`; all other weights stay

    Starts from weights of variance `c / fan_in`, which input and hidden layers keep; those of the
    output layer then have `c base_width / fan_in^2`. At the base width nothing changes. The other
    half of the method are learning rates: see `mup_multipliers`.

    Args:
        key: not used.
        params: first weights whose variance goes with `1 / fan_in`.
        network: the network; its data are not looked at.
        base_width: fan-in of the output layer in the network that all others are compared with;
            above 0, concrete or traced.
        zero_readout: the output layer starts at 0 instead, as the paper advises (its appendix
            D.2).

    Returns:
        The weights, and `width`: how many times wider than the base the network is.

    Raises:
        ConfigError: if no output layer follows a hidden one, or several have different fan-ins.
        ValueError: if a concrete `base_width` is not above 0, or `zero_readout` is not a bool.

    Reference:
        Yang and Hu (2021), Feature learning in infinite-width neural networks, and Yang, Hu et al.
        (2022), Tensor programs V, table 3 (initial variance).

    Deviations:
        Table 3, not the equivalent table 8: an initializer cannot put the latter's factor
        `1 / fan_in` behind the output layer.
    """
    del key
    checks.positive("base_width", base_width)
    checks.flag("zero_readout", zero_readout)
    width = _width(network.anatomy, params, base_width)
    factor = 0.0 if zero_readout else 1 / jnp.sqrt(width)
    leaves = leaves_of(params)
    changed = {path: leaves[path] * factor for path in _readouts(network.anatomy)}
    return with_leaves(params, changed), {"width": jnp.asarray(width, jnp.float32)}


def mup_multipliers(
    anatomy: Anatomy, params: PyTree, base: ArrayLike | PyTree, *, kind: Kind = "adam"
) -> Multipliers:
    """Learning rates of the maximal update parametrization, leaf by leaf.

    `sgd: r_out / r_in`, `adam: 1 / r_in`

    `r_in` and `r_out` tell how many times more inputs and outputs the leaf has than in the base
    network. That is table 3 in one line: inputs and biases have `r_in = 1` and get `fan_out`
    (SGD), 1 (Adam); the output layer has `r_out = 1` and gets `1 / fan_in` from both; hidden layers
    get 1 and `1 / fan_in`. At the base width every multiplier is 1.

    Chain `transforms.scale_by_leaf(mup_multipliers(...))` after the optimizer. `sgd` stands for all
    whose updates are linear in the gradients (momentum, Nesterov), `adam` for those that divide by
    their size (RMSprop, Adagrad). Adam's `eps` must be small against gradients that shrink with the
    width.

    Args:
        anatomy: of the network.
        params: of the network, arrays or shapes.
        base: the base network's weights, arrays or shapes, in the same tree; or one number, the
            fan-in of its output layer, where all widths grow together.
        kind: of the optimizer, `adam` or `sgd`.

    Returns:
        Path to multiplier, for every leaf.

    Raises:
        ConfigError: as `mup`, if `base` is a number; if `base` is a tree with other leaves.
        ValueError: if `kind` is unknown or a concrete number is not above 0.

    Reference:
        Yang, Hu et al. (2022), Tensor programs V, table 3 (SGD and Adam learning rates).

    Deviations:
        None. With a number for `base`, a vector that is no bias of the output layer counts as one
        that grows, which is wrong for one that meets the inputs themselves; a tree has no such
        doubt.

    >>> from initopt_jax.networks.anatomy import anatomy
    >>> def shapes(width):
    ...     sizes = {"in": (8, width), "mid": (width, width), "out": (width, 3)}
    ...     return {name: jax.ShapeDtypeStruct(size, "float32") for name, size in sizes.items()}
    >>> def apply(params, x):
    ...     return jnp.tanh(jnp.tanh(x @ params["in"]) @ params["mid"]) @ params["out"]
    >>> found = anatomy(apply, shapes(256), jnp.ones((2, 8)))
    >>> mup_multipliers(found, shapes(256), 64, kind="adam")
    {'in': 1.0, 'mid': 0.25, 'out': 0.25}
    >>> mup_multipliers(found, shapes(256), shapes(64), kind="sgd")
    {'in': 4.0, 'mid': 1.0, 'out': 0.25}
    """
    require_kind(kind)
    if jax.tree_util.all_leaves([base]) and getattr(base, "shape", ()) == ():
        checks.positive("base", base)
        grown = _grown_by(anatomy, params, _width(anatomy, params, base))
    else:
        grown = _grown_from(anatomy, params, base)
    return {
        path: (outputs if kind == "sgd" else 1.0) / inputs
        for path, (inputs, outputs) in grown.items()
    }


def _readouts(anatomy: Anatomy) -> list[str]:
    """The output layers whose inputs are other layers' outputs."""
    found = [path for path in anatomy.outputs if path not in anatomy.inputs]
    if not found:
        raise ConfigError("mup is about widths, and this model has no layer after a hidden one")
    return found


def _width(anatomy: Anatomy, params: PyTree, base: ArrayLike) -> ArrayLike:
    """How many times wider than the base the network is."""
    leaves = dict(named_leaves(params))
    fans = {
        path: sides(anatomy.layouts[path], leaves[path].shape)[0] for path in _readouts(anatomy)
    }
    if len(set(fans.values())) > 1:
        raise ConfigError(
            f"one base width cannot serve output layers of several fan-ins, got {fans}; give "
            "mup_multipliers the base network's shapes instead"
        )
    return next(iter(fans.values())) / base


def _grown_by(
    anatomy: Anatomy, params: PyTree, width: ArrayLike
) -> dict[str, tuple[ArrayLike, ArrayLike]]:
    kernels = {kernel.path for kernel in anatomy.kernels}
    last = {*anatomy.outputs, *(anatomy.bias_of(path) for path in anatomy.outputs)}
    grown: dict[str, tuple[ArrayLike, ArrayLike]] = {}
    for path, leaf in named_leaves(params):
        _, outputs = sides(anatomy.layouts[path], leaf.shape)
        hidden = path in kernels and path not in anatomy.inputs
        fixed = path in last or (path not in kernels and outputs == 1)
        grown[path] = (width if hidden else 1.0, 1.0 if fixed else width)
    return grown


def _grown_from(
    anatomy: Anatomy, params: PyTree, base: PyTree
) -> dict[str, tuple[ArrayLike, ArrayLike]]:
    leaves, others = dict(named_leaves(params)), dict(named_leaves(base))
    if leaves.keys() != others.keys():
        odd = sorted(leaves.keys() ^ others.keys())
        raise ConfigError(f"base must have the leaves of the network; only one of them has {odd}")
    grown: dict[str, tuple[ArrayLike, ArrayLike]] = {}
    for path, leaf in leaves.items():
        if len(leaf.shape) != len(others[path].shape):
            raise ConfigError(
                f"leaf {path!r} of base must have as many axes as that of the network, "
                f"{len(leaf.shape)}, got shape {tuple(others[path].shape)}"
            )
        layout = anatomy.layouts[path]
        here, there = sides(layout, leaf.shape), sides(layout, others[path].shape)
        grown[path] = (here[0] / there[0], here[1] / there[1])
    return grown


ENTRIES = (
    ModelInitializer(
        name="mup",
        refine=mup,
        base="lecun_normal",
        formula="W_out <- W_out sqrt(base_width / fan_in): variance base_width / fan_in^2",
        reference="Yang, Hu et al. (2022), Tensor programs V, table 3",
    ),
)
