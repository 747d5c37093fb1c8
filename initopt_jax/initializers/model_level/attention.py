"""The attention layers of a network, found by the names of their kernels."""

from dataclasses import dataclass

from initopt_jax.errors import ConfigError
from initopt_jax.networks.network import Network

PARTS = ("query", "key", "value", "out")


@dataclass(frozen=True)
class AttentionLeaves:
    """The kernels of one attention layer.

    Attributes:
        path: of the layer.
        query, key, value, out: paths of its kernels.
        times: how many layers it stands for: more than one in a stack run by a loop.
        crosses: whether queries and keys are made of different things, as in a decoder that looks
            at an encoder.
    """

    path: str
    query: str
    key: str
    value: str
    out: str
    times: int
    crosses: bool


def attention_layers(network: Network) -> tuple[AttentionLeaves, ...]:
    """The attention layers in order of use.

    A layer is where kernels `query/kernel`, `key/kernel`, `value/kernel` and `out/kernel` stand
    side by side, as in `flax.linen.MultiHeadDotProductAttention`.
    """
    kernels = {kernel.path: kernel for kernel in network.anatomy.kernels}
    times = {path: one.times for one in network.anatomy.branches for path in one.kernels}
    found = []
    for path in kernels:
        layer = path.removesuffix("out/kernel")
        query, key, value, out = (f"{layer}{part}/kernel" for part in PARTS)
        if path == out and layer[-1:] in ("", "/") and {query, key, value} <= kernels.keys():
            crosses = kernels[query].upstream != kernels[key].upstream
            name = layer.rstrip("/")
            found.append(AttentionLeaves(name, query, key, value, out, times.get(out, 1), crosses))
    return tuple(found)


def require_attention(name: str, network: Network) -> tuple[AttentionLeaves, ...]:
    """The attention layers; refuses a network without, for a method that is about them.

    Raises:
        ConfigError: the network has none.
    """
    found = attention_layers(network)
    if not found:
        raise ConfigError(
            f"{name} is a method for attention, and this model has no attention layer: four "
            "kernels side by side named '*query/kernel', '*key/kernel', '*value/kernel' and "
            "'*out/kernel', as flax.linen.MultiHeadDotProductAttention has them"
        )
    return found


def require_self_attention(name: str, network: Network) -> tuple[AttentionLeaves, ...]:
    """As `require_attention`; also refuses queries and keys that are made of different things.

    Raises:
        ConfigError: the network has no attention layer, or one that looks at something else.
    """
    found = require_attention(name, network)
    crossing = [layer.path for layer in found if layer.crosses]
    if crossing:
        raise ConfigError(
            f"{name} is written for an encoder or a decoder alone, and the queries and keys of "
            f"{crossing[0]!r} are made of different things"
        )
    return found


def blocks(name: str, network: Network) -> tuple[int, tuple[str, ...]]:
    """How many layers a Transformer has, and the kernels that depth-aware methods scale.

    Those are values and outputs of attention, and all kernels of branches without attention, the
    feed-forward ones.

    Raises:
        ConfigError: as `require_self_attention`.
    """
    found = require_self_attention(name, network)
    attending = {getattr(layer, part) for layer in found for part in PARTS}
    scaled = [path for layer in found for path in (layer.value, layer.out)]
    for branch in network.anatomy.branches:
        if not attending & set(branch.kernels):
            scaled += branch.kernels
    return sum(layer.times for layer in found), tuple(scaled)
