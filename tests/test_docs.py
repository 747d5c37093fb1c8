"""Every block of code in README and docs/ runs as it stands there, page by page.

Python is run in order, and a block whose first line is `# name.py` is written to that file; YAML is
a config, or is put into one, and is resolved; commands are parsed by the command line itself, and
run where that is cheap. A block that cannot run says why in a comment that readers do not see:
`<!-- not run: why -->`.
"""

import re
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from initopt_jax import reports
from initopt_jax.cli import commands
from initopt_jax.config.schema import read_config
from initopt_jax.config.yaml_text import parse_yaml
from initopt_jax.errors import ConfigError
from initopt_jax.planning.fast_form import fast_form
from initopt_jax.studies.preview import prepare
from tests.doc_blocks import (
    Block,
    blocks_of,
    check_command,
    check_other_command,
    commands_in,
    inline_commands,
    is_synopsis,
    write_data,
)

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CONFIGS = sorted((ROOT / "configs").glob("*.yaml"))
SMALLEST = {
    "name": "page",
    "task": {"name": "classification", "dataset": "digits"},
    "model": {"name": "mlp", "hidden": [4]},
    "initializers": ["lecun_normal"],
    "optimizers": [{"name": "adam", "learning_rate": 0.01}],
    "seeds": 4,
    "steps": 10,
}
RUN = {("check",), ("audit",), ("list",), ("data", "list"), ("run",)}


@pytest.fixture
def folder(working_dir, monkeypatch):
    """Where a reader stands: the configs of the package, shortened, and files of data."""
    pytest.importorskip("pyarrow", reason="installed with the extra `parquet`")
    monkeypatch.setenv("TFDS_DATA_DIR", str(working_dir / "no_tfds"))
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.syspath_prepend(working_dir)
    shutil.copytree(ROOT / "configs", working_dir / "configs")
    write_data(working_dir)
    before = set(sys.modules)
    yield working_dir
    for name in set(sys.modules) - before:
        if str(working_dir) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_of(page, folder, monkeypatch, capsys):
    blocks = [block for block in blocks_of(page) if not block.why]
    monkeypatch.setattr(reports, "build", lambda *given, **options: {})
    base = dict(SMALLEST)
    for block in blocks:
        if block.file:
            (folder / block.file).write_text(block.text)
            sys.modules.pop(Path(block.file).stem, None)  # another test's
        raw = parse_yaml(block.text) if block.language == "yaml" else {}
        if isinstance(raw, dict) and {"name", "optimizers"} <= raw.keys():
            (folder / f"{raw['name']}.yaml").write_text(block.text)
            base = raw
    names: dict = {}
    written = "".join(block.text for block in blocks if block.file)
    for words in inline_commands(page.read_text()):
        module, _, function = words[-1 if "--kind" not in words else 2].partition(":")
        if words[1] == "check" and f"# {module}.py" in written and f" {function}(" in written:
            _call(words[1:], monkeypatch)
            unchecked = "not checked" in capsys.readouterr().out
            assert not unchecked or page.name == "README.md", words  # it states no law
    for block in blocks:
        try:
            _run(block, base, names, folder, monkeypatch)
        except (AssertionError, SystemExit, Exception) as error:
            raise AssertionError(
                f"{block.place}: {type(error).__name__}: {error}\n{capsys.readouterr()}"
            ) from error


def _run(block: Block, base: dict, names: dict, folder: Path, monkeypatch) -> None:
    if block.language == "python":
        _shorten_configs(block, folder)
        code = f"import {block.file[:-3]}" if block.file else block.text
        exec(compile(code, block.place, "exec"), names)
    elif block.language == "yaml":
        _resolve(parse_yaml(block.text), base)
    elif block.language in ("", "sh", "console"):
        for words in commands_in(block.text):
            if words[0] != "initopt":
                check_other_command(words, ROOT)
                continue
            check_command(words[1:])
            _call(words[1:], monkeypatch)
    else:
        assert block.language == "text", f"unknown language {block.language!r}"


def _resolve(raw, base: dict) -> None:
    """A config, or a part of one put into the page's own or the smallest."""
    part = {"optimizers": raw} if isinstance(raw, list) else raw
    config = part if {"name", "optimizers"} <= part.keys() else base | part
    task = config["task"]
    if task["name"] == "test_function":
        config = {key: value for key, value in (SMALLEST | part).items() if key != "model"}
    try:
        prepare(config)
    except ConfigError as error:
        if "is not prepared" not in str(error):
            raise
        prepare(config | {"task": task | {"dataset": "npz:prepared.npz"}})


def _shorten_configs(block: Block, folder: Path) -> None:
    """The configs that a block runs: their fast form, of two initializers and two optimizers."""
    for name in set(re.findall(r"configs/\w+\.yaml", block.text)):
        file = folder / name
        config = fast_form(read_config(file)).to_json()
        config["initializers"] = [
            entry for entry in config["initializers"] if entry["name"] in ("zeros", "he_normal")
        ]
        config["optimizers"] = [
            entry for entry in config["optimizers"] if entry["name"] in ("gd", "adam")
        ]
        file.write_text(yaml.safe_dump(config))


def _call(arguments: list[str], monkeypatch) -> None:
    """Run a command that is cheap; of `run`, the plan."""
    command = tuple(word for word in arguments[:2] if word.isalpha())
    if is_synopsis(arguments) or (command[:1] not in RUN and command not in RUN):
        return
    dry = ["--dry-run"] if arguments[0] == "run" else []
    monkeypatch.setattr(sys, "argv", ["initopt", *arguments, *dry])
    code = 0
    try:
        commands.main()
    except SystemExit as stopped:
        code = stopped.code
    assert not code, f"initopt {' '.join(arguments)}: exit code {code}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_of(page):
    for words in inline_commands(page.read_text()):
        check_command(words[1:])


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.stem)
def test_commands_in_the_comments_of(config, folder):
    """Each can be given, and the settings that a comment speaks of resolve."""
    head = re.sub(r"\n# *", " ", config.read_text().partition("\nname:")[0])
    commands = re.findall(r"initopt [a-z]+ configs/\w+\.yaml(?: --[a-z-]+(?: [^ ,;()]+)?)*", head)
    assert any(f"initopt run configs/{config.name}" in command for command in commands)
    for command in commands:
        _, *words = command.split()
        check_command(words)
        settings = [words[at + 1] for at, word in enumerate(words) if word == "--set"]
        if settings:
            prepare(Path(words[1]), settings)


def test_few_blocks_cannot_run():
    unrun = [(block.place, block.why) for page in PAGES for block in blocks_of(page) if block.why]
    assert len(unrun) <= 2, unrun


def test_a_block_that_is_wrong_is_found_out(folder, monkeypatch):
    for language, text in (
        ("python", "1 / 0"),
        ("python", "nothing_defined"),
        ("yaml", "optimizers: [{name: adamm, learning_rate: 1}]"),
        ("yaml", "stepz: 3"),
        ("sh", "initopt runn configs/effects_digits.yaml"),
        ("sh", "initopt run configs/effects_digits.yaml --fsat"),
        ("sh", "initopt check adma"),
        ("sh", "make coffee"),
        ("", "pictures/cat/1.png"),
        ("ruby", "puts 1"),
    ):
        with pytest.raises((Exception, SystemExit)):
            _run(Block("here", language, text, ""), dict(SMALLEST), {}, folder, monkeypatch)
