"""Run, resume and open a study: the only module that knows the whole flow."""

import contextlib
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import xarray as xr

from initopt_jax import landscape_record, report, revisit, sources, stats
from initopt_jax.audit import check
from initopt_jax.config import Config, differences, validate
from initopt_jax.engine.devices import set_up_devices
from initopt_jax.engine.keep import KEPT, is_kept
from initopt_jax.engine.plan import Tile
from initopt_jax.equal_seeds import curve_notes, known_notes
from initopt_jax.errors import ConfigError, Interrupted, StudyError
from initopt_jax.landscape_record import NetLandscape, read_mesh
from initopt_jax.landscapes import StoredWeights, check_landscapes, make_landscapes
from initopt_jax.manifest import data_folders, new_manifest, obstacles, study_info
from initopt_jax.measurements import dimension_labels
from initopt_jax.names import own_code
from initopt_jax.precision import in_precision
from initopt_jax.preview import (
    Source,
    all_tiles,
    audit_experiment,
    initial_weights,
    own_files,
    prepare,
    read,
)
from initopt_jax.resolve import Experiment
from initopt_jax.store import LANDSCAPES, SURFACE, Layout, Store, maker
from initopt_jax.store.links import refuse_strange_files
from initopt_jax.trained_network import TrainedNetwork
from initopt_jax.training import Tally, train, variables
from initopt_jax.trust import trusting
from initopt_jax.types import Device, PyTree


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
        return landscape_record.from_bytes(content) if content else []

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
        return revisit.params(Store(self.dir), lane, at, trust=trust)

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
                cost function, or code that is not to be run is needed.
        """
        return revisit.network(Store(self.dir), lane, at, trust=trust)

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
        return revisit.probe(Store(self.dir), name, at, lanes, options, trust=trust)

    def report(self) -> list[Path]:
        """Rebuild summary.csv, the figures and report.html from the results.

        Raises:
            StudyError: rows are damaged or missing; the files stay as they are.
        """
        store = Store(self.dir)
        with store.locked():
            return _write_report(store, self)


def open_study(folder: str | Path) -> Study:
    """Open a study folder. Raises StudyError where it is none."""
    refuse_strange_files(Path(folder))
    study = Study(Path(folder))
    _ = study.manifest
    return study


def run(
    config: Source,
    out: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    devices: int | None = None,
    progress: Callable[[Tally], None] | None = None,
    stop: threading.Event | None = None,
    trust: bool = False,
) -> Study:
    """Run a study to its end, or take one up where it was left.

    Args:
        config: path of a YAML file, a mapping, or a `Config`.
        out: the study's folder; by default `runs/<name>`.
        overrides: `key=value` changes to the config, as `--set` takes them.
        devices: how many devices to use; by default all, on CPU one per core.
        progress: called as lanes advance.
        stop: set it to stop at the next segment.
        trust: whether functions of any installed package may be named; see docs/security.md.

    Returns:
        The finished study. Running it again on the same folder only checks that nothing is missing.

    Raises:
        ConfigError: the config is wrong; nothing was created.
        AuditError: an initializer missed its distribution; nothing was created.
        StudyError: the folder holds another study, or is in use.
        Interrupted: it was stopped, or the disk is full; run again to resume.
    """
    used = set_up_devices(devices)
    known = read(config, overrides)
    store = Store(Path(out) if out else Path("runs") / known.name)
    if store.exists:
        refuse_strange_files(store.folder)
    manifest = store.known()
    with in_precision(known.precision):
        first = _first_folders(store, manifest)
        _refuse_other_code(manifest, own_files(config, overrides, first))
        experiment = prepare(
            config,
            overrides,
            first=first,
            data_first=data_folders(manifest, store.folder) if maker.is_own(manifest) else [],
            trust=trust,
        )
        with trusting(trust), own_code(experiment.sources):
            return _carry_out(store, experiment, used, progress, stop or threading.Event())


def _first_folders(store: Store, manifest: Mapping[str, Any]) -> list[Path]:
    """Where the files of a study lay when it began; somebody else's study has no say in it."""
    recorded = sources.recorded_in(manifest) if maker.is_own(manifest) else {}
    return sources.folders(recorded, store.folder)


def _refuse_other_code(manifest: Mapping[str, Any], now: Mapping[str, sources.SourceFile]) -> None:
    """Raise StudyError, before any is run, where the user's files are not those of the study."""
    recorded = sources.recorded_in(manifest)
    shared = {name: file for name, file in now.items() if name in recorded}
    changed = sources.changes({name: recorded[name] for name in shared}, shared)
    if changed:
        raise StudyError(
            f"the folder holds a study of other code; what differs: {'; '.join(changed)}. Choose "
            "another folder with --out to begin anew, or put the files back"
        )


