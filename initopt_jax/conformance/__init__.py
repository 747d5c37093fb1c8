"""Do an initializer, a transform or a model keep the promises that a study relies on?

`initopt check NAME` holds anybody's to them, and the test suite every registered one.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

from initopt_jax.conformance.examples import Examples
from initopt_jax.conformance.finding import Broken, Finding, Unchecked
from initopt_jax.conformance.initializers import check_initializer
from initopt_jax.conformance.models import check_model
from initopt_jax.conformance.transforms import check_transform
from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.initializers import MODEL_LEVEL
from initopt_jax.initializers import REGISTRY as INITIALIZERS
from initopt_jax.models import REGISTRY as MODELS
from initopt_jax.names import import_object
from initopt_jax.transforms import REGISTRY as TRANSFORMS
from initopt_jax.types import option_names

__all__ = [
    "Broken",
    "Examples",
    "Finding",
    "Unchecked",
    "check",
    "check_initializer",
    "check_model",
    "check_transform",
]


def check(
    name: str,
    options: Mapping[str, Any] | None = None,
    static: Mapping[str, Any] | None = None,
    examples: Iterable[Examples] | None = None,
) -> list[Finding]:
    """Hold what a name stands for to its promises.

    Args:
        name: as in a config: of a registry, `jax.<name>`, `optax.<name>` or `module:function`. A
            function with an option `outputs` makes a model; one whose first parameter is called
            `key`, or its second `shape` or `params`, is an initializer; any other makes a
            transform.
        options: values for its options, as in a config.
        static: of a transform: options that choose its structure, as in a config.
        examples: of a model: what it is to learn; with them, any function of one's own is one.

    Returns:
        A finding per promise, in a fixed order.

    Raises:
        ConfigError: there is no such name or option, or it refuses an option's value.

    >>> [finding.outcome for finding in check("zeros")][:3]
    ['ok', 'ok', 'ok']
    """
    kind = "model" if ":" in name and examples is not None else _kind(name)
    article = {"initializer": "an initializer", "model": "a model"}.get(kind, "an optimizer")
    if static and kind != "transform":
        raise ConfigError(f"{name!r} is {article}, and has no static options; use --set")
    if examples is not None and kind != "model":
        raise ConfigError(f"{name!r} is {article}, and learns from no data of its own")
    if kind == "model":
        return check_model(name, options, examples)
    if kind == "initializer":
        return check_initializer(name, options)
    return check_transform(name, options, static)


def _kind(name: str) -> Literal["initializer", "model", "transform"]:
    if ":" in name:
        names = [*option_names(import_object("initializer, optimizer or model", name)), "", ""]
        if "outputs" in names:
            return "model"
        first, second = names[:2]
        drawn = first == "key" or second in ("shape", "params")
        return "initializer" if drawn else "transform"
    if name.startswith(("jax.", "optax.")):
        return "initializer" if name.startswith("jax.") else "transform"
    if name in TRANSFORMS:
        return "transform"
    if name in MODELS:
        return "model"
    if name in INITIALIZERS or name in MODEL_LEVEL:
        return "initializer"
    known = [*INITIALIZERS, *MODEL_LEVEL, *TRANSFORMS, *MODELS]
    others = "; or jax.<name>, optax.<name>, or 'module:function' from your own file"
    raise ConfigError(unknown_name("initializer, optimizer or model", name, known, others))
