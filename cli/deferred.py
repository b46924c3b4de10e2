"""Commands whose modules are imported when they are named: a list of commands needs a name and a line of help only."""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand
from typer.main import get_command


class Deferred(TyperCommand):
    """Entry of a list of commands, which stands for a command or group of commands in another module."""

    place = ""
    """Module of `vqcodec.cli` and name in it, such as "codec:decode"."""

    @cached_property
    def command(self) -> Any:
        """The command itself, whose module is imported at the first use."""
        module, _, name = self.place.partition(":")
        found = getattr(import_module(f".{module}", __package__), name)
        app = typer.Typer(rich_markup_mode=self.rich_markup_mode)
        app.callback()(_nothing)  # makes a group of the app, even with one command
        if isinstance(found, typer.Typer):
            app.add_typer(found, name=self.name)
        else:
            app.command(self.name)(found)
        group: Any = get_command(app)
        return group.commands[self.name]

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        """Parse the arguments of the command itself, which then runs in place of this entry."""
        return self.command.make_context(info_name, args, parent, **extra)


def add_deferred(app: typer.Typer, name: str, place: str, help_line: str) -> None:
    """Add a command or group of commands to `app`.

    Args:
        app: gets an entry `name`.
        name: what a user types.
        place: module of `vqcodec.cli`, and the name of a function or `typer.Typer` in it: "codec:decode".
        help_line: first paragraph of its help, for the list of commands.
    """
    app.command(name, cls=type("Deferred", (Deferred,), {"place": place}), help=help_line)(_nothing)


def _nothing() -> None:
    pass
