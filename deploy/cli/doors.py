"""What `./naru doctor` looks at where strangers stand: the keys of the cookies, and the names that are answered."""

from __future__ import annotations

import re
from pathlib import Path

from deploy.cli.findings import Finding, Findings, Level, show
from deploy.embedded.data import SECRETS, DataProblem, running_on, secrets_in
from deploy.embedded.silence import DIRECT
from shared.keys import LEAST_BYTES, is_strong, key_id, keys_in
from shared.settings import STRONGER_KEY, Settings

#: /metrics asks Postgres for its gauges.
PATIENCE_SECONDS = 10


def cookie_keys(settings: Settings, data: Path) -> Findings:
    """How strong the keys of the browsers' cookies are, and how many still verify."""
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
        finding = Finding(Level.WRONG, f"cookies: {name} has less than {LEAST_BYTES} bytes", STRONGER_KEY)
    elif weak := sum(not is_strong(key) for key in found[1:]):
        what = f"cookies: {weak} of the older keys in {name} has less than {LEAST_BYTES} bytes, and still verifies"
        finding = Finding(Level.HINT, what, "take it out when everybody has come by: docs/operations/security.md")
    else:
        older = f"; older keys that verify: {len(found) - 1}" if len(found) > 1 else ""
        finding = Finding(Level.GOOD, f"cookies: key {key_id(found[0])} signs{older}")
    show(finding)
    yield finding


def hosts(settings: Settings, data: Path) -> Findings:
    """Whether strangers' names are answered, and whether somebody was refused for the name they came by."""
    found = []
    if "*" in settings.allowed_hosts.replace(",", " ").split():
        to_do = "name the hosts instead: any page on the internet can make its name lead here (DNS rebinding)"
        found.append(Finding(Level.HINT, "hosts: NARU_ALLOWED_HOSTS allows every name", to_do))
    running = running_on(data)
    if running is not None and (refused := refused_hosts(running.url)):
        to_do = f"{data / 'logs' / 'web.log'} names it (host refused); if it is yours, add it to NARU_ALLOWED_HOSTS"
        what = f"hosts: {refused} requests came by a name that is not allowed since web started"
        found.append(Finding(Level.HINT, what, to_do))
    for finding in found:
        show(finding)
        yield finding


def refused_hosts(url: str) -> int:
    """How often web has refused a name; 0 where it does not say."""
    try:
        with DIRECT.open(f"{url}/metrics", timeout=PATIENCE_SECONDS) as answer:
            text = answer.read().decode()
    except (OSError, ValueError):
        return 0
    found = re.search(r"^naru_refused_hosts_total (\S+)$", text, re.MULTILINE)
    return int(float(found[1])) if found else 0
