"""Preparing TFDS sets in ArrayRecord: the MNIST family without TensorFlow, others by TFDS alone."""

import contextlib
import hashlib
import io
import socket
import tempfile
import types
import urllib.parse
import urllib.request
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from initopt_jax.data import prepared, tfds_tables
from initopt_jax.data.idx import read_idx
from initopt_jax.data.pictures import check_features
from initopt_jax.errors import ConfigError, unknown_name
from initopt_jax.memory import require_memory
from initopt_jax.types import Split

# Pictures and labels of each split, as the family names its files.
_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
_PUBLISHED = {"train": 60_000, "test": 10_000}  # examples of MNIST, Fashion-MNIST and KMNIST
_FAMILY = ("mnist", "fashion_mnist", "kmnist")
_ARCHIVED = "emnist"  # the same format, but six sets of files in one archive


class Prepared(NamedTuple):
    """What preparing came to.

    Attributes:
        name: as a config names the set.
        folder: where it lies.
        new: False where it lay there before, and nothing was done.
        unchecked: files whose checksum could not be checked, since none is recorded for them.
    """

    name: str
    folder: Path
    new: bool
    unchecked: tuple[str, ...] = ()


class _File(NamedTuple):
    """Content of one idx file, and whether its recorded checksum was checked."""

    name: str
    content: bytes
    checked: bool


def prepare(
    name: str, *, manual_dir: Path | None = None, data_dir: str | Path | None = None
) -> Prepared:
    """Download a set and prepare it in ArrayRecord, whole or not at all.

    MNIST, Fashion-MNIST, KMNIST and EMNIST need no TensorFlow. Others are prepared by their own
    TFDS code, which needs TensorFlow wherever it unpacks an archive.

    Args:
        name: `NAME[/CONFIG][:VERSION]`, with or without `tfds:`.
        manual_dir: folder with files that were downloaded before; nothing is downloaded for the
            sets that need no TensorFlow.
        data_dir: where to; None for TFDS_DATA_DIR or TFDS's default.

    Returns:
        The folder, and whether it is new: what is prepared already is left as it is.

    Raises:
        ConfigError: the set is unknown or none that can be read here, a file is missing or is not
            the published one, TensorFlow is needed and absent, or the network or the folder
            cannot be used.
    """
    import tensorflow_datasets as tfds

    parts, target = prepared.parse_name(name), prepared.data_folder(data_dir)
    if manual_dir is not None and not manual_dir.is_dir():
        raise ConfigError(f"manual folder {manual_dir} does not exist or is no folder")
    prepared.refuse_unknown(name, parts.set, target)
    with _told(name, target):
        kind = tfds.builder_cls(parts.set)
        _refuse_config(name, parts.config, kind)
        options: dict[str, Any] = {"config": parts.config} if parts.config else {}
        if parts.version:
            options["version"] = parts.version
    if parts.set in _FAMILY:
        return prepare_idx(
            kind, manual_dir=manual_dir, data_dir=target, counts=_PUBLISHED, **options
        )
    if parts.set == _ARCHIVED:
        return prepare_idx(
            kind,
            manual_dir=manual_dir,
            data_dir=target,
            archive=archive_member(parts.config),
            **options,
        )
    with _told(name, target):
        builder = kind(data_dir=target, file_format="array_record", **options)
        info = builder.info
        if tfds_tables.find_columns(dict(info.features.items()), info.supervised_keys) is None:
            check_features(name, dict(info.features.items()))
        if manual_dir is None and _already(builder) is None:
            _refuse_offline(kind, target)
        manual = None if manual_dir is None else str(manual_dir)
        return _run(
            builder, tfds.download.DownloadConfig(try_download_gcs=False, manual_dir=manual)
        )


def prepare_idx(
    kind: Any,
    *,
    manual_dir: Path | None,
    data_dir: Path,
    counts: Mapping[str, int] | None = None,
    archive: Callable[[str], str] | None = None,
    **options: Any,
) -> Prepared:
    """Prepare a set of the MNIST family from its idx files, as its own TFDS code would.

    The examples come in the same order with the same pictures and labels; only the packing of a
    picture may take other bytes.

    Args:
        kind: the TFDS builder class; its `url_infos` tell addresses, sizes and checksums.
        manual_dir: folder with the files; None to download them.
        data_dir: where to.
        counts: examples that each split must have.
        archive: for files inside of one archive, from the usual name of a file to its name there.
        options: of the builder: `config`, `version`.

    Returns:
        As `prepare`.

    Raises:
        ConfigError: as `prepare`.
    """
    import tensorflow_datasets as tfds

    name = f"{prepared.PREFIX}{kind.name}"
    arrays: dict[str, Split] = {}

    with _told(name, data_dir):
        builder = _from_arrays(kind, arrays)(
            data_dir=data_dir, file_format="array_record", **options
        )
        if (done := _already(builder)) is not None:
            return done
        opened = _archived if archive else _separate
        files = opened(kind, manual_dir, data_dir, archive or str)
        arrays |= _checked_arrays(files, builder.info.features, counts)
        config = tfds.download.DownloadConfig(try_download_gcs=False)
        unchecked = tuple(file.name for pair in files.values() for file in pair if not file.checked)
        with tempfile.TemporaryDirectory() as nothing:  # TFDS makes its folder of downloads anyway
            return _run(builder, config, nothing)._replace(unchecked=unchecked)


