"""Mails: their texts, and the way to the SMTP server.

A mail is plain text in the language of the person who asked for it. Its subject holds no secret: mail programs show
subjects on locked screens.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from email.errors import MessageError
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime, localtime, make_msgid

from shared.errors import Refused, SettingsError
from shared.settings import STARTTLS, TLS, Settings
from shared.words import Words


class MailFailed(Refused):
    """The SMTP server did not take a mail."""

    code = "mail_failed"


def is_on(settings: Settings) -> bool:
    """Whether Naru can send mail."""
    return bool(settings.smtp_host)


def refuse_half_settings(settings: Settings) -> None:
    """Raise SettingsError if there is a server but no sender, or no name of the page for the links."""
    if not is_on(settings):
        return
    if "@" not in settings.smtp_sender:
        raise SettingsError("NARU_SMTP_HOST needs NARU_SMTP_SENDER, the e-mail address that the mails come from.")
    if not settings.domain:
        raise SettingsError(
            "NARU_SMTP_HOST needs NARU_DOMAIN, the name of the page: the links in the mails lead there."
        )


def new_password(settings: Settings, words: Words, to: str, token: str) -> EmailMessage:
    """Return the mail with a link to a new password."""
    address = _address(settings, f"/new-password?link={token}")
    values = {"address": address, "hours": settings.password_link_hours}
    return _message(settings, to, words.t("mail.password_subject"), words.t("mail.password_text", **values))


def invitation(settings: Settings, words: Words, to: str, token: str) -> EmailMessage:
    """Return the mail with an invitation to make an account."""
    address = _address(settings, f"/sign-up?invitation={token}")
    values = {"address": address, "days": settings.invitation_days}
    return _message(settings, to, words.t("mail.invitation_subject"), words.t("mail.invitation_text", **values))


def has_account(settings: Settings, words: Words, to: str) -> EmailMessage:
    """Return the mail to somebody who asked for an account and has one."""
    values = {"address": _address(settings, "/sign-in")}
    return _message(settings, to, words.t("mail.has_account_subject"), words.t("mail.has_account_text", **values))


def send(settings: Settings, message: EmailMessage) -> None:
    """Hand the mail to the SMTP server, within `smtp_seconds`. Raises MailFailed."""
    with _connected(settings) as server:
        server.send_message(message)


def check(settings: Settings) -> None:
    """Connect and sign in to the SMTP server, and send nothing. Raises MailFailed."""
    with _connected(settings) as server:
        server.noop()


@contextmanager
def _connected(settings: Settings) -> Iterator[smtplib.SMTP]:
    """Yield a session with the SMTP server. Every error inside becomes MailFailed."""
    try:
        server = _server_of(settings)
        with closing(server), _limit(server, settings.smtp_seconds):
            server.ehlo_or_helo_if_needed()
            if settings.smtp_security == STARTTLS:
                server.starttls(context=ssl.create_default_context())
            if settings.smtp_user:
                server.login(settings.smtp_user, settings.smtp_password)
            yield server
            with suppress(smtplib.SMTPException, OSError):  # the server has taken the mail already
                server.quit()
    except (smtplib.SMTPException, MessageError, OSError, ValueError) as error:
        raise MailFailed(_reason(error)) from error


def _server_of(settings: Settings) -> smtplib.SMTP:
    # With the name of this machine, which smtplib would look up otherwise: that can take long.
    at = (settings.smtp_host, settings.smtp_port, settings.domain)
    if settings.smtp_security == TLS:
        return smtplib.SMTP_SSL(*at, timeout=settings.smtp_seconds, context=ssl.create_default_context())
    return smtplib.SMTP(*at, timeout=settings.smtp_seconds)


@contextmanager
def _limit(server: smtplib.SMTP, seconds: float) -> Iterator[None]:
    """Cut the connection after `seconds`: a server that sends a byte now and then would hold it for ever."""
    is_cut = threading.Event()

    def cut() -> None:
        is_cut.set()
        with suppress(OSError, TypeError):  # it has ended meanwhile
            # The plain socket's method: that of TLS changes an object that the other thread is using.
            socket.socket.shutdown(server.sock, socket.SHUT_RDWR)  # type: ignore[arg-type]

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (smtplib.SMTPException, OSError) as error:
        if is_cut.is_set():
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()


#: The sentence for an operator, by the error; the first that fits. A server's own words may quote a person's address.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (smtplib.SMTPAuthenticationError, "The SMTP server refuses the user or the password"),
    (smtplib.SMTPRecipientsRefused, "The SMTP server refuses the recipient"),
    (smtplib.SMTPServerDisconnected, "The SMTP server ended the connection"),
    (smtplib.SMTPNotSupportedError, "The SMTP server lacks what the settings or the address need"),
    (smtplib.SMTPException, "The SMTP server refuses the mail"),
    (TimeoutError, "The SMTP server does not answer in time"),
    (ssl.SSLError, "The SMTP server's TLS cannot be used"),
    (OSError, "The SMTP server cannot be reached"),
)


def _reason(error: Exception) -> str:
    sentence = next((words for kind, words in _REASONS if isinstance(error, kind)), "The mail is malformed")
    detail: object = getattr(error, "smtp_code", None) or getattr(error, "reason", None) or type(error).__name__
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        detail = ", ".join(str(code) for code, _ in error.recipients.values())
    elif isinstance(error, OSError) and not isinstance(error, ssl.SSLError | smtplib.SMTPException):
        detail = error.strerror or detail
    return f"{sentence} ({detail})."


def _address(settings: Settings, path: str) -> str:
    return f"https://{settings.domain}{path}"


def _message(settings: Settings, to: str, subject: str, text: str) -> EmailMessage:
    """Return a mail. Raises MailFailed for an address that cannot be written into a header."""
    message = EmailMessage()
    try:
        message["From"] = Address(display_name="Naru", addr_spec=settings.smtp_sender)
        message["To"] = Address(addr_spec=to)
    except (MessageError, ValueError, IndexError) as error:
        raise MailFailed(_reason(error)) from error
    message["Subject"] = subject
    message["Date"] = format_datetime(localtime())
    message["Message-ID"] = make_msgid(domain=settings.domain)
    message["Auto-Submitted"] = "auto-generated"  # no holiday notice comes back (RFC 3834)
    message.set_content(text)
    return message
