"""Where a residual branch ends: what scales it as a whole, and what comes after all branches."""

from collections.abc import Mapping

from initopt_jax.errors import ConfigError
from initopt_jax.networks.anatomy import Branch
from initopt_jax.networks.network import Network
from initopt_jax.types import Array


def closing(branch: Branch) -> tuple[str, ...]:
    """The leaves used after the branch's last kernel, in order: biases, scales, gates."""
    return branch.leaves[branch.leaves.index(branch.kernels[-1]) + 1 :]


def end_of(network: Network, branch: Branch) -> tuple[str, ...]:
    """The leaves to multiply so that the branch as a whole is multiplied.

    The last scale after the last kernel, or that kernel where there is none, and what is added to
    it later.
    """
    after = closing(branch)
    scales = [place for place, path in enumerate(after) if path in branch.scales]
    first, *later = after[scales[-1] :] if scales else (branch.kernels[-1], *after)
    return (first, *(path for path in later if is_added(network, path)))


def closing_scales(leaves: Mapping[str, Array], branch: Branch, *, scalar: bool) -> tuple[str, ...]:
    """The scales after the branch's last kernel that are one number, or those that are more.

    In a stack run by a loop, one number per layer.
    """
    return tuple(
        path
        for path in closing(branch)
        if path in branch.scales and (leaves[path].size in (1, branch.times)) == scalar
    )


def require_scale(name: str, what: str, branch: Branch, found: tuple[str, ...]) -> None:
    """Refuse a branch that lacks the scale a method starts.

    Raises:
        ConfigError: `found` is empty.
    """
    if not found:
        raise ConfigError(
            f"{name} starts {what}, and the residual branch that ends with kernel "
            f"{branch.kernels[-1]!r} has none: no such leaf multiplies activations after it"
        )


def is_added(network: Network, path: str) -> bool:
    """Whether a leaf is added to activations, as a bias is."""
    return network.anatomy.met.get(path, "") in ("add", "sub")


def heads(network: Network) -> tuple[str, ...]:
    """The layers that make the outputs, kernels and biases, after the last residual branch."""
    found = network.anatomy
    last = set(found.branches[-1].leaves)
    leaves = []
    for kernel in found.kernels:
        if kernel.path in found.outputs and last <= kernel.upstream:
            layer = kernel.path.rpartition("/")[0]
            own = (path for path in found.met if path.rpartition("/")[0] == layer)
            later = (path for path in own if path not in kernel.upstream)
            leaves += [kernel.path, *(path for path in later if is_added(network, path))]
    return tuple(leaves)