def _from_arrays(kind: Any, arrays: Mapping[str, Split]) -> Any:
    """The builder class with its own description of the set, and its examples from `arrays`."""

    def split_generators(self: Any, dl_manager: Any) -> Any:
        return {split: generate_examples(self, part) for split, part in arrays.items()}

    def generate_examples(self: Any, part: Split) -> Any:
        for number, (picture, label) in enumerate(zip(*part, strict=True)):
            yield number, {"image": _png(picture), "label": int(label)}

    members = {
        "name": kind.name,
        "__module__": __name__,
        "_split_generators": split_generators,
        "_generate_examples": generate_examples,
    }
    return types.new_class(
        "FromFiles", (kind,), {"skip_registration": True}, lambda body: body.update(members)
    )


def hide_progress() -> None:
    """No progress bars of TFDS, for logs."""
    import tensorflow_datasets as tfds

    tfds.disable_progress_bar()


def _run(builder: Any, config: Any, download_dir: str | None = None) -> Prepared:
    """Let TFDS write the set: into a folder beside its place, renamed when it is whole."""
    if (done := _already(builder)) is not None:
        return done
    place, root = Path(builder.data_path), Path(builder.data_dir_root)
    try:
        # What TFDS prints is where to find TensorFlow; the message says that, and how to install.
        with contextlib.redirect_stdout(io.StringIO()):
            builder.download_and_prepare(download_dir=download_dir, download_config=config)
    finally:
        for folder in place.parents:
            if folder == root:
                break
            with contextlib.suppress(OSError):  # what is not empty stays
                folder.rmdir()
    return Prepared(_full_name(builder), place, new=True)


def _already(builder: Any) -> Prepared | None:
    """What is there already; a folder that holds no whole set is refused."""
    place = Path(builder.data_path)
    if (place / "features.json").is_file():
        return Prepared(_full_name(builder), place, new=False)
    if place.exists():
        raise ConfigError(f"{place} is there and holds no prepared set; move it away first")
    return None


def _full_name(builder: Any) -> str:
    config = builder.builder_config
    return f"{prepared.PREFIX}{builder.name}" + (f"/{config.name}" if config else "")


def _refuse_config(name: str, config: str | None, kind: Any) -> None:
    """A set with configs needs one of them, and others need none."""
    known = sorted(kind.builder_configs)
    bare = f"{prepared.PREFIX}{kind.name}"
    if config is None and known:
        raise ConfigError(
            f"data set {name} has configs; name one of them: "
            + ", ".join(f"{bare}/{each}" for each in known)
        )
    if config is not None and not known:
        raise ConfigError(f"data set {bare} has no configs, got {config!r}")
    if config is not None and config not in known:
        raise ConfigError(unknown_name(f"config of data set {bare}", config, known))


def archive_member(config: str | None) -> Callable[[str], str]:
    """From the family's name of a file to its name inside of EMNIST's archive."""
    return lambda file: f"gzip/emnist-{config}-{file.replace('t10k-', 'test-')}"


def _separate(
    kind: Any, manual_dir: Path | None, data_dir: Path, _: Callable[[str], str]
) -> dict[str, tuple[_File, _File]]:
    """The four files of a set, each by itself."""
    names = [file for pair in _FILES.values() for file in pair]
    if manual_dir is None:
        found = _downloaded(kind, names, data_dir)
    else:
        found = {file: _manual(manual_dir, file, unpacked=True) for file in names}
    contents = {file: _verified(kind, path, file) for file, path in found.items()}
    return {split: (contents[one], contents[two]) for split, (one, two) in _FILES.items()}


def _archived(
    kind: Any, manual_dir: Path | None, data_dir: Path, member: Callable[[str], str]
) -> dict[str, tuple[_File, _File]]:
    """The four files of a set, from the one archive that its TFDS code downloads."""
    (file,) = (info.filename for info in kind.url_infos.values())
    if manual_dir is None:
        path = _downloaded(kind, [file], data_dir)[file]
    else:
        path = _manual(manual_dir, file, unpacked=False)
    packed = _verified(kind, path, file)
    try:
        with zipfile.ZipFile(io.BytesIO(packed.content)) as archive:
            files = [member(file) for pair in _FILES.values() for file in pair]
            size = sum(archive.getinfo(name).file_size for name in files)
            require_memory(size, str(path), "copy or download it again")
            read = {
                split: [_File(member(file), archive.read(member(file)), True) for file in pair]
                for split, pair in _FILES.items()
            }
    except (zipfile.BadZipFile, KeyError) as error:
        raise ConfigError(f"{path} cannot be read as an archive: {error}") from None
    return {split: (images, labels) for split, (images, labels) in read.items()}


