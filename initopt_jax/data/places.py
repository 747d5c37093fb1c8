"""Where the files of a config's data lie: beside the config, or where we stand."""

from collections.abc import Sequence
from pathlib import Path

from initopt_jax.errors import ConfigError, nearest
from initopt_jax.opening import refuse_special


def locate(name: str, path: str, folders: Sequence[Path], *, folder: bool = False) -> Path:
    """The file (or folder) that a path in a config means.

    Args:
        name: of the data set, for messages.
        path: absolute, from the home folder (`~/`), or relative to one of `folders`.
        folders: searched in order; empty for the current one.
        folder: whether a folder is meant.

    Returns:
        The first place that exists.

    Raises:
        ConfigError: there is none, or it is a file where a folder is meant, or the reverse.
    """
    if not path.strip():
        raise ConfigError(f"data set {name!r} needs a path after the colon")
    try:
        wanted = Path(path).expanduser()
        # An absolute path replaces whatever folder it is joined to.
        places = list(dict.fromkeys((base / wanted).resolve() for base in folders or [Path.cwd()]))
        found = next((place for place in places if place.exists()), None)
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links, a name too long, NUL
        raise ConfigError(f"data set {name!r}: no path to a file ({error})") from None
    if found is None:
        looked = " and ".join(str(place) for place in places)
        raise ConfigError(f"data set {name}: nothing is at {looked}{_near(places)}")
    if found.is_dir() != folder:
        meant, got = ("folder", "file") if folder else ("file", "folder")
        raise ConfigError(f"data set {name}: {found} is a {got}, and a {meant} is needed")
    if not folder:
        refuse_special(f"data set {name}", found)
    return found


def root_of(path: str, folders: Sequence[Path]) -> Path | None:
    """The folder from which a relative path is found; None where it is absolute or not there."""
    wanted = Path(path).expanduser()
    if not path.strip() or wanted.is_absolute():
        return None
    return next((base.resolve() for base in folders if (base / wanted).exists()), None)


def _near(places: Sequence[Path]) -> str:
    for place in places:
        if place.parent.is_dir():
            close = nearest(place.name, sorted(entry.name for entry in place.parent.iterdir()))
            if close:
                return f"; did you mean {close!r}?"
    return ""
