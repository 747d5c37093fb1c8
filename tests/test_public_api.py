"""What `import initopt_jax as iox` offers: a list, and each verb of the command line."""

import inspect
import re
import types
from pathlib import Path

import pytest

import initopt_jax as iox
from initopt_jax.cli.commands import app
from tests.doc_blocks import blocks_of

ROOT = Path(__file__).resolve().parents[1]
PUBLIC = [
    "CheckFailed", "Config", "ConfigError", "Interrupted", "Study", "StudyError", "__version__",
    "audit", "check", "data", "initializers", "list", "models", "modifiers", "open_study", "plan",
    "probe", "probes", "report", "run", "schedules", "stats", "tasks", "transforms", "types",
    "verify",
]  # fmt: skip
MODULES = [name for name in PUBLIC if isinstance(getattr(iox, name), types.ModuleType)]


def test_the_public_names_are_these():
    assert dir(iox) == PUBLIC
    assert sorted(iox.__all__) == PUBLIC
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        _ = iox.rnu


@pytest.mark.parametrize("name", sorted(set(PUBLIC) - set(MODULES) - {"__version__"}))
def test_public_functions_and_classes_say_what_they_take(name):
    public = getattr(iox, name)
    text = inspect.getdoc(public)
    assert text
    if inspect.isfunction(public):
        missing = [n for n in inspect.signature(public).parameters if f"{n}:" not in text]
        assert missing == []


def test_every_verb_of_the_command_line_is_a_function():
    verbs = {(c.name or c.callback.__name__).rstrip("_") for c in app.registered_commands}
    assert verbs >= {"run", "report", "verify", "audit", "probe", "check", "list"}
    assert all(inspect.isfunction(getattr(iox, verb)) for verb in verbs)


@pytest.mark.parametrize("name", MODULES)
def test_a_public_module_lists_what_it_offers(name):
    module = getattr(iox, name)
    if name != "types":
        assert all(hasattr(module, name) for name in module.__all__)
    assert module.__doc__


def test_what_docs_name_is_public():
    """`iox.NAME` and `iox.MODULE.NAME` in every page."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    missing = []
    for page in pages:
        for block in blocks_of(page):
            for name, inner in re.findall(r"\biox\.(\w+)(?:\.(\w+))?", block.text):
                known = name in PUBLIC
                if known and inner and name in MODULES:
                    known = hasattr(getattr(iox, name), inner)
                if not known:
                    missing.append((page.name, name, inner))
    assert missing == []


def test_the_version_is_that_of_the_package():
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", iox.__version__)
