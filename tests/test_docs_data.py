"""Every config of `docs/data.md` resolves, on small files made here."""

import inspect
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from initopt_jax.augmentations import REGISTRY as AUGMENTATIONS
from initopt_jax.config import parse_yaml, validate
from initopt_jax.data import REGISTRY
from initopt_jax.errors import ConfigError
from initopt_jax.model_building import build_model
from initopt_jax.names import importable_from
from initopt_jax.resolve import find_task, load_dataset, with_augmentation
from initopt_jax.types import option_names

REST = {
    "name": "page",
    "model": "linear",
    "initializers": ["zeros"],
    "optimizers": [{"name": "sgd", "learning_rate": 0.1}],
}


@pytest.fixture(scope="module")
def page(repository):
    return (repository / "docs" / "data.md").read_text()


@pytest.fixture(scope="module")
def files(tmp_path_factory, page):
    """What the page's configs read."""
    pytest.importorskip("pyarrow", reason="installed with the extra `parquet`")
    folder = tmp_path_factory.mktemp("page")
    draws = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(5):
            pixels = draws.integers(0, 256, size=(8 + number, 9), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "pictures" / name / f"{number}.png")
    flowers = pd.DataFrame({"id": [f"n{i}" for i in range(20)], "width": draws.normal(size=20)})
    flowers["species"] = ["rose", "tulip"] * 10
    flowers.to_csv(folder / "flowers.csv", sep=";", index=False)
    cars = "2020-01-02;gas;small;1,5;yes\n2020-01-03;oil;large;?;no\n" * 9
    (folder / "cars.csv").write_text("date;fuel;size;km;sold\n" + cars)
    houses = pd.DataFrame(draws.normal(size=(20, 3)), columns=["size", "price", "rent"])
    houses.to_csv(folder / "houses.csv", index=False)
    houses[:4].to_csv(folder / "houses_test.csv", index=False)
    houses.to_parquet(folder / "houses.parquet")
    np.savez(folder / "arrays.npz", x=draws.normal(size=(20, 4)), y=np.arange(20) % 2)
    for name, code in re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, flags=re.DOTALL):
        (folder / name).write_text(code)
    return folder


def test_every_config_of_the_page_gives_data_that_its_task_takes(page, files):
    shown = set()
    for text in re.findall(r"```yaml\n(.*?)```", page, flags=re.DOTALL):
        config = validate(REST | parse_yaml(text))
        spec, task = config.task.dataset, find_task(config.task.name)
        shown.add(spec.name.partition(":")[0])
        try:
            with importable_from(files):
                dataset = load_dataset(config, task, [files])
                with_augmentation(config, task, dataset)
        except ConfigError as error:
            if spec.name.startswith("tfds:") and "is not prepared" in str(error):
                continue
            raise
        assert dataset.kind == config.task.name
        assert len(dataset.train.inputs) >= len(dataset.val.inputs) > 0
        assert abs(dataset.train.inputs.mean()) < 1
        build_model(config, dataset)
    assert shown == {name.partition(":")[0] for name in REGISTRY} | {"rings"}


def test_the_table_names_every_source_and_its_tasks(page):
    rows = re.findall(r"^\| (`[^|]*`) \| (\w+) \|", page, flags=re.MULTILINE)
    listed = {name: kinds for names, kinds in rows for name in re.findall(r"`([^`]+)`", names)}
    assert set(listed) == {*REGISTRY, "module:function"}
    for name, entry in REGISTRY.items():
        both = len(entry.kinds) == 2
        assert listed[name] == ("both" if both else entry.kinds[0])


def test_the_page_names_every_augmentation_and_its_options(page):
    section = page.partition("## Augmentation")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| ([^|]*) \|", section, flags=re.MULTILINE))
    assert set(rows) == set(AUGMENTATIONS)
    for name, entry in AUGMENTATIONS.items():
        options = option_names(entry.apply, skip=("key", "examples"))
        assert re.findall(r"`(\w+)`", rows[name]) == list(options)
        (default,) = options.values()
        stated = re.findall(r"default ([\d.]+)", rows[name])
        assert stated == ([] if default is inspect.Parameter.empty else [str(default)])


def test_options_named_in_the_listing_exist():
    for entry in REGISTRY.values():
        named = set(re.findall(r"`(\w+)`", entry.description))
        if named:
            assert named == set(option_names(entry.load, skip=("request",)))