def _carry_out(
    store: Store,
    experiment: Experiment,
    devices: Sequence[Device],
    progress: Callable[[Tally], None] | None,
    stop: threading.Event,
) -> Study:
    """Audit, create or take up the folder, train what it lacks, draw, report."""
    check_landscapes(experiment)
    initial = initial_weights(experiment)
    audited = audit_experiment(experiment, initial) if experiment.config.audit else []
    check(audited)
    tiles = all_tiles(experiment)
    store.refuse_foreign()
    refuse_strange_files(store.folder)  # of one that holds no study yet, too
    with store.locked():
        layout = _layout(experiment, tiles)
        if store.exists:
            _refuse_changes(store, experiment, tiles, devices)
            store.restore(experiment.lanes, layout)
        else:
            manifest = new_manifest(experiment, tiles, devices, store.folder)
            manifest["seed_notes"] = known_notes(experiment, initial, audited)
            store.create(manifest, experiment.lanes, layout)
        trained = train(store, experiment, initial, tiles, devices, progress, stop)
        if trained and stop.is_set():
            raise Interrupted(
                "all tiles are trained, the report is left; run the same command again"
            )
        study = Study(store.folder)
        if trained:
            manifest = store.manifest()
            known = [*manifest.get("seed_notes", []), *curve_notes(study.load(), study.lanes)]
            manifest["seed_notes"] = list(dict.fromkeys(known))
            store.write_manifest(manifest)
        drawn = _draw_landscapes(store, study, experiment, anew=trained)
        drawn = _store_surface(store, study, experiment) or drawn
        study = _reopened(study)  # whose config may ask for other pictures now
        if trained or drawn or not store.has_report:
            _write_report(store, study)
    return study


def _draw_landscapes(store: Store, study: Study, experiment: Experiment, *, anew: bool) -> bool:
    """Make the pictures that a config asks for, unless they are there. Returns whether it did."""
    entries = experiment.config.to_json()["landscapes"]
    text, content = json.dumps(entries), store.read_made(LANDSCAPES)
    known = None if content is None else landscape_record.entries_of(content)
    drawn = (anew and content is not None) or known != (text if entries or content else None)
    if drawn:
        data = study.load()
        weights = StoredWeights(experiment, study.kept, data["step"].values)
        best = stats.best_cells(data, study.lanes, study.info)
        made = make_landscapes(experiment, best, weights)
        store.write_made({LANDSCAPES: landscape_record.to_bytes(made, text)})
    manifest = store.manifest()
    if manifest["config"]["landscapes"] != entries:
        # The only part of a config that may change afterwards: weights are read, none is changed.
        manifest["config"]["landscapes"] = entries
        store.write_manifest(manifest)
    return drawn


def _store_surface(store: Store, study: Study, experiment: Experiment) -> bool:
    """Store the values of a cost function that maps need, unless they are there.

    Whoever reads the study later has, and needs, no code of its author's.
    """
    landscape, found = experiment.landscape, study.info.landscape
    if landscape is None or "point" not in study.dataset:  # without paths there are no maps
        return False
    if found is not None and found.mesh is not None:
        return False
    mesh = report.mesh_of(landscape, study.load(), study.lanes, study.info)
    store.write_made({SURFACE: mesh.to_bytes(landscape.describe())})
    return True


def _layout(experiment: Experiment, tiles: Sequence[Tile]) -> Layout:
    evals = [tile.steps // experiment.programs[tile.program].eval_every for tile in tiles]
    plane = experiment.landscape is not None
    coordinates = dimension_labels(experiment.params, experiment.network, plane=plane)
    if experiment.keep.at is not None:
        coordinates[KEPT] = experiment.keep.labels
    sizes = {**experiment.probing.sizes, **experiment.keep.sizes}
    sizes |= {name: len(labels) for name, labels in coordinates.items()}
    return Layout(
        variables(experiment),
        sizes={"lane": len(experiment.lanes), "eval": max(evals) + 1, **sizes},
        coordinates=coordinates,
    )


def _refuse_changes(
    store: Store, experiment: Experiment, tiles: Sequence[Tile], devices: Sequence[Device]
) -> None:
    """One study, one config, one platform, one text of the user's files: bits must compare."""
    manifest = store.known()
    # Where training data lie changes no numbers, and may have to change to go on; nor do pictures.
    was, now = (
        config.to_json() | {"device_data": None, "landscapes": None}
        for config in (validate(manifest["config"]), experiment.config)
    )
    changed = differences(was, now)
    if changed:
        raise StudyError(
            "the folder holds a study with another config; what differs: "
            + "; ".join(changed)
            + ". Choose another folder with --out, or remove this one"
        )
    moved = obstacles(manifest, experiment, devices)
    if (had := manifest["lanes"]) != len(experiment.lanes):
        raise StudyError(
            f"the folder has {had:,} lanes, and this version plans {len(experiment.lanes):,} for "
            "the same config (an optimizer with one setting has no tuning networks any more). Its "
            "results can be reported (initopt report); to go on, choose another folder with --out"
        )
    names = list(variables(experiment))
    if moved and (manifest["status"] != "done" or len(store.finished(tiles, names)) < len(tiles)):
        raise StudyError(
            "the study was begun elsewhere and cannot go on with the same bits; what differs: "
            + "; ".join(moved)
            + ". Choose another folder with --out to begin anew"
        )


def _reopened(study: Study) -> Study:
    """The study with its manifest read anew; rows that are in memory are not read twice."""
    again = Study(study.dir)
    vars(again).update({name: vars(study)[name] for name in ("dataset",) if name in vars(study)})
    return again


def _write_report(store: Store, study: Study) -> list[Path]:
    files = report.build(study.load(), study.lanes, study.info, study.landscapes)
    store.write_report(files)
    return [store.folder / name for name in files]
