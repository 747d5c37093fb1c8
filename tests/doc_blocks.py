"""The blocks of code on a page, what runs each, and the files that a page takes for granted."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import typer
from PIL import Image

from initopt_jax.cli import commands

FENCE = re.compile(
    r"^(?:<!-- not run: (?P<why>[^>]+) -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    flags=re.MULTILINE | re.DOTALL,
)
INLINE = re.compile(r"`(initopt [^`]+)`")
COMMANDS = typer.main.get_command(commands.app)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, its language and text; `why` it cannot run, if it cannot."""

    place: str
    language: str
    text: str
    why: str

    @property
    def file(self) -> str | None:
        """The file that the page tells the reader to write it to: its first line, `# name.py`."""
        named = re.match(r"# (\w+\.py)\n", self.text)
        return named[1] if named and self.language == "python" else None


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    text = page.read_text()
    found = [
        Block(
            f"{page.name}, line {text.count(chr(10), 0, fence.start('language')) + 1}",
            fence["language"],
            fence["text"],
            fence["why"] or "",
        )
        for fence in FENCE.finditer(text)
    ]
    assert len(found) == len(re.findall(r"^\s*```", text, flags=re.MULTILINE)) / 2, page
    return found


def commands_in(text: str) -> Iterator[list[str]]:
    """The words of each command of a block, comments and line ends in quotes aside."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        if words:
            yield [words[0].rpartition("/")[2], *words[1:]]


def inline_commands(text: str) -> list[list[str]]:
    """Commands of the program in a page's running text."""
    return [shlex.split(found.replace("\n", " "), comments=True) for found in INLINE.findall(text)]


def is_synopsis(words: list[str]) -> bool:
    """Whether a command stands for others: `CONFIG`, `[--out DIR]`, `cost | cache`, `...`."""
    return any(re.search(r"^[A-Z]+$|[\[\]|<>]|\.\.\.$", word) for word in words)


def check_command(words: list[str]) -> None:
    """Hold a command of the program to the command line itself: names, options, arguments."""
    command, rest = COMMANDS, list(words)
    while rest and rest[0] in getattr(command, "commands", {}):
        command = command.commands[rest.pop(0)]
    assert command is not COMMANDS, f"initopt {' '.join(words)}: no such command"
    if getattr(command, "commands", None) or is_synopsis(rest):
        known = [name for each in (command, *getattr(command, "commands", {}).values())
                 for option in each.params for name in option.opts]  # fmt: skip
        asked = {flag for word in rest for flag in re.findall(r"--[a-z-]+", word)}
        assert asked <= set(known), f"initopt {' '.join(words)}: no option {asked - set(known)}"
    elif rest or not command.params:
        command.make_context(words[0], rest)


def check_other_command(words: list[str], root: Path) -> None:
    """A command of another program: what it names is there."""
    program, *rest = words
    if program == "make":
        targets = re.findall(r"^([\w-]+):", (root / "Makefile").read_text(), flags=re.MULTILINE)
        assert rest[0] in targets, words
    elif program.startswith("python") and rest[0] == "-m":
        spec = importlib.util.find_spec(rest[1])
        assert spec, words
        source = Path(str(spec.origin)).read_text()
        assert all(word in source for word in rest[2:] if word.startswith("--")), words
    else:
        assert [program, rest[0]] == ["pip", "install"], words


def write_data(folder: Path) -> None:
    """Data that the pages speak of, a few examples of each."""
    draws = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(60):
            pixels = draws.integers(0, 256, size=(8 + number % 5, 9), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{number}.png")
    flowers = pd.DataFrame({"id": [f"n{i}" for i in range(200)], "width": draws.normal(size=200)})
    flowers["species"] = ["rose", "tulip"] * 100
    flowers.to_csv(folder / "flowers.csv", sep=";", index=False)
    cars = "sold;date;fuel;size;age;price"
    for number in range(200):
        fuel, size = ("gas", "diesel")[number % 2], ("small", "medium", "large")[number % 3]
        age = "?" if number % 9 == 0 else number * 7 % 13
        row = ("yes", "no")[number % 3 == 0], f"2024-01-{number % 28 + 1:02d}", fuel, size, age
        cars += f"\n{';'.join(map(str, row))};{draws.normal():.3f}".replace(".", ",")
    (folder / "cars.csv").write_text(cars)
    houses = pd.DataFrame(draws.normal(size=(200, 3)), columns=["size", "price", "rent"])
    houses.to_csv(folder / "houses.csv", index=False)
    houses[:40].to_csv(folder / "houses_test.csv", index=False)
    houses.to_parquet(folder / "houses.parquet")
    np.savez(folder / "arrays.npz", x=draws.normal(size=(200, 4)), y=np.arange(200) % 2)
    pictures = draws.normal(size=(400, 16, 16, 3))
    np.savez(folder / "prepared.npz", x=pictures, y=np.arange(400) % 10)
    np.savez(folder / "weights.npz", **{"dense_0/kernel": draws.normal(size=(64, 4))})
