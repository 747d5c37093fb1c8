"""The command `initopt`. JAX and everything behind it are imported when a command runs."""

import codecs
import errno
import io
import logging
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import typer.core

from initopt_jax.cli.interrupts import Signals, ignore_afterwards, unwinding, watched
from initopt_jax.errors import CheckFailed, ConfigError, Interrupted, StudyError, byte_size


class _Commands(typer.core.TyperGroup):
    """What the user's own code raises in a command, or ends the program with, is one line."""

    def invoke(self, ctx: Any) -> Any:
        # Not at the top: it knows JAX's errors, and `initopt --help` need not wait for JAX.
        from initopt_jax.lookup.user_code import users_failures

        with users_failures("your own code failed"):
            try:
                return super().invoke(ctx)
            except KeyboardInterrupt:
                if not isinstance(ctx.obj, Signals):
                    raise
                raise ConfigError("your own code raised KeyboardInterrupt") from None


app = typer.Typer(
    cls=_Commands,
    help="Study how initialization and optimization shape what a neural network learns.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

data_app = typer.Typer(
    help="Data sets: what is there, preparing more of TFDS, and the cache of decoded pictures.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")

ConfigArgument = Annotated[Path, typer.Argument(help="YAML file of the study.", show_default=False)]
FolderArgument = Annotated[Path, typer.Argument(help="Folder of a study.", show_default=False)]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Change a config value, e.g. seeds=3."),
]
DataOption = Annotated[
    Path | None, typer.Option(help="Folder of prepared sets; default TFDS_DATA_DIR, or TFDS's.")
]
DevicesOption = Annotated[
    int | None, typer.Option(min=1, help="Devices to use; default all, on CPU one per core.")
]

TrustOption = Annotated[
    bool,
    typer.Option("--trust", help="Run code of installed packages, or of others; docs/security.md."),
]


# What tables hold beyond ASCII, where the terminal's encoding lacks it.
SPELLED = {"\N{MINUS SIGN}": "-", "±": "+-", "×": "x", "·": "*", "²": "^2", "³": "^3", "…": "..."}


def _print_in_any_encoding() -> None:
    """A letter that the output's encoding lacks is spelled out: no error, and no lost sign."""

    def spell(error: UnicodeError) -> tuple[str, int]:
        if not isinstance(error, UnicodeEncodeError):
            raise error
        letters = error.object[error.start : error.end]
        plain = [SPELLED.get(letter, ascii(letter).strip("'")) for letter in letters]
        return "".join(plain), error.end

    codecs.register_error("spell", spell)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="spell")


def _log_plainly() -> None:
    """Notes of the package are lines of text, also where a library sets logging up its own way."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logger = logging.getLogger("initopt_jax")
    logger.addHandler(handler)
    logger.propagate = False


def program() -> None:
    """`initopt`, as a process of its own: see `main`."""
    ignore_afterwards()
    main()


def main() -> None:
    """Run the command line; every error that is the user's to mend is one line and exit code 2."""
    _log_plainly()
    _print_in_any_encoding()
    os.environ["MPLBACKEND"] = "agg"  # figures are files, whatever shows them elsewhere
    try:
        with watched() as signals:
            try:
                app(obj=signals)
            finally:
                if sys.stdout is not None:  # what is closed from the start
                    sys.stdout.flush()
    except BrokenPipeError:
        _close_output()
        sys.exit(1)
    except OSError as error:
        if error.filename is not None:
            _fail(f"{error.strerror}: {str(error.filename)!r}", 2)
        if error.errno == errno.ENOENT:
            _fail("the current folder does not exist any more; change to another", 2)
        _close_output()
        _fail(f"the output cannot be written: {error.strerror}", 2)
    except MemoryError:
        _fail("there is not enough memory; choose smaller sizes or fewer samples", 2)
    except Interrupted as error:
        _fail(str(error), 3)
    except CheckFailed as error:
        _fail(str(error), 1)
    except (ConfigError, StudyError) as error:
        _fail(str(error), 2)


