"""The shape of the package: who may import whom, and what no file of it may contain.

Each rule is a function from one parsed file to its offences; a test runs all rules over the
package, and a second one feeds every rule a snippet that it must refuse.
"""

import ast
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import pytest

PACKAGE = "initopt_jax"
Node = TypeVar("Node", bound=ast.AST)
ROOT = Path(__file__).resolve().parents[1]
LINES = 450

# From high to low: a module may import what stands in a later row, never its own row or an earlier.
LAYERS = (
    {"cli"},
    {"studies"},
    {"reports"},
    {"planning", "store"},
    {"conformance", "engine", "stats"},
    {"tasks"},
    {"audits", "models", "probes"},
    {"augmentations", "initializers", "modifiers"},
    {"config", "data", "lookup", "networks", "transforms"},
    {"keys", "memory", "norms", "opening", "plain_values", "schedules", "tree"},
    {"checks", "errors", "precision", "types"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
CODE_LOADERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}


@dataclass(frozen=True)
class Source:
    """One file of the package: its dotted name and its text."""

    module: str
    text: str

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    @property
    def part(self) -> str:
        """The file or folder directly under the package; empty for the package itself."""
        return self.module.partition(".")[2].partition(".")[0]

    def nodes(self, kind: type[Node]) -> Iterator[Node]:
        return (node for node in ast.walk(self.tree) if isinstance(node, kind))

    def imports(self) -> Iterator[str]:
        """Dotted names of all that is imported, function bodies included."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                prefix = "." * node.level + (node.module or "")
                yield from (f"{prefix}.{alias.name}" for alias in node.names)

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        return ((ast.unparse(call.func), call) for call in self.nodes(ast.Call))


Rule = Callable[[Source], Iterator[str]]


def imports_point_downward(source: Source) -> Iterator[str]:
    if source.part and source.part not in RANK:
        yield f"{source.part!r} has no row in LAYERS"
        return
    for name in source.imports():
        top, _, rest = name.partition(".")
        if top == "":
            yield f"relative import of {name}"
        if top != PACKAGE or not source.part:
            continue
        target = rest.partition(".")[0]
        if target != source.part and RANK.get(target, -1) <= RANK[source.part]:
            yield f"imports {name}, which is not below {source.part!r}"


def only_models_know_flax(source: Source) -> Iterator[str]:
    if source.part != "models":
        yield from (f"imports {n}" for n in source.imports() if n.split(".")[0] == "flax")


def no_experiments(source: Source) -> Iterator[str]:
    foreign = {"experiments", "tests", "benchmarks"}
    yield from (f"imports {n}" for n in source.imports() if n.split(".")[0] in foreign)


def no_private_modules_of_others(source: Source) -> Iterator[str]:
    yield from (f"imports {n}" for n in source.imports() if "_src" in n.split("."))
    for node in source.nodes(ast.Attribute):
        if node.attr == "_src":
            yield f"reaches into {ast.unparse(node)}"


def no_assert(source: Source) -> Iterator[str]:
    yield from (f"line {node.lineno}: assert" for node in source.nodes(ast.Assert))


def no_print(source: Source) -> Iterator[str]:
    if source.part != "cli":
        yield from (f"line {c.lineno}: print" for name, c in source.calls() if name == "print")


def no_code_in_data(source: Source) -> Iterator[str]:
    """Nothing that could run code from a file: no pickle in any guise."""
    yield from (f"imports {n}" for n in source.imports() if n.split(".")[0] in CODE_LOADERS)
    for name, call in source.calls():
        if name in {"eval", "exec"} or name.rpartition(".")[2] in {"read_pickle", "to_pickle"}:
            yield f"line {call.lineno}: {name}"
        for keyword in call.keywords:
            unsafe = not (isinstance(keyword.value, ast.Constant) and keyword.value.value is False)
            if keyword.arg == "allow_pickle" and unsafe:
                yield f"line {call.lineno}: allow_pickle"


def safe_yaml(source: Source) -> Iterator[str]:
    """`yaml.load` only with a subclass of SafeLoader that the same file defines."""
    safe = {
        node.name
        for node in source.nodes(ast.ClassDef)
        if any(ast.unparse(base).endswith("SafeLoader") for base in node.bases)
    }
    for name, call in source.calls():
        loaders = {ast.unparse(k.value) for k in call.keywords if k.arg == "Loader"}
        forbidden = name in {"yaml.unsafe_load", "yaml.full_load"}
        if forbidden or (
            name in {"yaml.load", "yaml.load_all"} and not (loaders and loaders <= safe)
        ):
            yield f"line {call.lineno}: {name}"


def short_file(source: Source) -> Iterator[str]:
    lines = len(source.text.splitlines())
    if lines > LINES:
        yield f"{lines} lines; {LINES} allowed"


def public_docstrings(source: Source) -> Iterator[str]:
    """Module-level functions and classes, and the methods of public classes."""
    scopes: list[ast.Module | ast.ClassDef] = [source.tree]
    while scopes:
        for node in scopes.pop().body:
            if not isinstance(node, ast.FunctionDef | ast.ClassDef) or node.name.startswith("_"):
                continue
            overload = any(ast.unparse(d).endswith("overload") for d in node.decorator_list)
            if ast.get_docstring(node) is None and not overload:
                yield f"line {node.lineno}: {node.name} has no docstring"
            if isinstance(node, ast.ClassDef):
                scopes.append(node)


RULES: tuple[Rule, ...] = (
    imports_point_downward,
    only_models_know_flax,
    no_experiments,
    no_private_modules_of_others,
    no_assert,
    no_print,
    no_code_in_data,
    safe_yaml,
    short_file,
    public_docstrings,
)

REFUSED = [
    (imports_point_downward, "keys", "from initopt_jax.engine import plan"),
    (imports_point_downward, "transforms.adam", "from initopt_jax.studies import study"),
    (imports_point_downward, "transforms.adam", "from initopt_jax.initializers import normal"),
    (imports_point_downward, "engine.plan", "def f():\n    import initopt_jax.store"),
    (imports_point_downward, "engine.plan", "from . import segment"),
    (imports_point_downward, "helpers", "import math"),
    (imports_point_downward, "engine.plan", "import initopt_jax"),
    (only_models_know_flax, "tasks.classification", "from flax import linen as nn"),
    (only_models_know_flax, "engine.segment", "import flax.linen"),
    (no_experiments, "studies.run", "from experiments import glorot_2010"),
    (no_private_modules_of_others, "engine.plan", "from jax._src import core"),
    (no_private_modules_of_others, "engine.plan", "import optax\nf = optax._src.base"),
    (no_assert, "checks", "def f(x):\n    assert x"),
    (no_print, "engine.execute", "print('hello')"),
    (no_code_in_data, "store", "import pickle"),
    (no_code_in_data, "store", "np.load(path, allow_pickle=True)"),
    (no_code_in_data, "store", "frame.to_pickle(path)"),
    (no_code_in_data, "config.schema", "eval(text)"),
    (safe_yaml, "config.schema", "yaml.load(text)"),
    (safe_yaml, "config.schema", "yaml.load(text, Loader=yaml.FullLoader)"),
    (safe_yaml, "config.schema", "class Mine(yaml.Loader): ...\nyaml.load(text, Loader=Mine)"),
    (short_file, "engine.plan", "x = 1\n" * (LINES + 1)),
    (public_docstrings, "tree", "def f(): ..."),
    (public_docstrings, "tree", "class A:\n    '''Doc.'''\n    def f(self): ..."),
]
ACCEPTED = [
    (imports_point_downward, "engine.plan", "from initopt_jax.engine.segment import a"),
    (imports_point_downward, "studies.run", "from initopt_jax import store\nimport numpy"),
    (imports_point_downward, "", "from initopt_jax.studies.run import run"),
    (only_models_know_flax, "models.mlp", "import flax.linen as nn"),
    (no_print, "cli", "print('hello')"),
    (no_print, "cli.show", "console.print('hello')"),
    (no_code_in_data, "store", "np.load(path, allow_pickle=False)"),
    (safe_yaml, "config.schema", "class Mine(yaml.SafeLoader): ...\nyaml.load(text, Loader=Mine)"),
    (safe_yaml, "config.schema", "yaml.safe_load(text)"),
    (short_file, "engine.plan", "x = 1\n" * LINES),
    (public_docstrings, "tree", "def _f(): ..."),
]


def package_sources() -> list[Source]:
    files = sorted((ROOT / PACKAGE).rglob("*.py"))
    names = [".".join(path.relative_to(ROOT).with_suffix("").parts) for path in files]
    return [
        Source(name.removesuffix(".__init__"), path.read_text(encoding="utf-8"))
        for name, path in zip(names, files, strict=True)
    ]


def snippet(module: str, text: str) -> Source:
    return Source(f"{PACKAGE}.{module}" if module else PACKAGE, text)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_package_keeps_the_rule(rule: Rule) -> None:
    sources = package_sources()
    assert len(sources) > 10, "the package was not found"
    offences = [f"{source.module}: {text}" for source in sources for text in rule(source)]
    assert not offences, "\n".join(offences)


@pytest.mark.parametrize(("rule", "module", "text"), REFUSED)
def test_rule_refuses(rule: Rule, module: str, text: str) -> None:
    assert len(list(rule(snippet(module, text)))) == 1


@pytest.mark.parametrize(("rule", "module", "text"), ACCEPTED)
def test_rule_accepts(rule: Rule, module: str, text: str) -> None:
    assert list(rule(snippet(module, text))) == []


def test_every_rule_is_shown_to_refuse_something() -> None:
    assert {rule for rule, _, _ in REFUSED} == set(RULES)


def test_picture_of_the_house_shows_these_layers_and_every_folder() -> None:
    spec = importlib.util.spec_from_file_location("house", ROOT / "docs" / "house.py")
    assert spec
    assert spec.loader
    house = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(house)
    assert [set(floor) for floor in house.floors(house.imports())] == list(LAYERS)
    assert set(house.ROOMS) == {path.parent.name for path in (ROOT / PACKAGE).glob("*/__init__.py")}


def test_layers_name_only_what_exists() -> None:
    parts = {source.part for source in package_sources()} - {""}
    assert set(RANK) == parts


def test_no_grab_bag_modules() -> None:
    banned = {"utils", "util", "helpers", "misc", "common"}
    assert not banned & {source.module.rpartition(".")[2] for source in package_sources()}
