"""What the command line shows, in Rich: progress, tables, lists."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from initopt_jax.audits import LeafAudit
from initopt_jax.config.task_keys import TEST_FUNCTION
from initopt_jax.conformance import Finding
from initopt_jax.data import REGISTRY
from initopt_jax.data.prepared import PREFIX, PreparedSet
from initopt_jax.errors import byte_size
from initopt_jax.reports.charts.probing import PropagationData, judge
from initopt_jax.reports.charts.texts import on_lines, one_line
from initopt_jax.studies.catalogue import catalogue as listed
from initopt_jax.studies.compare_bits import Mismatch
from initopt_jax.studies.forecast import PROGRAM_SECONDS, REACHED, duration
from initopt_jax.studies.preview import Plan
from initopt_jax.studies.study import Study
from initopt_jax.studies.training import StudyProgress
from initopt_jax.studies.verify import Verification, shorten

WIDTH = 160  # columns, where there is no terminal to ask
MISMATCHES = 20  # lanes of which a verification tells; of the others it tells the number
LOOPS = "loops whose length depends on numbers are counted as one round"
PLAIN_EVERY = 10.0  # seconds between progress lines where there is no terminal


class _Rate(ProgressColumn):
    """Lane-steps per second since the run began, so that a resumed run shows its own speed."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.fields['rate']:,.0f} lane-steps/s")


class _Plain(Console):
    """A console to which every text is data: no markup, and no characters that steer a terminal.

    Names and formulas may hold brackets and colons, and notes whatever stood in a stranger's file.
    """

    def __init__(self, **options: Any):
        super().__init__(markup=False, emoji=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """A text as Rich styles it; cells, titles and lines all come by here."""
        return super().render_str(on_lines(text), **options)


def _console() -> Console:
    """Standard output; wide enough for whole tables where it is no terminal."""
    console = _Plain()
    return console if console.is_terminal else _Plain(width=WIDTH)


@contextlib.contextmanager
def progress() -> Iterator[Callable[[StudyProgress], None]]:
    """A progress bar on a terminal, a line every ten seconds elsewhere."""
    console = _Plain(stderr=True)
    began = time.perf_counter()
    if not console.is_terminal:
        yield _plain_progress(console, began)
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[lanes]} lanes"),
        _Rate(),
        TextColumn("{task.fields[diverged]} diverged"),
        TextColumn("{task.fields[left]}"),
        console=console,
    )
    fields = {"lanes": "0", "diverged": 0, "rate": 0.0, "left": ""}
    shown = bar.add_task("compiling", total=None, **fields)
    told: set[str] = set()

    def update(counts: StudyProgress) -> None:
        _tell(bar.console, counts, told)
        bar.update(
            shown,
            description="training" if counts.began else "compiling",
            total=counts.lane_steps,
            completed=counts.lane_steps_done,
            lanes=f"{counts.lanes_done:,}/{counts.lanes:,}",
            diverged=counts.diverged,
            rate=_rate(counts, began),
            left=_left(counts),
        )

    with bar:
        yield update


def _plain_progress(console: Console, began: float) -> Callable[[StudyProgress], None]:
    last = began
    told: set[str] = set()

    def update(counts: StudyProgress) -> None:
        nonlocal last
        _tell(console, counts, told)
        if time.perf_counter() - last < PLAIN_EVERY:
            return
        last = time.perf_counter()
        rate = _rate(counts, began)
        console.print(
            f"{counts.lanes_done:,}/{counts.lanes:,} lanes, {rate:,.0f} lane-steps/s, "
            f"{counts.diverged} diverged, {_left(counts)}",
            highlight=False,
            soft_wrap=True,
        )

    return update


def _tell(console: Console, counts: StudyProgress, told: set[str]) -> None:
    """What a person should know of the study, once."""
    for note in counts.notes:
        if note not in told:
            console.print(f"note: {note}", highlight=False, soft_wrap=True)
            told.add(note)


def _left(counts: StudyProgress) -> str:
    """The time that is left, in words, and what it rests on before a tile has ended."""
    seconds = counts.seconds_left(time.perf_counter())
    if seconds is None:
        return "time left not known yet"
    rests = "" if counts.ended else " by the first tiles so far"
    return f"about {duration(seconds)} left{rests}"


def _rate(counts: StudyProgress, began: float) -> float:
    return (counts.lane_steps_done - counts.resumed_steps) / max(time.perf_counter() - began, 1e-9)


