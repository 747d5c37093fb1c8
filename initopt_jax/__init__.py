"""initopt-jax: how initialization and optimization shape what a neural network learns.

>>> import initopt_jax as iox
>>> study = iox.run("configs/effects_digits.yaml")  # doctest: +SKIP
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initopt_jax import initializers, probes, transforms
    from initopt_jax.errors import ConfigError, Interrupted, StudyError
    from initopt_jax.studies.run import run
    from initopt_jax.studies.study import Study, open_study

__all__ = [
    "ConfigError",
    "Interrupted",
    "Study",
    "StudyError",
    "initializers",
    "open_study",
    "probes",
    "run",
    "transforms",
]

_HOME = {
    "ConfigError": "errors",
    "Interrupted": "errors",
    "StudyError": "errors",
    "Study": "studies.study",
    "open_study": "studies.study",
    "run": "studies.run",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `initopt --help` need not wait for JAX."""
    if name in _HOME:
        return getattr(importlib.import_module(f"initopt_jax.{_HOME[name]}"), name)
    if name in __all__:
        return importlib.import_module(f"initopt_jax.{name}")
    raise AttributeError(f"module 'initopt_jax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
