"""The context of the commands of `./naru people`."""

from __future__ import annotations

import argparse

from sqlalchemy import Engine

from deploy.embedded.data import running_on
from shared.people import accounts
from shared.people.accounts import Person
from shared.settings import Settings


class Context:
    """The database, the settings and the arguments of one command."""

    def __init__(self, engine: Engine, settings: Settings, chosen: argparse.Namespace) -> None:
        self.engine, self.settings, self.chosen = engine, settings, chosen

    def person(self) -> Person:
        """Return the person whom the command names. Raises BadEmail and NotFound."""
        return accounts.person_with(self.engine, self.chosen.email)

    def address(self, path: str) -> str:
        """Return the address of a path on the page, or only the path if the page's address is unknown."""
        running = running_on(self.chosen.data)
        base = f"https://{self.settings.domain}" if self.settings.domain else running.url if running else ""
        return f"{base}{path}"
