"""A study that was run: its config and everything that it produced."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from initopt_jax import reports, stats
from initopt_jax.config.schema import Config, validate
from initopt_jax.engine.keep import KEPT, is_kept
from initopt_jax.errors import ConfigError, StudyError
from initopt_jax.probes.slices import record
from initopt_jax.probes.slices.record import NetLandscape, read_mesh
from initopt_jax.store import LANDSCAPES, SURFACE, Store
from initopt_jax.store.links import refuse_strange_files
from initopt_jax.studies import stored_states
from initopt_jax.studies.manifest import study_info
from initopt_jax.studies.trained_network import TrainedNetwork
from initopt_jax.types import PyTree


@dataclass(frozen=True)
class Study:
    """A config and everything it produced, in one folder."""

    dir: Path

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What ran, on what, how long: as the manifest has it."""
        return Store(self.dir).manifest()

    @cached_property
    def config(self) -> Config:
        """The resolved config."""
        return validate(self.manifest["config"])

    @cached_property
    def lanes(self) -> pd.DataFrame:
        """A row per lane: initializer, optimizer, every hyperparameter, seeds."""
        return Store(self.dir).lanes()

    @cached_property
    def dataset(self) -> xr.Dataset:
        """The results, dims `lane`, `eval`, `leaf`; read from disk when they are looked at.

        What is read is verified: a variable's rows that are not as they were written raise
        StudyError. A lane that an unfinished study still lacks is NaN (False in `diverged`), `step`
        included. Stored states are in `kept`.
        """
        found = Store(self.dir).dataset()
        kept = [name for name in found.data_vars if is_kept(str(name))]
        return found.drop_vars(kept).drop_dims(KEPT, errors="ignore")

    @cached_property
    def kept(self) -> xr.Dataset:
        """Stored states, where the config has `keep`: weights by leaf, dims `lane`, `kept`, axes.

        Read from disk and verified when they are looked at, whole tiles the first time; NaN for a
        state that a lane has not reached.
        """
        found = Store(self.dir).dataset()
        return found[[name for name in found.data_vars if is_kept(str(name))]]

    @cached_property
    def landscapes(self) -> list[NetLandscape]:
        """What the entries of the config's `landscapes` found, as arrays; in their order.

        Raises:
            StudyError: the file that holds them is damaged, or not this study's.
        """
        content = Store(self.dir).read_made(LANDSCAPES)
        return record.from_bytes(content) if content else []

    @property
    def notes(self) -> list[str]:
        """What a reader of the results should know: of data, network, and seeds that are equal."""
        kinds = ("notes", "network_notes", "seed_notes")
        return [note for kind in kinds for note in self.manifest.get(kind, [])]

    @cached_property
    def info(self) -> stats.StudyInfo:
        """Names and directions that statistics and reports need."""
        function = self.manifest.get("function")
        mesh = None
        if function:
            with contextlib.suppress(StudyError):  # without it, maps have no contours and say so
                mesh = read_mesh(Store(self.dir).read_made(SURFACE), function)
        try:
            return study_info(self.manifest, mesh)
        except ConfigError as error:
            raise StudyError(f"the manifest of {str(self.dir)!r} is damaged: {error}") from None
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise StudyError(f"the manifest of {str(self.dir)!r} is damaged: {error!r}") from None

    def check(self) -> None:
        """Raise StudyError where rows are damaged or missing: every row is read, kept states too.

        What was verified before in this process, and was not written since, is not read again.
        """
        Store(self.dir).refuse_damage()

    def load(self, *, unfinished: bool = False) -> xr.Dataset:
        """The results in memory; the first time they are read, and verified.

        Args:
            unfinished: whether lanes that are still missing are fine.

        Raises:
            StudyError: rows are damaged or missing.
        """
        store = Store(self.dir)
        store.refuse_damage(unfinished=unfinished, read=False)
        try:
            return self.dataset.load()
        except StudyError:
            store.refuse_damage(unfinished=unfinished)  # which tells of all that is damaged
            raise

    def summary(self) -> pd.DataFrame:
        """Per initializer and optimizer, the tuned cell on fresh seeds, with intervals.

        Raises:
            StudyError: rows are damaged or missing, so that the numbers would be wrong.
        """
        return stats.best_cells(self.load(), self.lanes, self.info)

    def frame(self) -> pd.DataFrame:
        """A row per lane and evaluation: the lane's columns beside its curves and final values.

        Raises:
            StudyError: rows are damaged. Those that an unfinished study still lacks are left out.
        """
        data = self.load(unfinished=True)
        curves = [name for name in data.data_vars if data[name].dims == ("lane", "eval")]
        finals = [name for name in data.data_vars if data[name].dims == ("lane",)]
        rows = data[curves].to_dataframe().dropna(subset=["step"]).reset_index("eval")
        lanes = self.lanes.join(data[finals].to_dataframe())
        return lanes.join(rows, how="inner").reset_index()

    def params(self, lane: int, at: str | int = "final", *, trust: bool = False) -> PyTree:
        """The weights of one lane as they were stored, in the form that its model takes.

        Args:
            lane: its number.
            at: which stored state: `final`, a step of `keep: [...]`, or with `keep: every` the
                number of an evaluation.
            trust: whether to run code that the study names, and that has changed since or was not
                written by you; see docs/security.md.

        Raises:
            StudyError: there is no such state or lane, or code that is not to be run is needed.
        """
        return stored_states.params(Store(self.dir), lane, at, trust=trust)

    def network(self, lane: int, at: str | int = "final", *, trust: bool = False) -> TrainedNetwork:
        """One trained network with all that its use elsewhere needs, where the config has `keep`.

        Args:
            lane: its number.
            at: which stored state, as in `params`.
            trust: as in `params`.

        Returns:
            Its weights (those that are evaluated), its model's state, what was done to its inputs
            and targets, names of columns and classes; and `apply` and `predict`, which take inputs
            as the data's source has them.

        Raises:
            StudyError: no states were stored, there is no such state or lane, the study is of a
                test function, or code that is not to be run is needed.
        """
        return stored_states.network(Store(self.dir), lane, at, trust=trust)

    def probe(
        self,
        name: str,
        at: str | int = "final",
        lanes: Sequence[int] | None = None,
        *,
        trust: bool = False,
        **options: Any,
    ) -> xr.Dataset:
        """A probe taken of stored states, after the fact: the bits that the run would have had.

        Args:
            name: of the probe, as in a config.
            at: which stored state, as in `params`.
            lanes: numbers of those to measure; by default all.
            trust: as in `params`.
            options: of the probe, `examples` among them.

        Returns:
            Its variables, dims `lane` and the probe's own.

        Raises:
            ConfigError: an unknown probe or option.
            StudyError: there is no such state or lane, or code that is not to be run is needed.
        """
        return stored_states.probe(Store(self.dir), name, at, lanes, options, trust=trust)

    def report(self) -> list[Path]:
        """Rebuild summary.csv, the figures and report.html from the results.

        Raises:
            StudyError: rows are damaged or missing; the files stay as they are.
        """
        store = Store(self.dir)
        with store.locked():
            return write_report(store, self)


def open_study(folder: str | Path) -> Study:
    """Open a study that was run.

    Args:
        folder: of the study.

    Raises:
        StudyError: it is none, or its manifest is damaged.
    """
    refuse_strange_files(Path(folder))
    study = Study(Path(folder))
    _ = study.manifest
    return study


def report(folder: str | Path) -> list[Path]:
    """Rebuild the tables, figures and page of a study from its results; see `Study.report`.

    Args:
        folder: of the study.

    Returns:
        The files.

    Raises:
        StudyError: it is no study, or rows are damaged or missing; the files stay as they are.
    """
    return open_study(folder).report()


def write_report(store: Store, study: Study) -> list[Path]:
    """Write the tables, figures and page of a study into its folder; returns the files."""
    files = reports.build(study.load(), study.lanes, study.info, study.landscapes)
    store.write_report(files)
    return [store.folder / name for name in files]
