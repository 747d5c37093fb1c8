"""What the pages tell the reader to write works as written."""

import re

import pytest
import yaml

from initopt_jax.conformance import check_initializer
from initopt_jax.initializers import MODEL_LEVEL, REGISTRY, fans
from initopt_jax.preview import audit


@pytest.fixture
def tutorial(repository, working_dir, monkeypatch):
    """The files of the page, in the folder where we stand."""
    text = (repository / "docs" / "your_own_initializer.md").read_text()
    for code in re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL):
        name = code.splitlines()[0].removeprefix("# ")
        (working_dir / name).write_text(code)
    monkeypatch.syspath_prepend(working_dir)
    (config,) = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    return yaml.safe_load(config)


def test_tutorial_of_initializers(tutorial):
    for name in ("spiky:spiky", "centred:centred"):
        assert {finding.outcome for finding in check_initializer(name)} == {"ok"}
    whole = {"name": "centred:centred", "share": [0.5, 1.0], "base": "orthogonal"}
    rows = audit(tutorial | {"initializers": [*tutorial["initializers"], whole]})
    assert {row.verdict for row in rows} == {"ok"}
    assert {row.initializer for row in rows} == {
        "lecun_normal",
        *(f"spiky:spiky(gain={gain})" for gain in ("0.7", "1", "1.4")),
        *(f"centred:centred(share={share})" for share in ("0.5", "1")),
    }


def test_twenty_lines(repository):
    text = (repository / "docs" / "your_own_initializer.md").read_text()
    first = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)[0]
    assert len([line for line in first.splitlines() if line.strip()]) <= 20


def test_page_of_initializers_names_each_as_registered(repository):
    page = (repository / "docs" / "initializers.md").read_text()
    for entry in (*REGISTRY.values(), *MODEL_LEVEL.values()):
        formula, reference = (text.replace("|", "\\|") for text in (entry.formula, entry.reference))
        assert f"| `{entry.name}` | {formula} | {reference} |" in page
    named = re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)
    assert len(named) == len(set(named)) == len(REGISTRY) + len(MODEL_LEVEL)


def test_page_of_initializers_on_fans(repository):
    """The table compares what shapes suggest with the tests of layouts and of uses."""
    page = (repository / "docs" / "initializers.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| ([\dx ]+) \| (\d+), (\d+) \|", page, flags=re.MULTILINE)
    assert len(rows) == 10
    for shape, fan_in, fan_out in rows:
        sizes = tuple(int(size) for size in shape.split(" x "))
        assert fans(sizes) == (int(fan_in), int(fan_out))