def plan(planned: Plan) -> None:
    """The programs, lanes, tiles and rough memory of a study that was not run."""
    table = Table(title=f"{planned.name}: what would run", title_justify="left")
    for name in ("program", "swept", "lanes", "tiles", "of", "steps", "segment", "tile state"):
        table.add_column(name, justify="left" if name in ("program", "swept") else "right")
    for row in planned.programs:
        steps = ", ".join(map(str, row.steps))
        table.add_row(
            one_line(row.label),
            ", ".join(row.hyperparameters),
            f"{row.lanes:,}",
            f"{row.tiles:,}",
            str(row.width),
            steps,
            str(row.segment_steps),
            byte_size(row.bytes),
        )
    console = _console()
    console.print(table)
    data = planned.dataset
    train = f"{data['train']:,} train" + (", streamed" if planned.streamed else "")
    what = (
        f"data {data['name']} ({train}, {data['val']:,} val, {data['test']:,} test)"
        if data["kind"] != TEST_FUNCTION
        else f"test function {data['name']}"
    )
    console.print(
        f"{planned.lanes:,} lanes in {planned.tiles:,} tiles, "
        f"{planned.parameters:,} parameters each, on {planned.devices} device(s); "
        f"{what}; about {byte_size(planned.bytes)} for data and states besides JAX itself",
        highlight=False,
        soft_wrap=True,
    )
    for line in _costs(planned):
        console.print(line, highlight=False, soft_wrap=True)


def _costs(planned: Plan) -> Iterator[str]:
    """Operations, the share of evaluation, and a rough time with what it rests on."""
    total = planned.training + planned.evaluation
    loops = f" and more ({LOOPS})" if planned.open_loops else ""
    yield (
        f"{_scaled(total)} floating-point operations{loops}, "
        f"{planned.evaluation / max(total, 1.0):.0%} of them for evaluation"
    )
    yield (
        f"roughly {duration(planned.seconds)}: a guess, easily wrong by a factor of 4, by these "
        f"operations, {REACHED:.0%} of the {_scaled(planned.rate)} per second that large products "
        f"reach on one of the devices now, and {PROGRAM_SECONDS:g} s for each program"
    )
    yield from (f"note: {note}" for note in planned.notes)


def _scaled(number: float) -> str:
    """A large number with a word.

    >>> _scaled(4.007e12), _scaled(950.0)
    ('4.01 trillion', '950')
    """
    for word, size in (("trillion", 1e12), ("billion", 1e9), ("million", 1e6)):
        if number >= size:
            return (
                f"{number / size:,.3g} {word}" if number < 1e15 else f"{number / size:,.0f} {word}"
            )
    return f"{number:,.0f}"


def summary(study: Study) -> None:
    """The table of tuned cells; the last line is where the report is."""
    from initopt_jax.reports.charts.captions import how_chosen
    from initopt_jax.reports.page.tables import tuned_table

    best = study.summary()
    made, names = tuned_table(best, study.lanes, study.info)
    title = f"{study.info.name}: {how_chosen(best)}"
    table = Table(title=title, title_justify="left")
    for position, name in enumerate(made.headings):
        table.add_column(name, justify="left" if position < 3 else "right")
    first = [row[0].text for row in made.rows]
    for place, row in enumerate(made.rows):
        again = place > 0 and first[place - 1] == first[place]
        last = first[place + 1 : place + 2] != [first[place]]
        texts = ["" if again else row[0].text, *(entry.text for entry in row[1:])]
        table.add_row(*texts, end_section=last)
    console = _console()
    console.print(table)
    for shown, name in names:
        console.print(f"{shown} stands for: {name}", highlight=False, soft_wrap=True)
    for note in study.notes:
        console.print(f"note: {note}", highlight=False, soft_wrap=True)
    console.print(str(study.dir / "report.html"), highlight=False, soft_wrap=True)


def crossed(study: Study) -> str:
    """The tuned cells in Markdown, initializers by optimizers."""
    from initopt_jax.reports.page.tables import crossed, tuned_table

    return crossed(tuned_table(study.summary(), study.lanes, study.info)[0])


def audit(rows: Sequence[LeafAudit]) -> None:
    """A line per parameter leaf: what it was asked to be and what it is."""
    table = Table(title="first weights, leaf by leaf", title_justify="left")
    names = ["initializer", "leaf", "rule", "shape", "layer", "fans", "asked", "then", "measured"]
    refined = any(row.then for row in rows)
    for name in (*names, "verdict"):
        if name != "then" or refined:
            table.add_column(name)
    for row in rows:
        asked = (
            ""
            if row.distribution is None
            else f"{row.distribution} {row.asked_mean:.4g} ± {row.asked_std:.4g}"
        )
        texts = [
            one_line(row.initializer),
            one_line(row.path),
            row.pattern,
            "x".join(map(str, row.shape)),
            row.layer,
            "" if row.fan_in is None else f"{row.fan_in:g}, {row.fan_out:g}",
            asked,
            *([row.then] if refined else []),
            _measured(row),
            row.verdict if not row.reason else f"{row.verdict}: {row.reason}",
        ]
        table.add_row(*texts)
    _console().print(table)
    unknown = dict.fromkeys(row.path for row in rows if row.layer.startswith("unknown: "))
    for path in unknown:
        example = f'rules: {{"{path}": {{name: he_normal, layout: "i o"}}}}'
        note = f"{path}: the network could not be followed; a rule says how it is used: {example}"
        _console().print(note)


