"""Do an initializer or a transform keep the promises that a study relies on?

`initopt check NAME` holds anybody's to them, and the test suite every registered one.
"""

from collections.abc import Mapping
from typing import Any

from initopt_jax.conformance.finding import Broken, Finding, Unchecked
from initopt_jax.conformance.initializers import check_initializer
from initopt_jax.conformance.transforms import check_transform
from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.initializers import MODEL_LEVEL
from initopt_jax.initializers import REGISTRY as INITIALIZERS
from initopt_jax.names import import_object
from initopt_jax.transforms import REGISTRY as TRANSFORMS
from initopt_jax.types import option_names

__all__ = ["Broken", "Finding", "Unchecked", "check", "check_initializer", "check_transform"]


def check(
    name: str,
    options: Mapping[str, Any] | None = None,
    static: Mapping[str, Any] | None = None,
) -> list[Finding]:
    """Hold what a name stands for to its promises.

    Args:
        name: as in a config: of a registry, `jax.<name>`, `optax.<name>` or `module:function`. A
            function whose first parameter is called `key`, or its second `shape` or `params`, is an
            initializer; any other makes a transform.
        options: values for its options, as in a config.
        static: of a transform: options that choose its structure, as in a config.

    Returns:
        A finding per promise, in a fixed order.

    Raises:
        ConfigError: there is no such name or option.

    >>> [finding.outcome for finding in check("zeros")][:3]
    ['ok', 'ok', 'ok']
    """
    if not _is_initializer(name):
        return check_transform(name, options, static)
    if static:
        raise ConfigError(f"{name!r} is an initializer, and has no static options; use --set")
    return check_initializer(name, options)


def _is_initializer(name: str) -> bool:
    if ":" in name:
        function = import_object("initializer or optimizer", name)
        first, second = [*option_names(function), "", ""][:2]
        return first == "key" or second in ("shape", "params")
    if name.startswith(("jax.", "optax.")):
        return name.startswith("jax.")
    if name in TRANSFORMS:
        return False
    if name in INITIALIZERS or name in MODEL_LEVEL:
        return True
    known = [*INITIALIZERS, *MODEL_LEVEL, *TRANSFORMS]
    others = "; or jax.<name>, optax.<name>, or 'module:function' from your own file"
    raise ConfigError(unknown_name("initializer or optimizer", name, known, others))
