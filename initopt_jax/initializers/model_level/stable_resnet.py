"""Stable ResNet: residual branches are scaled so that their variances add up to a bounded sum."""

import math

import jax.numpy as jnp

from initopt_jax import checks
from initopt_jax.errors import ConfigError
from initopt_jax.initializers.model_level.branches import end_of
from initopt_jax.networks.network import Network, leaves_of, require_branches, with_leaves
from initopt_jax.types import Array, ModelInitializer, PyTree


def stable_resnet(
    key: Array, params: PyTree, network: Network, *, decreasing: bool = False
) -> tuple[PyTree, dict[str, Array]]:
    """Scales each residual branch: all alike by depth, or less and less from the first on.

    `x_k = x_(k-1) + lambda_k F_k(x_(k-1))`, with `lambda_k = 1 / sqrt(L)` (uniform) or
    `lambda_k = 1 / (sqrt(k) log(k + 1))` (decreasing), `k = 1 ... L`

    Args:
        key: not used, nothing is drawn.
        params: He-normal first weights.
        network: the network.
        decreasing: which of the two.

    Returns:
        The weights, `depth`, and `factor/<path>` of the kernel or scale that ends each branch.

    Raises:
        ConfigError: if the network has no residual branch; or `decreasing` and a stack of layers
            runs in a loop, where one leaf would need several factors.
        ValueError: if `decreasing` is not True or False.

    Reference:
        Hayou, Clerico, He, Deligiannidis, Doucet and Rousseau (2021), Stable ResNet: its
        definition (the sum of `lambda_k^2` is bounded) and its two cases, uniform and decreasing.

    Deviations:
        `lambda` multiplies the branch's last kernel and its bias (where scales follow, the last one
        and its bias): the function is the paper's at the start, but what trains is the product,
        not a weight behind a constant. Of a decreasing sequence the paper asks that the sum stays
        bounded; this is one. Normalization without a scale at the end of a branch would undo the
        factor; the paper's networks have none.
    """
    del key
    checks.flag("decreasing", decreasing)
    require_branches("stable_resnet", network)
    found, leaves = network.anatomy, leaves_of(params)
    repeated = [branch for branch in found.branches if branch.times > 1]
    if decreasing and repeated:
        raise ConfigError(
            f"stable_resnet with decreasing=True scales every layer differently, and "
            f"{repeated[0].kernels[-1]!r} stands for {repeated[0].times} layers run by a loop"
        )
    changed: dict[str, Array] = {}
    info = {"depth": jnp.float32(found.depth)}
    for number, branch in enumerate(found.branches, start=1):
        depending = math.sqrt(number) * math.log(number + 1)
        factor = 1 / (depending if decreasing else math.sqrt(found.depth))
        end = end_of(network, branch)
        changed.update({path: leaves[path] * factor for path in end})
        info[f"factor/{end[0]}"] = jnp.float32(factor)
    return with_leaves(params, changed), info


ENTRIES = (
    ModelInitializer(
        name="stable_resnet",
        refine=stable_resnet,
        base="he_normal",
        formula="x <- x + lambda F(x), lambda = 1 / sqrt(L) or 1 / (sqrt(k) log(k + 1))",
        reference="Hayou et al. (2021), Stable ResNet",
    ),
)
