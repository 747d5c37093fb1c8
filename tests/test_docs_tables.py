"""The pages' tables name all that there is, as it is registered."""

import inspect
import re

import pytest

import initopt_jax as iox
from initopt_jax import modifiers, schedules, transforms
from initopt_jax.augmentations import REGISTRY as AUGMENTATIONS
from initopt_jax.data import REGISTRY as DATA
from initopt_jax.initializers import MODEL_LEVEL, REGISTRY
from initopt_jax.networks.fans import fans
from initopt_jax.types import option_names


@pytest.fixture(scope="module")
def data_page(repository):
    return (repository / "docs" / "data.md").read_text()


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


def test_the_table_names_every_source_and_its_tasks(data_page):
    rows = re.findall(r"^\| (`[^|]*`) \| (\w+) \|", data_page, flags=re.MULTILINE)
    listed = {name: kinds for names, kinds in rows for name in re.findall(r"`([^`]+)`", names)}
    assert set(listed) == {*DATA, "module:function"}
    for name, entry in DATA.items():
        both = len(entry.kinds) == 2
        assert listed[name] == ("both" if both else entry.kinds[0])


def test_the_page_names_every_augmentation_and_its_options(data_page):
    section = data_page.partition("## Augmentation")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, flags=re.MULTILINE))
    assert set(rows) == set(AUGMENTATIONS)
    for name, entry in AUGMENTATIONS.items():
        options = option_names(entry.apply, skip=("key", "examples"))
        assert re.findall(r"`(\w+)`", rows[name]) == list(options)
        (default,) = options.values()
        stated = re.findall(r"default ([\d.]+)", rows[name])
        assert stated == ([] if default is inspect.Parameter.empty else [str(default)])


def test_options_named_in_the_listing_exist():
    for entry in DATA.values():
        named = set(re.findall(r"`(\w+)`", entry.description))
        if named:
            assert named == set(option_names(entry.load, skip=("request",)))


def test_the_pages_name_every_probe(repository):
    pages = "".join(page.read_text() for page in (repository / "docs").glob("probes*.md"))
    absent = [name for name in iox.probes.REGISTRY if f"`{name}`" not in pages]
    assert absent == ["point"]