def _close_output() -> None:
    """Let nothing more be written where nothing can be, so that Python does not try at its end."""
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _fail(message: str, code: int) -> None:
    kind = {1: "failed", 2: "error", 3: "stopped"}[code]
    typer.echo(f"{kind}: {message}", err=True)
    sys.exit(code)


@app.command()
def run(
    context: typer.Context,
    config: ConfigArgument,
    set_: SetOption = None,
    out: Annotated[Path | None, typer.Option(help="Folder; default runs/<name>.")] = None,
    devices: DevicesOption = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show the plan.")] = False,
    fast: Annotated[
        bool, typer.Option("--fast", help="Only ten steps of one seed, in runs/<name>-fast.")
    ] = False,
    trust: TrustOption = False,
) -> None:
    """Run a study; again on the same folder: resume it."""
    from initopt_jax.cli import show
    from initopt_jax.config.schema import read_config
    from initopt_jax.planning.fast_form import fast_form
    from initopt_jax.studies import preview, training
    from initopt_jax.studies.run import run as run_study

    study = read_config(config, set_ or [])
    if fast:
        study = fast_form(study)
    if dry_run:
        show.plan(preview.plan(study, devices=devices, trust=trust))
        return
    signals = _of_command(context)
    with show.progress() as shown:

        def progress(counts: training.StudyProgress) -> None:
            signals.gently = counts.lanes_done < counts.lanes
            shown(counts)

        finished = run_study(
            *(study, out),
            devices=devices,
            progress=progress,
            stop=signals.stop,
            trust=trust,
        )
    show.summary(finished)


@app.command()
def report(
    folder: FolderArgument,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Only print the tuned cells as Markdown tables.")
    ] = False,
) -> None:
    """Rebuild summary.csv, figures/ and report.html from a study's results."""
    from initopt_jax.cli import show
    from initopt_jax.studies import study

    opened = study.open_study(folder)
    if markdown:
        typer.echo(show.crossed(opened))
        return
    opened.report()
    show.summary(opened)


@app.command()
def verify(
    folder: FolderArgument,
    sample: Annotated[int | None, typer.Option(min=1, help="So many lanes; default all.")] = None,
    lane: Annotated[list[int] | None, typer.Option(help="This lane; may be repeated.")] = None,
    devices: DevicesOption = None,
    trust: TrustOption = False,
) -> None:
    """Re-run lanes from their seeds and compare bits: exit 0 same, 1 differs, 2 cannot check."""
    from initopt_jax.cli import show
    from initopt_jax.studies import verify as verification

    outcome = verification.verify(
        folder, sample=sample, lanes=lane or [], devices=devices, trust=trust
    )
    show.verification(outcome)
    raise typer.Exit(outcome.exit_code)


