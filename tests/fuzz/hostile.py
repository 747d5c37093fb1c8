"""Values that have broken programs: numbers, texts, names, YAML; and a module that misbehaves."""

HOSTILE_NUMBERS = (
    0, -1, 1, 2, 3, 7, 10**6, 2**31 - 1, 2**31, 2**32, 2**63, 2**64, 10**12, 10**18, 10**400,
    -(10**400), 0.0, -0.0, 0.5, 1.5, -1.5, 1e-46, 5e-324, 1e-320, 1e39, 1e308, 1e8, float("inf"),
    float("-inf"), float("nan"), 0.1, 0.1000000001, True, False,
)  # fmt: skip
NAMES = (
    "NA", "None", "null", "nan", "NaN", "True", "false", "inf", "-inf", "1", "01", "1.0", "1e5",
    "0x10", "", " ", "a ", " a", "a\r", "a\nb", "a\tb", "\x00", "a\x00b", "\x1b[31mred",
    "\u202eevil", "e\u0301", "\u00e9", "\ud800", "\U0001f600", "\u0663", "\u00b2", "=1+1", "+1",
    "-1", "@SUM(A1)", '=HYPERLINK("http://x","y")', "a,b", 'a"b', "a;b", "'a", "<b>x</b>",
    "<script>alert(1)</script>", "&amp;", "[red]x[/red]", "[/]", "[link=http://x]y[/link]",
    ":smile:", "$x^2$", "$\\frac$", "$", "a_b", "\\", "\\n", "{x}", "{0}", "{{x}}", "%s",
    "%(x)s", "${x}", "../up", "/etc/passwd", "a/b", "..", ".", "~", "~nouser/x", "CON",
    "a" * 300, "a" * 5000, "lane", "optimizer", "initializer", "role", "cell", "seed", "name",
    "(other)", "mean", "#", "*", "?", "|", "a|b", "`a`", "__proto__", "constructor", "</script>",
    "<!--", "\\u0041", "\ufeffa", "\u200b", "\ufffe",
)  # fmt: skip
MODULES = (
    "sys:exit", "builtins:exit", "builtins:print", "builtins:input", "subprocess:getoutput",
    "os:getcwd", "os:abort", "time:sleep", "math:inf", "math:pi", "json:loads", "nomodule:x",
    "sys:", ":x", ":", "a:b:c", "hostile_module:exits", "hostile_module:interrupts",
    "hostile_module:base", "hostile_module:nothing", "hostile_module:raises",
    "hostile_module:multiline", "hostile_module:recurses", "hostile_module:missing",
    "hostile_module:number", "hostile_module:generator", "hostile_module:silent",
    "hostile_module:odd_arrays", "broken_module:x", "exiting_module:x", "interrupting_module:x",
    "binary_module:x", "optax.", "optax.nothing", "optax.adam.x", "optax.__name__",
    "optax.chain", "jax.", "jax.nothing", "jax.he_normal", "tfds:", "tfds:mnist", "tfds:../x",
    "csv:", "csv:none.csv", "csv:/dev/null", "csv:/dev/zero", "csv:.", "csv:~nouser/x.csv",
    "csv:\x00", "npz:", "npz:none.npz", "npz:.", "folder:", "folder:none", "folder:.",
    "folder:/dev/null", "parquet:none.parquet", "parquet:", "csv:" + "a" * 5000, "npz:/dev/full",
    "csv:pipe",
)  # fmt: skip
FILES = {
    "hostile_module.py": """\
import sys

import numpy as np


class Base(BaseException):
    pass


def exits(*given, **options):
    sys.exit(0)


def interrupts(*given, **options):
    raise GeneratorExit


def base(*given, **options):
    raise Base("base")


def nothing(*given, **options):
    return None


def raises(*given, **options):
    raise RuntimeError


def multiline(*given, **options):
    raise ValueError("one\\n\\ntwo\\n" * 500)


def recurses(*given, **options):
    return recurses(*given, **options)


def generator(*given, **options):
    yield 1


def silent(**options):
    raise StopIteration


def odd_arrays(**options):
    return np.array([object()]), np.array(["a"])


number = 3
""",
    "broken_module.py": "def x(:\n",
    "exiting_module.py": "import sys\nsys.exit(0)\n",
    "interrupting_module.py": "class Base(BaseException): pass\nraise Base('x')\n",
    "binary_module.py": "x = '\x00'\n",
}
_NINE = ", ".join(["*{0}"] * 9)
BOMB = (
    "a: &a ["
    + ", ".join("x" * 9)
    + "]\n"
    + "\n".join(
        f"{after}: &{after} [{_NINE.format(before)}]"
        for before, after in zip("abcdefg", "bcdefgh", strict=True)
    )
)  # 9^8 letters
LINES = (
    "2024-13-45", "!!int x", "!!float x", "!!timestamp 2024-13-45", "!!binary x", "!!set {a, b}",
    "!!python/object:os.system x", "!x y", "? [1]\n: 2", "? {a: 1}\n: 2", "&a [*a]",
    "&a {b: *a}", "*x", "<<: *x", "<<: [1]", "<<: 3", "- a\nb: 1", "\t- a", "a: b: c", "'", '"',
    "\"\\x\"", "[", "]", "{", "}", "[" * 300, "{a: " * 300, "- " * 300 + "x", "%YAML 9.9\n---",
    "---\na: 1\n---\nb: 2", "...", "%TAG ! x\n---", "1" * 5000, "0x" + "f" * 5000,
    "1e" + "9" * 400, "0b", "0o", "0o9", "1_000", "1__0", "_1", "010", "yes", "on", ".inf",
    ".nan", "-.Inf", "1:30", "~", "null", "=", "|", ">", "|2\n a", "\ufeff", "\x00", "\x85",
    "\u2028", "\x1b", "\ud800", "\ufffe", "@x", "`x", "# only", "", BOMB, "steps: 1\nsteps: 2",
    "steps: " + "9" * 400, "steps: 1" + "0" * 4400, "seeds: {init: 1}",
)  # fmt: skip
