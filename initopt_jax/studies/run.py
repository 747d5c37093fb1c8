"""Run or resume a study: the only module that knows the whole flow."""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from initopt_jax import reports, stats
from initopt_jax.audits import check
from initopt_jax.config.schema import Source, differences, read_config, validate
from initopt_jax.engine.devices import set_up_devices
from initopt_jax.engine.keep import KEPT
from initopt_jax.engine.plan import Tile
from initopt_jax.errors import Interrupted, StudyError
from initopt_jax.lookup import user_files
from initopt_jax.lookup.names import own_code
from initopt_jax.lookup.trust import trusting
from initopt_jax.planning.probes import dimension_labels
from initopt_jax.planning.resolve import Experiment
from initopt_jax.precision import in_precision
from initopt_jax.probes.slices import record
from initopt_jax.store import LANDSCAPES, SURFACE, ArrayLayout, Store, maker
from initopt_jax.store.links import refuse_strange_files
from initopt_jax.studies.equal_seeds import curve_notes, known_notes
from initopt_jax.studies.loss_landscapes import StoredWeights, check_landscapes, make_landscapes
from initopt_jax.studies.manifest import data_folders, new_manifest, obstacles
from initopt_jax.studies.preview import (
    all_tiles,
    audit_experiment,
    initial_weights,
    own_files,
    prepare,
)
from initopt_jax.studies.study import Study, write_report
from initopt_jax.studies.training import StudyProgress, train, variables
from initopt_jax.types import Device


def run(
    config: Source,
    out: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    devices: int | None = None,
    progress: Callable[[StudyProgress], None] | None = None,
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
    known = read_config(config, overrides)
    store = Store(Path(out) if out else Path("runs") / known.name)
    if store.exists:
        refuse_strange_files(store.folder)
    manifest = store.known()
    with in_precision(known.precision):
        first = _first_folders(store, manifest)
        _refuse_other_code(manifest, own_files(known, first))
        experiment = prepare(
            known,
            first=first,
            data_first=data_folders(manifest, store.folder) if maker.is_own(manifest) else [],
            trust=trust,
        )
        with trusting(trust), own_code(experiment.sources):
            return _carry_out(store, experiment, used, progress, stop or threading.Event())


def _first_folders(store: Store, manifest: Mapping[str, Any]) -> list[Path]:
    """Where the files of a study lay when it began; somebody else's study has no say in it."""
    recorded = user_files.recorded_in(manifest) if maker.is_own(manifest) else {}
    return user_files.folders(recorded, store.folder)


def _refuse_other_code(
    manifest: Mapping[str, Any], now: Mapping[str, user_files.SourceFile]
) -> None:
    """Raise StudyError, before any is run, where the user's files are not those of the study."""
    recorded = user_files.recorded_in(manifest)
    shared = {name: file for name, file in now.items() if name in recorded}
    changed = user_files.changes({name: recorded[name] for name in shared}, shared)
    if changed:
        raise StudyError(
            f"the folder holds a study of other code; what differs: {'; '.join(changed)}. Choose "
            "another folder with --out to begin anew, or put the files back"
        )


def _carry_out(
    store: Store,
    experiment: Experiment,
    devices: Sequence[Device],
    progress: Callable[[StudyProgress], None] | None,
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
            write_report(store, study)
    return study


def _draw_landscapes(store: Store, study: Study, experiment: Experiment, *, anew: bool) -> bool:
    """Make the pictures that a config asks for, unless they are there. Returns whether it did."""
    entries = experiment.config.to_json()["landscapes"]
    text, content = json.dumps(entries), store.read_made(LANDSCAPES)
    known = None if content is None else record.entries_of(content)
    drawn = (anew and content is not None) or known != (text if entries or content else None)
    if drawn:
        data = study.load()
        weights = StoredWeights(experiment, study.kept, data["step"].values)
        best = stats.best_cells(data, study.lanes, study.info)
        made = make_landscapes(experiment, best, weights)
        store.write_made({LANDSCAPES: record.to_bytes(made, text)})
    manifest = store.manifest()
    if manifest["config"]["landscapes"] != entries:
        # The only part of a config that may change afterwards: weights are read, none is changed.
        manifest["config"]["landscapes"] = entries
        store.write_manifest(manifest)
    return drawn


def _store_surface(store: Store, study: Study, experiment: Experiment) -> bool:
    """Store the values of a test function that maps need, unless they are there.

    Whoever reads the study later has, and needs, no code of its author's.
    """
    test_function, found = experiment.test_function, study.info.test_function
    if test_function is None or "point" not in study.dataset:  # without paths there are no maps
        return False
    if found is not None and found.mesh is not None:
        return False
    mesh = reports.mesh_of(test_function, study.load(), study.lanes, study.info)
    store.write_made({SURFACE: mesh.to_bytes(test_function.describe())})
    return True


def _layout(experiment: Experiment, tiles: Sequence[Tile]) -> ArrayLayout:
    evals = [tile.steps // experiment.programs[tile.program].eval_every for tile in tiles]
    coordinates = dimension_labels(experiment.workload)
    if experiment.keep.at is not None:
        coordinates[KEPT] = experiment.keep.labels
    sizes = {**experiment.probing.sizes, **experiment.keep.sizes}
    sizes |= {name: len(labels) for name, labels in coordinates.items()}
    return ArrayLayout(
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
