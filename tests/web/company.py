"""A company's sign-in service for tests, and a browser's way through it."""

from __future__ import annotations

import json
import urllib.request
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from tests.openid_server import CLIENT_ID, SECRET
from tests.patience import patient
from tests.stack import NO_PROXY, Process, Stack
from tests.web.clients import Answered
from tests.web.visitors import Visitor

#: Settings of a web process, without the issuer.
CLIENT: dict[str, Any] = {"oidc_client_id": CLIENT_ID, "oidc_client_secret": SECRET, "oidc_allowed_groups": "*"}
#: Roles, a short wait and a name for the button.
SETTINGS: dict[str, Any] = {
    "oidc_roles": "admin=naru-admins,auditor=naru-audit,admin=Naru Owners",
    "oidc_seconds": 2,
    "oidc_button": "The Company",
}
FORM = {"content-type": "application/x-www-form-urlencoded"}


@dataclass
class Company:
    """A provider that runs as a process of its own."""

    process: Process
    redirect_uris: list[str] = field(default_factory=list)

    @property
    def issuer(self) -> str:
        return self.process.url

    def behave(self, **behaviour: Any) -> dict[str, int]:
        """Change its behaviour (tests/openid_server.py); return the number of calls of each path."""
        calls: dict[str, int] = json.loads(self._post("/control", json.dumps(behaviour)))
        return calls

    def mint(self, **claims: Any) -> str:
        """Return a signed logout token with these claims."""
        return self._post("/mint", json.dumps(claims))

    def register(self, web: Process) -> None:
        """Register the redirect URI of a web process."""
        self.redirect_uris.append(f"{web.url}/openid/callback")
        self.behave(redirect_uris=self.redirect_uris)

    def _post(self, path: str, body: str) -> str:
        request = urllib.request.Request(self.issuer + path, data=body.encode(), method="POST")
        with NO_PROXY.open(request, timeout=patient(20)) as answer:
            return str(answer.read().decode())


def start_company(stack: Stack, *, is_odd: bool = False) -> Company:
    """Start a provider."""
    odd = ("--odd",) if is_odd else ()
    return Company(stack._listening("company", "tests.openid_server", "--port", "{port}", *odd))


def start_web(stack: Stack, company: Company, **settings: object) -> Process:
    """Start a web process that signs people in with this provider."""
    wanted: dict[str, Any] = {"auth": "oidc", "oidc_issuer": company.issuer, **CLIENT, **settings}
    web = stack.start_web(**wanted)
    company.register(web)
    return web


def begin(visitor: Visitor, chat: str = "") -> str:
    """Follow the button to the provider, and return the address of its form."""
    answer = visitor.ask(f"/openid/begin?c={chat}" if chat else "/openid/begin")
    assert answer.status == 303, answer.body
    return answer.headers["location"]


def decide(address: str, who: str = "ada", *, go: str = "yes") -> str:
    """Fill in the provider's form, and return the path and query that it sends the browser back to."""
    there = Visitor(address.partition("/authorize")[0])
    page = there.ask(address.removeprefix(there.url))
    assert page.status == 200, page.body
    hidden = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert all(f'name="{name}"' in unescape(page.body) for name in hidden)
    body = urlencode({**hidden, "who": who, "go": go})
    back = there._request("POST", "/authorize", body, FORM)
    assert back.status == 303, back.body
    parts = urlsplit(back.headers["location"])
    return f"{parts.path}?{parts.query}"


def sign_in(visitor: Visitor, who: str = "ada", *, chat: str = "") -> Answered:
    """Sign in at the company, and return Naru's answer to the browser that comes back."""
    return visitor.ask(decide(begin(visitor, chat), who))