@app.command()
def audit(
    config: ConfigArgument,
    set_: SetOption = None,
    plot: Annotated[
        Path | None, typer.Option(help="A picture of each leaf's histogram: .png, .pdf or .svg.")
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Show every parameter leaf, what it was asked to be and what it is, without training."""
    from initopt_jax.cli import show
    from initopt_jax.studies import preview

    rows = preview.audit(config, set_ or [], plot=plot, trust=trust)
    show.audit(rows)
    if plot:
        typer.echo(str(plot))
    raise typer.Exit(int(any(row.verdict == "fails" for row in rows)))


@app.command()
def probe(
    config: ConfigArgument,
    set_: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="File (.html) or folder; default runs/<name>-probe.html.")
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Show whether signals and gradients vanish, explode or pass, without training."""
    from initopt_jax.cli import show
    from initopt_jax.studies import signal_propagation

    found, page = signal_propagation.probe(config, set_ or [], out, trust=trust)
    show.probing(found)
    typer.echo(str(page))


@app.command()
def check(
    name: Annotated[
        str,
        typer.Argument(help="An initializer, optimizer, model ...: a name, or module:function."),
    ],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="OPTION=VALUE", help="Value of one of its options."),
    ] = None,
    static: Annotated[
        list[str] | None,
        typer.Option(metavar="OPTION=VALUE", help="Optimizers: an option that is never swept."),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Models: the data to learn, such as digits or tfds:mnist.")
    ] = None,
    input_: Annotated[
        str | None,
        typer.Option("--input", metavar="SIZES", help="Models: made-up examples, e.g. 28,28,1."),
    ] = None,
    outputs: Annotated[
        int | None, typer.Option(help="Models: outputs for made-up examples.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="Models: classification, regression or reconstruction.")
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="What it is, such as schedule, where its function does not say."),
    ] = None,
    trust: TrustOption = False,
) -> None:
    """Hold an initializer, optimizer, model ... to what a study relies on; say what fails and why.

    A schedule, modifier, augmentation, probe, task, test function or data set is tried in a study.
    """
    from initopt_jax.cli import show
    from initopt_jax.studies import preview

    findings = preview.check(
        *(name, set_ or [], static or []),
        dataset=data,
        shape=input_,
        outputs=outputs,
        task=task,
        kind=kind,
        trust=trust,
    )
    show.findings(name, findings)
    raise typer.Exit(int(any(finding.outcome == "fails" for finding in findings)))


@app.command(name="list")
def list_(
    kind: Annotated[
        str | None,
        typer.Argument(help="One kind, such as initializers or transforms; default all."),
    ] = None,
) -> None:
    """List what a config may name, with formula and reference."""
    from initopt_jax.cli import show

    show.catalogue(kind)


@data_app.command(name="list")
def data_list(data_dir: DataOption = None) -> None:
    """List the data sets that are prepared in a folder, and those that need no preparing."""
    from initopt_jax.cli import show
    from initopt_jax.data import prepared

    folder = prepared.data_folder(data_dir)
    if data_dir is not None and not folder.is_dir():
        raise ConfigError(f"data folder {folder} does not exist or is no folder")
    show.data_sets(folder, prepared.list_prepared(folder))


@data_app.command(name="prepare")
def data_prepare(
    name: Annotated[str, typer.Argument(help="NAME or NAME/CONFIG, such as mnist.")],
    manual_dir: Annotated[
        Path | None, typer.Option(help="Folder of files downloaded before, used instead.")
    ] = None,
    data_dir: DataOption = None,
) -> None:
    """Download a set of TFDS and prepare it; the MNIST family needs no TensorFlow."""
    from initopt_jax.data import prepare

    if not sys.stderr.isatty():
        prepare.hide_progress()
    with unwinding():
        done = prepare.prepare(name, manual_dir=manual_dir, data_dir=data_dir)
    for file in done.unchecked:
        typer.echo(f"{file}: counts and shapes checked; checksums are known of packed files only")
    what = "prepared in" if done.new else "is prepared already, nothing was done:"
    typer.echo(f"{done.name} {what} {done.folder}")


@data_app.command(name="cache")
def data_cache(
    clear: Annotated[bool, typer.Option("--clear", help="Remove all of it.")] = False,
) -> None:
    """Show how much the cache of decoded data holds, or clear it."""
    from initopt_jax.data import cache

    held = cache.clear() if clear else cache.usage()
    entries = f"{held.entries} {'entry' if held.entries == 1 else 'entries'}"
    rest = "removed" if clear else f"of {byte_size(held.limit)} allowed (INITOPT_CACHE_GIB)"
    typer.echo(f"{held.folder}: {entries}, {byte_size(held.bytes)} {rest}")


def _of_command(context: typer.Context) -> Signals:
    """What signals do in a command; nothing where it was not begun by `main`."""
    return context.obj if isinstance(context.obj, Signals) else Signals()
