"""The command line: its commands, what they show, and what signals do to them."""

from initopt_jax.cli.commands import main, program

__all__ = ["main", "program"]
