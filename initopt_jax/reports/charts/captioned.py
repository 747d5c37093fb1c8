"""A chart with its caption, as a section puts it into the report."""

from typing import Literal, NamedTuple, Protocol

Section = Literal["figures", "weights", "loss"]


class Titled(Protocol):
    """A chart, or what is drawn as a picture."""

    @property
    def title(self) -> str:
        """What it is called."""
        ...


class Captioned(NamedTuple):
    """A figure of the report: its file name, its chart and what it shows in one sentence.

    section: where it stands: with the results, the weights, or the loss.
    """

    name: str
    chart: Titled
    caption: str
    section: Section = "figures"
