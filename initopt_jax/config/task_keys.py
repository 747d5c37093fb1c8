"""Which keys of a config belong to networks on data, and which to a bare test function.

Works on plain values before the schema sees them, so that each mistake gets words of its own.
"""

from collections.abc import Iterable, Mapping
from typing import Any

TEST_FUNCTION = "test_function"
FORMER = "cost_function"  # its name in configs and studies of earlier versions
OF_DATA = ("dataset", "batch_size", "split", "augment")


def of_task(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A task's values: what does not belong to its kind is refused or, for a function, left empty.

    Raises:
        ValueError: a test function is missing, or a key of the other kind is given.

    >>> of_task({"name": "test_function", "function": "ravine"})["batch_size"] is None
    True
    """
    if raw.get("name") == FORMER:
        raw = {**raw, "name": TEST_FUNCTION}
    if raw.get("name") != TEST_FUNCTION:
        if raw.get("function") is not None:
            raise ValueError(
                f"function is for the task {TEST_FUNCTION}; the task {raw.get('name')!r} learns "
                "from a dataset"
            )
        if "batch_size" in raw and raw["batch_size"] is None:
            raise ValueError("batch_size must be a number, or 'full'")
        return {key: value for key, value in raw.items() if key != "split" or value is not None}
    if raw.get("function") is None:
        raise ValueError(
            "function is missing: which test function? As in {name: test_function, function: "
            "himmelblau}"
        )
    _refuse(raw, OF_DATA, "a test function has no data")
    return {**raw, **dict.fromkeys(OF_DATA)}


def of_config(raw: Mapping[str, Any]) -> dict[str, Any]:
    """A config's values, with a test function's own defaults where its task is one.

    Raises:
        ValueError: a key that only networks have is given for a test function.
    """
    task = raw.get("task")
    name = task.get("name") if isinstance(task, Mapping) else getattr(task, "name", task)
    if name not in (TEST_FUNCTION, FORMER):
        return dict(raw)
    _refuse(raw, ("model",), "a test function has no network")
    for place, entry in _entries(raw, "optimizers"):
        _refuse(entry, ("batch_size",), "a test function has no data", place)
        _refuse(entry, ("per_leaf",), "a test function has no network", place)
    for place, entry in _entries(raw, "initializers"):
        _refuse(entry, ("base", "bias", "rules"), "a test function has no layers", place)
    made = {"probes": ["point"], **raw, "model": None}
    target = raw.get("target")
    if isinstance(target, Mapping):
        made["target"] = {"metric": "val_loss", **target}
    return made


def _entries(raw: Mapping[str, Any], key: str) -> Iterable[tuple[str, Mapping[str, Any]]]:
    listed = raw.get(key)
    for number, entry in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(entry, Mapping):
            yield f"{key}.{number}.", entry


def _refuse(raw: Mapping[str, Any], keys: Iterable[str], why: str, place: str = "") -> None:
    for key in keys:
        if raw.get(key):  # an empty value is what a resolved config holds
            raise ValueError(f"{place}{key} was given, but {why}")
