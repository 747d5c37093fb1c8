"""ReZero and SkipInit: each residual branch is multiplied by a scalar that starts at 0."""

import jax.numpy as jnp
from jax.typing import ArrayLike

from initopt_jax import checks
from initopt_jax.initializers.model_level.branches import closing_scales, require_scale
from initopt_jax.networks.network import Network, leaves_of, require_branches, with_leaves
from initopt_jax.types import Array, ModelInitializer, PyTree


def rezero(
    key: Array, params: PyTree, network: Network, *, start: ArrayLike = 0.0
) -> tuple[PyTree, dict[str, Array]]:
    """Starts the scalar that multiplies each residual branch at 0: every block is the identity.

    `x_(i+1) = x_i + a_i F_i(x_i), a_i = start`

    Args:
        key: not used, nothing is drawn.
        params: first weights.
        network: the network; each branch has a leaf of one number that multiplies it after its last
            kernel. Of several, the last one is set.
        start: of the scalars, concrete or traced.

    Returns:
        The weights, and `depth`, the number of branches.

    Raises:
        ConfigError: if the network has no residual branch, or one of them no such scalar.
        ValueError: if a concrete `start` is not a finite number.

    Reference:
        Bachlechner, Majumder, Mao, Cottrell and McAuley (2020), ReZero is all you need: fast
        convergence at large depth, eq. 1. De and Smith (2020), Batch normalization biases residual
        blocks towards the identity function in deep networks: SkipInit is the same start, and may
        also be a small constant, at most `1 / sqrt(depth)`.

    Deviations:
        The scalar, and leaving out normalization, is the architecture's; SkipInit also asks for
        biases in the convolutions.
    """
    del key
    checks.number("start", start)
    require_branches("rezero", network)
    leaves = leaves_of(params)
    changed: dict[str, Array] = {}
    for branch in network.anatomy.branches:
        scalars = closing_scales(leaves, branch, scalar=True)
        require_scale("rezero", "a scalar per branch", branch, scalars)
        changed[scalars[-1]] = jnp.full_like(leaves[scalars[-1]], start)
    return with_leaves(params, changed), {"depth": jnp.float32(network.anatomy.depth)}


ENTRIES = (
    ModelInitializer(
        name="rezero",
        refine=rezero,
        base="he_normal",
        formula="x <- x + a F(x), a = 0 (also known as SkipInit)",
        reference="Bachlechner et al. (2020), eq. 1; De and Smith (2020), SkipInit",
    ),
)
