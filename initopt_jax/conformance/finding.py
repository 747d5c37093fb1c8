"""What holding something to its contracts gives: one finding per contract."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from initopt_jax.errors import ConfigError
from initopt_jax.lookup.user_code import first_line

__all__ = ["Broken", "Finding", "Unchecked", "first_line", "hold_to", "refuse_values", "words"]
Outcome = Literal["ok", "fails", "not checked"]


@dataclass(frozen=True)
class Finding:
    """One contract and whether it is kept; `reason` says why not."""

    contract: str
    outcome: Outcome
    reason: str = ""


class Broken(Exception):
    """A contract that is not kept; the message says how."""


class Unchecked(Exception):
    """A contract that cannot be looked at; the message says why."""


def hold_to(contract: Callable[[Any], None], subject: Any) -> Finding:
    """The finding of one contract: a function whose docstring says it; raises if broken."""
    text = words(contract)
    try:
        contract(subject)
    except Broken as broken:
        return Finding(text, "fails", str(broken))
    except Unchecked as unchecked:
        return Finding(text, "not checked", str(unchecked))
    except ConfigError as error:
        return Finding(text, "fails", first_line(error))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001, whatever it raises is what was asked for
        return Finding(text, "fails", f"{type(error).__name__}: {first_line(error)}")
    return Finding(text, "ok")


def refuse_values(
    what: str, call: Callable[..., Any], given: Mapping[str, Any], required: Collection[str] = ()
) -> None:
    """Refuse values of options that were given: what fails with them, and without them does not.

    Args:
        what: has the options, for the message.
        call: `(**options) -> anything`, which raises TypeError or ValueError for wrong values.
        given: the options.
        required: options without a default: where one is given, the values are to blame.

    Raises:
        ConfigError: the values are to blame.

    >>> refuse_values("root", lambda x=4: x**0.5 + 0 * int(x), {"x": "four"})
    Traceback (most recent call last):
    initopt_jax.errors.ConfigError: root: unsupported operand type(s) for ** or pow(): ...
    """
    if not given:
        return
    try:
        call(**given)
    except (TypeError, ValueError) as error:
        if not set(required) & set(given):
            try:
                call()
            except Exception:  # noqa: BLE001, it fails by itself, whatever the values
                return
        said = first_line(error)
        raise ConfigError(said if said.startswith(what) else f"{what}: {said}") from error
    except Exception:  # noqa: BLE001, no matter of values: a contract says what
        return


def words(contract: Callable[..., Any]) -> str:
    """A contract in words, the first line of its docstring.

    >>> def kept(subject):
    ...     '''It is kept.'''
    >>> words(kept)
    'It is kept'
    """
    return (contract.__doc__ or "").strip().splitlines()[0].rstrip(".")