def _manual(manual_dir: Path, file: str, *, unpacked: bool) -> Path:
    names = [file, file.removesuffix(".gz")] if unpacked else [file]
    for name in names:
        if (manual_dir / name).is_file():
            return manual_dir / name
    raise ConfigError(
        f"{manual_dir} lacks the file {' (or '.join(names)}{')' if len(names) > 1 else ''}"
    )


def _downloaded(kind: Any, files: list[str], data_dir: Path) -> dict[str, Path]:
    """The files by the addresses that the set's TFDS code records; kept in `downloads`."""
    import tensorflow_datasets as tfds

    _refuse_offline(kind, data_dir)
    urls = {info.filename: url for url, info in kind.url_infos.items()}
    manager = tfds.download.DownloadManager(
        download_dir=data_dir / "downloads",
        url_infos=kind.url_infos,
        dataset_name=kind.name,
        force_checksums_validation=True,
    )
    with contextlib.redirect_stdout(io.StringIO()):
        paths = manager.download({file: urls[file] for file in files})
    return {file: Path(path) for file, path in paths.items()}


def _refuse_offline(kind: Any, data_dir: Path) -> None:
    """Say at once that there is no network: TFDS would try for minutes."""
    earlier = data_dir / "downloads" / kind.name
    if any(path.is_file() for path in earlier.rglob("*")) or urllib.request.getproxies():
        return
    hosts = {urllib.parse.urlsplit(url).hostname for url in kind.url_infos or ()} - {None}
    for host in sorted(hosts)[:1]:
        try:
            socket.getaddrinfo(host, None)
        except socket.gaierror as error:
            raise ConfigError(
                f"{kind.name} cannot be downloaded: {host} is not found ({error.strerror}). "
                "Without a network, name the folder of files that you have: --manual-dir"
            ) from None


def _verified(kind: Any, path: Path, file: str) -> _File:
    """Content of a file, held to the checksum that is recorded for `file`."""
    content = path.read_bytes()
    if path.name == file.removesuffix(".gz"):  # unpacked: the checksum is that of the packed file
        return _File(path.name, content, False)
    recorded = next(info for info in kind.url_infos.values() if info.filename == file)
    digest = hashlib.sha256(content).hexdigest()
    if digest != recorded.checksum:
        raise ConfigError(
            f"{path} is not the published {file}: its SHA-256 is {digest} ({len(content):,} "
            f"bytes), expected {recorded.checksum} ({int(recorded.size):,} bytes)"
        )
    return _File(str(path), content, True)


def _checked_arrays(
    files: Mapping[str, tuple[_File, _File]], features: Any, counts: Mapping[str, int] | None
) -> dict[str, Split]:
    """Pictures [N, H, W, 1] and labels [N] of each split, as the set's features promise them."""
    shape, classes = check_features("of idx files", dict(features.items()))
    arrays = {}
    for split, (images, labels) in files.items():
        pictures = read_idx(images.content, name=images.name, ndim=3)
        targets = read_idx(labels.content, name=labels.name, ndim=1)
        if pictures.shape[1:] != shape[:2]:
            raise ConfigError(
                f"{images.name} holds pictures of {pictures.shape[1:]}, expected {shape[:2]}"
            )
        if len(pictures) != len(targets):
            raise ConfigError(
                f"{images.name} holds {len(pictures):,} pictures, and {labels.name} "
                f"{len(targets):,} labels"
            )
        if counts is not None and len(pictures) != counts[split]:
            raise ConfigError(
                f"{images.name} holds {len(pictures):,} pictures, expected {counts[split]:,}"
            )
        if targets.size and targets.max() >= classes:
            raise ConfigError(
                f"{labels.name} holds the label {targets.max()}, expected 0..{classes - 1}"
            )
        arrays[split] = Split(pictures[..., np.newaxis], targets)
    return arrays


def _png(picture: np.ndarray) -> io.BytesIO:
    """A grey picture [H, W, 1] packed without loss."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture[..., 0]).save(buffer, format="PNG")
    buffer.seek(0)
    return buffer


@contextlib.contextmanager
def _told(name: str, data_dir: Path) -> Iterator[None]:
    """Whatever TFDS, the network or the disk end in, as one message."""
    import tensorflow_datasets as tfds

    mismatch = tfds.download.download_manager.NonMatchingChecksumError
    try:
        yield
    except ConfigError:
        raise
    except (
        OSError,  # those of the network among them
        ImportError,
        AssertionError,  # TFDS's own word for manual files that are missing, and for versions
        AttributeError,
        RuntimeError,
        ValueError,
        KeyError,
        mismatch,
        tfds.download.DownloadError,
    ) as error:
        if not prepared.has_tensorflow() and _missing_import(error):
            raise ConfigError(
                f"preparing {name} needs TensorFlow, which is not installed: {prepared.EXTRA}, "
                "then again (what was downloaded is kept)"
            ) from None
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{name} could not be prepared in {data_dir}: {reason}") from None


def _missing_import(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ImportError):
            return True
        error = error.__cause__ or error.__context__
    return False
