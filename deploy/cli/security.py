"""The security checks of `./naru doctor`: the keys of the cookies, and the allowed host names."""

from __future__ import annotations

import re
from pathlib import Path

from deploy.cli.findings import LOOPBACK, Finding, Findings, Level, show
from deploy.embedded.data import SECRETS, DataProblem, running_on, secrets_in
from deploy.embedded.silence import DIRECT
from shared import mail
from shared.errors import SettingsError
from shared.keys import LEAST_BYTES, is_strong, key_id, keys_in
from shared.mail import MailFailed
from shared.settings import GUEST, NO_TLS, STRONGER_KEY, Settings

#: Long enough for /metrics, which reads gauges from Postgres.
METRICS_SECONDS = 10


def cookie_keys(settings: Settings, data: Path) -> Findings:
    """Check the strength of the keys of the browsers' cookies, and count those that still verify."""
    try:
        kept = secrets_in(data)
    except DataProblem as error:
        finding = Finding(Level.WRONG, f"cookies: {error}")
        show(finding)
        yield finding
        return
    found = keys_in(settings.secret_key or (kept.secret_key if kept else ""))
    if not found:
        return
    name = "NARU_SECRET_KEY" if settings.secret_key else f"the key in {data / SECRETS}"
    if not is_strong(found[0]):
        finding = Finding(Level.WRONG, f"cookies: {name} has fewer than {LEAST_BYTES} bytes", STRONGER_KEY)
    elif weak := sum(not is_strong(key) for key in found[1:]):
        what = f"cookies: older keys in {name} with fewer than {LEAST_BYTES} bytes that still verify: {weak}"
        finding = Finding(Level.HINT, what, "remove it once everybody has visited: docs/operations/security.md")
    else:
        older = f"; older keys that verify: {len(found) - 1}" if len(found) > 1 else ""
        finding = Finding(Level.GOOD, f"cookies: key {key_id(found[0])} signs{older}")
    show(finding)
    yield finding


def accounts(settings: Settings) -> Findings:
    """Say who may use the page."""
    if settings.auth != GUEST:
        yield Finding(Level.GOOD, f"accounts: needed (NARU_AUTH={settings.auth})")
    elif settings.open_to_anyone:
        to_do = "set NARU_AUTH=local, unless everyone who reaches the page may spend your keys"
        yield Finding(Level.HINT, "accounts: none are needed, and the page may be open to other machines", to_do)
    else:
        yield Finding(
            Level.GOOD,
            "accounts: none are needed; without a proxy only this machine reaches the page",
        )


def smtp(settings: Settings) -> Findings:
    """Connect and sign in to the SMTP server, and send nothing."""
    if not mail.is_on(settings):
        return
    where = f"{settings.smtp_host}:{settings.smtp_port}"
    try:
        mail.refuse_half_settings(settings)
        mail.check(settings)
    except (MailFailed, SettingsError) as error:
        to_do = "correct NARU_SMTP_HOST, _PORT, _SECURITY, _USER and _PASSWORD, or start the server"
        yield Finding(Level.WRONG, f"mail: {where}: {error}", to_do)
        return
    if settings.smtp_security == NO_TLS and settings.smtp_host not in LOOPBACK:
        yield Finding(Level.HINT, f"mail: {where} is used without TLS", "set NARU_SMTP_SECURITY=starttls")
    else:
        yield Finding(Level.GOOD, f"mail: {where} takes mail ({settings.smtp_security})")


def hosts(settings: Settings, data: Path) -> Findings:
    """Check whether every host name is allowed, and whether requests were refused for their host name."""
    found = []
    if "*" in settings.allowed_hosts.replace(",", " ").split():
        to_do = "list the hosts instead: any site can point its name to this machine (DNS rebinding)"
        found.append(Finding(Level.HINT, "hosts: NARU_ALLOWED_HOSTS allows every name", to_do))
    running = running_on(data)
    if running is not None and (refused := refused_hosts(running.url)):
        to_do = (
            f"{data / 'logs' / 'web.log'} names the host (host refused); if it is yours, add it to NARU_ALLOWED_HOSTS"
        )
        what = f"hosts: {refused} requests for a host name that is not allowed since web started"
        found.append(Finding(Level.HINT, what, to_do))
    for finding in found:
        show(finding)
        yield finding


def refused_hosts(url: str) -> int:
    """Return how often web has refused a host name; 0 if it does not answer."""
    try:
        with DIRECT.open(f"{url}/metrics", timeout=METRICS_SECONDS) as answer:
            text = answer.read().decode()
    except (OSError, ValueError):
        return 0
    found = re.search(r"^naru_refused_hosts_total (\S+)$", text, re.MULTILINE)
    return int(float(found[1])) if found else 0
