"""The context of the commands of `./naru people`."""

from __future__ import annotations

import argparse
from email.message import EmailMessage

from sqlalchemy import Engine

from deploy import terminal
from deploy.embedded.data import running_on
from shared import mail
from shared.mail import MailFailed
from shared.people import accounts
from shared.people.accounts import Person
from shared.settings import Settings
from shared.words import Words


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

    @property
    def words(self) -> Words:
        """The words of a mail."""
        return Words(self.chosen.language)

    def need_mail(self, *, is_asked: bool) -> None:
        """Raise MailFailed, before anything is made, if a mail `is_asked` for and none can be sent."""
        if is_asked and not mail.is_on(self.settings):
            raise MailFailed("no mail can be sent without an SMTP server: set NARU_SMTP_HOST, or leave out --mail.")
        mail.refuse_half_settings(self.settings)

    def send(self, message: EmailMessage, email: str) -> None:
        """Send the mail. Raises MailFailed; the link above it can still be sent otherwise."""
        try:
            mail.send(self.settings, message)
        except MailFailed as error:
            raise MailFailed(f"the mail was not sent, so send the link above yourself. {error}") from error
        print(f"It is on its way to {terminal.line(email)}.")
