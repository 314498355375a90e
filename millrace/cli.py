"""The `millrace` command: every module in millrace/commands is one command of that name.

A module has either a function of its own name or `app` (a group of subcommands). Heavy libraries
are imported inside the functions, so that `--help` answers at once.
"""

import importlib
import pkgutil
import sys

import typer
from rich.console import Console
from rich.text import Text

from millrace import commands
from millrace.current import load_environment
from millrace.stack.errors import StackError

# What one reaches for first comes first in the help; the rest follows by name.
FIRST = ("demo", "up", "down", "status", "logs", "doctor")


def main() -> None:
    """Run the command line; expected failures end in one message, not in a traceback."""
    try:
        build()()
    except StackError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(Text.assemble(("millrace: ", "red"), str(error)))
        sys.exit(1)


def build() -> typer.Typer:
    """The command line with all of its commands."""
    app = typer.Typer(
        help="A real-time credit data platform: its local stack and its tools.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_show_locals=False,
        callback=_before_any,
    )
    names = [module.name for module in pkgutil.iter_modules(commands.__path__)]
    for name in sorted(names, key=lambda n: (FIRST.index(n) if n in FIRST else len(FIRST), n)):
        module = importlib.import_module(f"{commands.__name__}.{name}")
        # A command named like a Python keyword lives in a file with a trailing underscore.
        word = name.rstrip("_").replace("_", "-")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=word)
        else:
            app.command(name=word)(getattr(module, name))
    return app


def _before_any() -> None:
    load_environment()


if __name__ == "__main__":
    main()
