"""The `millrace` command: every module in millrace/commands is one command of that name.

A module has either a function of its own name or `app` (a group of subcommands). Only the module
that is asked for is imported, so a command starts at once and never depends on another one.
"""

import importlib
import pkgutil
import sys
from typing import Any

import typer
from rich.console import Console
from rich.text import Text
from typer.core import TyperGroup

from millrace import commands
from millrace.current import load_environment
from millrace.stack.errors import StackError

# What one reaches for first comes first in the help; the rest follows by name.
FIRST = ("demo", "up", "down", "status", "watch", "logs", "doctor")


class Commands(TyperGroup):
    """Finds commands by file name."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Every command, in the order of the help."""
        # A command named like a Python keyword lives in a file with a trailing underscore.
        modules = pkgutil.iter_modules(commands.__path__)
        words = [module.name.rstrip("_").replace("_", "-") for module in modules]
        return sorted(words, key=lambda w: (FIRST.index(w) if w in FIRST else len(FIRST), w))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, imported now."""
        if cmd_name not in self.list_commands(ctx):
            return None
        name = cmd_name.replace("-", "_")
        found = {module.name for module in pkgutil.iter_modules(commands.__path__)}
        name = name if name in found else f"{name}_"
        module = importlib.import_module(f"{commands.__name__}.{name}")
        alone = typer.Typer(add_completion=False)
        if hasattr(module, "app"):
            alone.add_typer(module.app, name=cmd_name)
        else:
            alone.command(name=cmd_name)(getattr(module, name))
        return typer.main.get_group(alone).commands[cmd_name]


app = typer.Typer(
    cls=Commands,
    help="A real-time credit data platform: its local stack and its tools.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,
)


@app.callback()
def _before_any(context: typer.Context) -> None:
    load_environment(context.invoked_subcommand)


def main() -> None:
    """Run the command line; expected failures end in one message, not in a traceback."""
    try:
        app()
    except StackError as error:
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print(Text.assemble(("millrace: ", "red"), str(error)))
        sys.exit(1)


if __name__ == "__main__":
    main()