def probing(found: PropagationData) -> None:
    """A verdict per initializer on untrained networks."""
    table = Table(title=f"{found.name}: before training", title_justify="left")
    for name in ("initializer", "signals", "gradients", "verdict"):
        table.add_column(name, overflow="fold")
    for look in found.looks:
        verdict = judge(look, found)
        label = one_line(look.label)
        table.add_row(label, verdict.signal, verdict.gradient, verdict.sentence)
    _console().print(table)


def findings(name: str, found: Sequence[Finding]) -> None:
    """The contracts of something, kept or not."""
    table = Table(title=name, title_justify="left")
    for column in ("contract", "", "why"):
        table.add_column(column, overflow="fold")
    for finding in found:
        table.add_row(finding.contract, finding.outcome, finding.reason)
    _console().print(table)


def _measured(row: LeafAudit) -> str:
    if row.mean is None:
        return "empty"
    text = f"{row.mean:.4g} ± {row.std:.4g}"
    if row.zeros and row.std:
        text += f", {row.zeros:.1%} zeros"
    if row.coherence is not None:
        text += f", coherence {row.coherence:.2g}"
    return text


def verification(outcome: Verification) -> None:
    """What a verification found; the last line is the sum."""
    console = _console()

    def line(text: str) -> None:
        console.print(text, highlight=False, soft_wrap=True)

    for gap in outcome.gaps:
        line(f"lanes {shorten(gap.lanes)}: {gap.reason}")
    for obstacle in outcome.obstacles:
        line(f"run elsewhere: {obstacle}")
    for item in outcome.mismatches[:MISMATCHES]:
        line(_mismatch(item))
    if (more := len(outcome.mismatches) - MISMATCHES) > 0:
        line(f"and {more:,} more lanes")
    if outcome.mismatches and outcome.altered:
        line(
            f"the stored rows of lanes {shorten(outcome.altered)} do not match the checksum of "
            "when they were written: they, or others of their tiles, were changed since"
        )
    if outcome.mismatches and outcome.obstacles:
        console.print(_distances(outcome))
        line("the same bits cannot be expected here, because of what differs above")
    total, bad = len(outcome.lanes), len(outcome.mismatches)
    absent = sum(len(gap.lanes) for gap in outcome.gaps)
    rest = f"; {absent:,} more could not be compared" if absent else ""
    line(f"{total - bad} of {total} lanes: bit-identical{rest}")


def _mismatch(item: Mismatch) -> str:
    entry = f" ({item.entry})" if item.entry else ""
    place = "" if item.step is None else f" at step {item.step:.0f}"
    units = "" if item.ulp_distance is None else f", {item.ulp_distance:,} units in the last place"
    return (
        f"lane {item.lane}: {item.variable}{entry} differs first{place}: stored {item.stored!r}, "
        f"now {item.again!r}; distance {item.absolute:.3g}, relative {item.relative:.3g}{units}"
    )


def _distances(outcome: Verification) -> Table:
    table = Table(title="distance from what is stored", title_justify="left")
    for name in ("variable", "largest relative, at the end", "lane", "lanes that differ", "from"):
        table.add_column(name, justify="left" if name == "variable" else "right")
    for row in outcome.distances:
        begins = "" if row.first_step is None else f"step {row.first_step:.0f}"
        table.add_row(row.variable, f"{row.relative:.3g}", str(row.lane), f"{row.lanes:,}", begins)
    return table


def data_sets(folder: Path, sets: Sequence[PreparedSet]) -> None:
    """Prepared sets of a folder, and the sources that need no preparing."""
    console = _console()
    table = Table(title=f"prepared in {folder}", title_justify="left")
    for name in ("name", "version", "examples", "one example", "classes", "on disk"):
        table.add_column(name, justify="right" if name in ("classes", "on disk") else "left")
    for each in sets:
        examples = ", ".join(f"{split} {count:,}" for split, count in each.splits.items())
        classes = "" if each.classes is None else str(each.classes)
        described = [each.trouble] if each.trouble else [examples]
        rest = ["", ""] if each.trouble else [each.example, classes]
        table.add_row(each.name, each.version, *described, *rest, byte_size(each.bytes))
    if sets:
        console.print(table)
    else:
        console.print(
            f"nothing is prepared in {folder}; initopt data prepare NAME does",
            highlight=False,
            soft_wrap=True,
        )
    bundled = Table(title="need no preparing", title_justify="left")
    for name in ("name", "for", "what"):
        bundled.add_column(name, overflow="fold")
    for entry in REGISTRY.values():
        if not entry.name.startswith(PREFIX):
            bundled.add_row(entry.name, ", ".join(entry.kinds), entry.description)
    console.print(bundled)


def catalogue(kind: str | None) -> None:
    """Names of one kind, or of all, with formula and reference."""
    console = _console()
    for name, entries in listed(kind).items():
        table = Table(title=name, title_justify="left", show_lines=False)
        for column in ("name", "formula", "reference"):
            table.add_column(column, overflow="fold")
        for entry in entries:
            table.add_row(*entry)
        console.print(table)
