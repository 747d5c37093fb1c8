"""Do an initializer, a transform or a model keep the contracts that a study relies on?

`initopt check NAME` holds anybody's to them, and the test suite every registered one.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from initopt_jax.conformance.examples import Examples
from initopt_jax.conformance.finding import Broken, Finding, Unchecked
from initopt_jax.conformance.initializers import check_initializer
from initopt_jax.conformance.kinds import KINDS, kind_of
from initopt_jax.conformance.models import check_model
from initopt_jax.conformance.transforms import check_transform
from initopt_jax.errors import ConfigError

__all__ = [
    "KINDS",
    "Broken",
    "Examples",
    "Finding",
    "Unchecked",
    "check",
    "check_initializer",
    "check_model",
    "check_transform",
    "kind_of",
]


def check(
    name: str,
    options: Mapping[str, Any] | None = None,
    static: Mapping[str, Any] | None = None,
    examples: Iterable[Examples] | None = None,
    kind: str | None = None,
) -> list[Finding]:
    """Hold what a name stands for to its contracts.

    Args:
        name: as in a config: of a registry, `jax.<name>`, `optax.<name>` or `module:function`.
        options: values for its options, as in a config.
        static: of a transform: options that choose its structure, as in a config.
        examples: of a model: what it is to learn; with them, any function of one's own is one.
        kind: `initializer`, `transform` or `model`; by default what the name says or, of a function
            of one's own, the way it is written.

    Returns:
        A finding per contract, in a fixed order.

    Raises:
        ConfigError: there is no such name or option, it refuses an option's value, or it is of a
            kind that has no contracts of its own.

    >>> [finding.outcome for finding in check("zeros")][:3]
    ['ok', 'ok', 'ok']
    """
    if kind is None:
        kind = "model" if ":" in name and examples is not None else kind_of(name)
    article = KINDS[kind]
    if static and kind != "transform":
        raise ConfigError(f"{name!r} is {article}, and has no static options; use --set")
    if examples is not None and kind != "model":
        raise ConfigError(f"{name!r} is {article}, and learns from no data of its own")
    if kind == "model":
        return check_model(name, options, examples)
    if kind == "initializer":
        return check_initializer(name, options)
    if kind == "transform":
        return check_transform(name, options, static)
    raise ConfigError(f"{name!r} is {article}, which a study alone can try")
