"""`make house`: the picture in CONTRIBUTING.md, drawn from the package's imports."""

import ast
from collections import defaultdict
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "initopt_jax"
PICTURE = ROOT / "docs" / "house.png"
# What each folder holds, in a few words.
ROOMS = {
    "cli": "the command initopt",
    "studies": "run, resume, open,\nverify a study",
    "reports": "tables, figures,\nthe page",
    "planning": "from a config to\ncells, programs, lanes",
    "store": "the study folder:\nthe only file access",
    "engine": "training of tiles\non devices",
    "conformance": "what every part\nmust keep",
    "stats": "spread, comparison,\nchoice of cells",
    "tasks": "losses, metrics,\ntest functions",
    "audits": "are first weights\nas asked for?",
    "models": "the only Flax",
    "probes": "measurements\nbetween steps",
    "augmentations": "of training\nexamples",
    "initializers": "one file per method",
    "modifiers": "around an\noptimizer",
    "config": "the schema, YAML,\noverrides",
    "data": "arrays from sets,\nfiles, tables",
    "lookup": "names, options,\nyour own files",
    "networks": "a network read from\nits own operations",
    "transforms": "one file per\noptimizer",
}


def imports() -> dict[str, set[str]]:
    """Folder, or module at the root, to those that it imports."""
    found: dict[str, set[str]] = defaultdict(set)
    for path in sorted((ROOT / PACKAGE).rglob("*.py")):
        room = path.relative_to(ROOT / PACKAGE).with_suffix("").parts[0]
        if room == "__init__":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
            parts = [name.split(".") for name in names if name.startswith(f"{PACKAGE}.")]
            found[room] |= {part[1] for part in parts} - {room}
        found.setdefault(room, set())
    return found


def floors(arrows: dict[str, set[str]]) -> list[list[str]]:
    """From the top: each stands one floor above the highest that it imports."""
    height: dict[str, int] = {}

    def of(room: str) -> int:
        if room not in height:
            height[room] = 1 + max((of(below) for below in arrows[room]), default=-1)
        return height[room]

    for room in arrows:
        of(room)
    top = max(height.values())
    return [sorted(r for r in height if height[r] == top - floor) for floor in range(top + 1)]


def draw() -> None:
    """Boxes by floor: folders with what they hold, modules at the root by name."""
    rows = floors(imports())
    figure = Figure(figsize=(9.6, 0.74 * len(rows)), dpi=110)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, 1)
    axes.set_ylim(-0.15, len(rows))
    axes.axis("off")
    most = max(map(len, rows))
    width = 0.96 / most
    for floor, row in enumerate(rows):
        y = len(rows) - floor - 0.94
        left = 0.5 - width * len(row) / 2
        for place, room in enumerate(row):
            folder = room in ROOMS
            color = "#e8f0f8" if folder else "#f3f3f1"
            x = left + place * width
            box = FancyBboxPatch(
                (x + 0.008, y), width - 0.016, 0.8, boxstyle="round,pad=0,rounding_size=0.012",
                facecolor=color, edgecolor="#7a8aa0", linewidth=0.8, mutation_aspect=len(rows) / 2,
            )  # fmt: skip
            axes.add_patch(box)
            middle = x + width / 2
            axes.text(
                *(middle, y + (0.64 if folder else 0.4)), room, ha="center", va="center",
                fontsize=9, weight="bold" if folder else "normal",
            )  # fmt: skip
            if folder:
                axes.text(
                    *(middle, y + 0.28), ROOMS[room], ha="center", va="center",
                    fontsize=7.5, color="#39424e",
                )  # fmt: skip
    axes.text(
        *(0.02, len(rows) - 0.3), "Imports point down, floor by floor; never up, never sideways.",
        fontsize=9, color="#39424e", va="center",
    )  # fmt: skip
    figure.savefig(PICTURE)


if __name__ == "__main__":
    draw()
