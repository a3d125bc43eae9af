"""The SMTP server that sends Naru's mail."""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings.field import LAST_PORT, setting

STARTTLS, TLS, NO_TLS = "starttls", "tls", "none"


@dataclass(frozen=True, kw_only=True)
class Mail:
    """Settings of mail. Without a server, Naru sends none, and the page refers people to an administrator."""

    smtp_host: str = setting("", "Name of the SMTP server; empty: no mail. Needs NARU_SMTP_SENDER and NARU_DOMAIN")
    smtp_port: int = setting(587, "Port of the SMTP server", least=1, most=LAST_PORT)
    smtp_security: str = setting(
        STARTTLS, "starttls, tls (from the first byte, usually port 465), or none (a server on the same machine)"
    )
    smtp_user: str = setting("", "User name at the SMTP server; empty: no sign-in")
    smtp_password: str = setting("", "Password at the SMTP server; give it as a file", secret=True)
    smtp_sender: str = setting("", "E-mail address that the mails come from")
    smtp_seconds: float = setting(20.0, "Longest time for one mail", least=0.5, most=300)
