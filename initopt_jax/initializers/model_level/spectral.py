"""The spectral condition: every layer takes vectors of entries of order 1 to such vectors."""

import math

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


def spectral(
    key: Array, params: PyTree, network: Network, *, gain: ArrayLike = 1.0
) -> tuple[PyTree, dict[str, Array]]:
    """Scales every kernel to the spectral norm that features of order 1 ask for.

    `W <- gain sqrt(fan_out / fan_in) W / ||W||_2`

    For normal weights this is `sigma = Theta(min(1, sqrt(fan_out / fan_in)) / sqrt(fan_in))`, as
    their norm is `sigma (sqrt(fan_in) + sqrt(fan_out))`; the condition holds exactly, and from
    other distributions too. The other half of the method are learning rates: see
    `spectral_multipliers`.

    Args:
        key: not used.
        params: first weights; their scale does not matter.
        network: the network; its data are not looked at.
        gain: the constant in the condition; above 0, concrete or traced.

    Returns:
        The weights, and `norm/<path>`: the largest spectral norm in the kernel, as it was found.

    Raises:
        ConfigError: if there is no kernel.
        ValueError: if a concrete `gain` is not above 0.

    Reference:
        Yang, Simon and Bernstein (2023), A spectral condition for feature learning, condition 1 and
        parametrization 1.

    Deviations:
        The paper states orders of magnitude; the constant is `gain`. It has dense layers: a
        convolution counts as the matrix of its patches, window times inputs to outputs. A kernel
        of zeros stays.
    """
    del key
    checks.positive("gain", gain)
    kernels = network.anatomy.kernels
    if not kernels:
        raise ConfigError("spectral is about kernels, and this model has no kernel")
    leaves = leaves_of(params)
    changed: dict[str, Array] = {}
    info: dict[str, Array] = {}
    for kernel in kernels:
        leaf = leaves[kernel.path]
        rows, columns = sides(kernel.layout, leaf.shape)
        parts = kernel.layout.take_apart(leaf)
        wide = parts.astype(jnp.promote_types(leaf.dtype, jnp.float32))
        norms = jax.lax.map(_norm, wide.reshape(-1, rows, columns))
        wanted = gain * math.sqrt(columns / rows)
        factors = jnp.where(norms == 0, 1.0, wanted / jnp.where(norms == 0, 1.0, norms))
        scaled = wide * factors.reshape(-1, *(1 for _ in parts.shape[1:]))
        changed[kernel.path] = kernel.layout.put_together(scaled, leaf.shape)
        info[f"norm/{kernel.path}"] = norms.max()
    return with_leaves(params, changed), info


def spectral_multipliers(anatomy: Anatomy, params: PyTree, *, kind: Kind = "sgd") -> Multipliers:
    """Learning rates under which updates meet the spectral condition, leaf by leaf.

    `sgd: fan_out / fan_in`, `adam: 1 / fan_in`

    The update of gradient descent has a spectral norm of the order of its gradient's,
    `sqrt(fan_in / fan_out)`; one of Adam has entries of order 1 and low rank, hence
    `sqrt(fan_in fan_out)`. Biases count as layers of one input: `fan_out`, and 1. Between two
    widths these multipliers have the ratios of `mup_multipliers`.

    Args:
        anatomy: of the network.
        params: of the network, arrays or shapes.
        kind: of the optimizer: `sgd`, or `adam` for those that divide by the gradients' size.

    Returns:
        Path to multiplier, for every leaf; for `transforms.scale_by_leaf`.

    Raises:
        ValueError: if `kind` is unknown.

    Reference:
        Yang, Simon and Bernstein (2023), parametrization 1 (SGD). That of Adam follows from
        condition 1 and agrees with Yang, Hu et al. (2022), table 3.

    Deviations:
        A convolution counts as in `spectral`.
    """
    require_kind(kind)
    found = {}
    for path, leaf in named_leaves(params):
        rows, columns = sides(anatomy.layouts[path], leaf.shape)
        found[path] = (columns if kind == "sgd" else 1) / rows
    return found


def _norm(matrix: Array) -> Array:
    return jnp.linalg.norm(matrix, ord=2)


ENTRIES = (
    ModelInitializer(
        name="spectral",
        refine=spectral,
        base="lecun_normal",
        formula="W <- gain sqrt(fan_out / fan_in) W / ||W||_2",
        reference="Yang, Simon and Bernstein (2023), condition 1 and parametrization 1",
    ),
)
