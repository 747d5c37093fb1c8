"""The parametrization of the neural tangent kernel, for a network that does not have it."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.errors import ConfigError
from initopt_jax.initializers.model_level.multipliers import Kind, Multipliers, require_kind
from initopt_jax.keys import named_key
from initopt_jax.networks.anatomy import Anatomy
from initopt_jax.networks.network import Network, leaves_of, with_leaves
from initopt_jax.tree import named_leaves
from initopt_jax.types import Array, ModelInitializer, PyTree


def ntk(
    key: Array,
    params: PyTree,
    network: Network,
    *,
    weight_scale: ArrayLike = 1.0,
    bias_scale: ArrayLike = 0.1,
) -> tuple[PyTree, dict[str, Array]]:
    """First weights of a network in the parametrization of the neural tangent kernel.

    `W = weight_scale omega / sqrt(fan_in)`, `b = bias_scale beta`, `omega, beta ~ N(0, 1)`

    Kernels are multiplied by `weight_scale`, biases drawn anew. What the network computes is then
    what the parametrization has it compute; that training moves `omega`, not `W`, is the learning
    rates' affair: see `ntk_multipliers`.

    Args:
        key: of the biases, one stream per path.
        params: LeCun normal first weights: `N(0, 1 / fan_in)`.
        network: the network; its data are not looked at.
        weight_scale: standard deviation of a unit's sums; above 0, concrete or traced. The paper
            has 1.
        bias_scale: of the biases; at least 0, concrete or traced. 0.1 in the paper's experiments.

    Returns:
        The weights, and no measurement.

    Raises:
        ConfigError: if there is no kernel.
        ValueError: if a concrete scale is out of range.

    Reference:
        Jacot, Gabriel and Hongler (2018), Neural tangent kernel, section 2.

    Deviations:
        `weight_scale` is not in the paper.
    """
    checks.positive("weight_scale", weight_scale)
    checks.non_negative("bias_scale", bias_scale)
    kernels = network.anatomy.kernels
    if not kernels:
        raise ConfigError("ntk is about kernels, and this model has no kernel")
    leaves = leaves_of(params)
    changed = {kernel.path: leaves[kernel.path] * weight_scale for kernel in kernels}
    for path in _biases(network.anatomy):
        leaf = leaves[path]
        wide = jnp.promote_types(leaf.dtype, jnp.float32)
        drawn = jax.random.normal(named_key(key, path), leaf.shape, wide)
        changed[path] = drawn * bias_scale
    return with_leaves(params, changed), {}


def ntk_multipliers(
    anatomy: Anatomy,
    params: PyTree,
    *,
    weight_scale: ArrayLike = 1.0,
    bias_scale: ArrayLike = 0.1,
    kind: Kind = "sgd",
) -> Multipliers:
    """Learning rates under which a standard network trains as one in this parametrization.

    `sgd: c^2`, `adam: c`, with `c = weight_scale / sqrt(fan_in)` (kernels), `bias_scale` (biases)

    With `W = c omega` the gradient of `omega` is `c` times that of `W`, and a step of `omega` moves
    `W` by `c` times as much. A method linear in the gradients (gradient descent, momentum,
    Nesterov) gets both factors: exactly `c^2`. One whose updates do not change with the gradients'
    size (Adam, RMSprop, Adagrad) gets the second only: `c`, exactly where `eps` is 0, or the
    leaf's own `eps / c`.

    Args:
        anatomy: of the network.
        params: of the network, arrays or shapes.
        weight_scale: as of `ntk`.
        bias_scale: as of `ntk`; at 0 biases do not train.
        kind: of the optimizer, `sgd` or `adam`.

    Returns:
        Path to multiplier, for every leaf, 1 for those that are neither; for
        `transforms.scale_by_leaf`.

    Raises:
        ValueError: if `kind` is unknown or a concrete scale is out of range.

    Reference:
        Jacot, Gabriel and Hongler (2018), section 2; the remark there that a learning rate of 1 is
        like 0.01 in a standard network of width 100.

    Deviations:
        None; the paper trains by gradient flow.
    """
    checks.positive("weight_scale", weight_scale)
    checks.non_negative("bias_scale", bias_scale)
    require_kind(kind)
    scales: dict[str, ArrayLike] = dict.fromkeys(_biases(anatomy), bias_scale)
    leaves = dict(named_leaves(params))
    for kernel in anatomy.kernels:
        fan_in, _ = kernel.fans(leaves[kernel.path].shape)
        scales[kernel.path] = weight_scale / fan_in**0.5
    power = 2 if kind == "sgd" else 1
    return {path: scales.get(path, 1.0) ** power for path in leaves}


def _biases(anatomy: Anatomy) -> list[str]:
    found = [anatomy.bias_of(kernel.path) for kernel in anatomy.kernels]
    return [path for path in found if path is not None]


ENTRIES = (
    ModelInitializer(
        name="ntk",
        refine=ntk,
        base="lecun_normal",
        formula="W = weight_scale omega / sqrt(fan_in); b = bias_scale beta; omega, beta ~ N(0, 1)",
        reference="Jacot, Gabriel and Hongler (2018), section 2",
    ),
)
