"""initopt-jax: how initialization and optimization shape what a neural network learns.

>>> import initopt_jax as iox
>>> study = iox.run("configs/effects_digits.yaml")  # doctest: +SKIP
"""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from initopt_jax import (
        data,
        initializers,
        models,
        modifiers,
        probes,
        schedules,
        stats,
        tasks,
        transforms,
        types,
    )
    from initopt_jax.config.schema import Config
    from initopt_jax.errors import CheckFailed, ConfigError, Interrupted, StudyError
    from initopt_jax.studies.catalogue import catalogue as list  # noqa: A004
    from initopt_jax.studies.preview import audit, check, plan
    from initopt_jax.studies.run import run
    from initopt_jax.studies.signal_propagation import probe
    from initopt_jax.studies.study import Study, open_study, report
    from initopt_jax.studies.verify import verify

    __version__: str

__all__ = [
    "CheckFailed",
    "Config",
    "ConfigError",
    "Interrupted",
    "Study",
    "StudyError",
    "__version__",
    "audit",
    "check",
    "data",
    "initializers",
    "list",
    "models",
    "modifiers",
    "open_study",
    "plan",
    "probe",
    "probes",
    "report",
    "run",
    "schedules",
    "stats",
    "tasks",
    "transforms",
    "types",
    "verify",
]

# Every public name, and where it is defined: `module` or `module:name`. Each verb of the command
# line is a function of the same name.
_HOMES = {
    "run": "studies.run:run",
    "report": "studies.study:report",
    "verify": "studies.verify:verify",
    "audit": "studies.preview:audit",
    "plan": "studies.preview:plan",
    "probe": "studies.signal_propagation:probe",
    "check": "studies.preview:check",
    "list": "studies.catalogue:catalogue",
    "open_study": "studies.study:open_study",
    "Study": "studies.study:Study",
    "Config": "config.schema:Config",
    "CheckFailed": "errors:CheckFailed",
    "ConfigError": "errors:ConfigError",
    "Interrupted": "errors:Interrupted",
    "StudyError": "errors:StudyError",
    "data": "data",
    "initializers": "initializers",
    "models": "models",
    "modifiers": "modifiers",
    "probes": "probes",
    "schedules": "schedules",
    "stats": "stats",
    "tasks": "tasks",
    "transforms": "transforms",
    "types": "types",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that `initopt --help` need not wait for JAX."""
    if name == "__version__":
        return importlib.metadata.version("initopt-jax")
    if name not in _HOMES:
        raise AttributeError(f"module 'initopt_jax' has no attribute {name!r}")
    module, _, attribute = _HOMES[name].partition(":")
    found = importlib.import_module(f"initopt_jax.{module}")
    return getattr(found, attribute) if attribute else found


def __dir__() -> Any:
    return sorted(__all__)
