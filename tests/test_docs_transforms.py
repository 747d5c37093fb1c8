"""The pages on transforms name what there is, and what they tell the reader to write works."""

import re

import pytest
import yaml

from initopt_jax import modifiers, schedules, transforms
from initopt_jax.conformance import check
from initopt_jax.preview import prepare


@pytest.fixture
def tutorial(repository, working_dir, monkeypatch):
    """The files of the tutorial, in the folder where we stand; its configs."""
    text = (repository / "docs" / "your_own_transform.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        name = code.splitlines()[0].removeprefix("# ")
        (working_dir / name).write_text(code)
    monkeypatch.syspath_prepend(working_dir)
    return [
        yaml.safe_load(part) for part in re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    ]


def test_tutorial_of_transforms(tutorial):
    findings = check("bold:bold_driver")
    assert not [finding for finding in findings if finding.outcome == "fails"]
    whole, part = tutorial
    bold = prepare(whole)
    assert bold.lanes["optimizer"].unique().tolist() == ["gd", "bold:bold_driver"]
    (around,) = prepare(whole | part).programs
    assert {"schedule.teeth", "clip_by_global_norm.max_norm"} <= set(around.hyperparameters)


def test_thirty_lines(repository):
    text = (repository / "docs" / "your_own_transform.md").read_text()
    first = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0]
    assert len([line for line in first.splitlines() if line.strip()]) <= 30


def test_page_of_transforms_names_each_as_registered(repository):
    page = (repository / "docs" / "transforms.md").read_text()
    code = {"own": "ours", "optax": "Optax"}
    last = {
        **{name: code[entry.origin] for name, entry in transforms.REGISTRY.items()},
        **{name: entry.place for name, entry in modifiers.REGISTRY.items()},
    }
    entries = [
        *transforms.REGISTRY.values(),
        *schedules.REGISTRY.values(),
        *modifiers.REGISTRY.values(),
    ]
    for entry in entries:
        formula, reference = (text.replace("|", "\\|") for text in (entry.formula, entry.reference))
        row = f"| `{entry.name}` | {formula} | {reference} |"
        assert row + (f" {last[entry.name]} |" if entry.name in last else "") in page
    named = re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)
    assert len(named) == len(set(named)) == len(entries)
