"""The page: its address, its names, its cookies, and the check that pages run."""

from __future__ import annotations

from dataclasses import dataclass

from shared.settings.field import LAST_PORT, setting

#: Advice that follows the sentence about a short secret key.
STRONGER_KEY = (
    "Make a longer one (openssl rand -hex 32) and put it and a comma before the old one, "
    "which still verifies: nobody loses a conversation"
)


@dataclass(frozen=True, kw_only=True)
class Web:
    """Settings of a web process. `clients.py` has the bounds on what browsers may do."""

    host: str = setting("127.0.0.1", "Address that the page listens on")
    port: int = setting(8501, "Port of the page", least=0, most=LAST_PORT)
    domain: str = setting("", "Public host name of the page; compose sets it", kind="hosts")
    allowed_hosts: str = setting(
        "",
        "Further host names of the page: chat.example.org, .example.org for a domain and its subdomains, * for any",
        kind="hosts",
    )
    secret_key: str = setting(
        "",
        "Signs browsers' cookies; the same for every web process. May hold several keys, newest first; all verify",
        secret=True,
    )
    secure_cookies: bool = setting(False, "Mark cookies Secure even when the request came over plain HTTP")
    hsts_seconds: int = setting(
        63_072_000, "How long a browser that came over TLS must keep using TLS (HSTS); 0: no such header", least=0
    )
    web_check_seconds: float = setting(
        4.0,
        "How often a web process runs a page to check that pages run; a third as often while nobody has one open",
        least=0.1,
    )
    web_wedged_seconds: float = setting(
        10.0, "A web process exits, to be restarted, after /healthz has failed for this long; 0: never", least=0.0
    )
