"""A browser without a screen: it keeps cookies, follows no redirect, and sends forms as a browser does."""

from __future__ import annotations

import http.client
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from urllib.parse import urlencode, urlsplit

from sqlalchemy import Engine

from shared.people import accounts, links
from shared.people.accounts import Person
from tests.patience import patient
from tests.stack import Process
from tests.web.clients import Answered

EMAIL, PASSWORD, OTHER = "ada@example.org", "correct horse battery", "another sound passphrase"
#: NARU_SIGN_IN_FAILURES. Few, so that a test reaches the limit with few hashes.
FAILURES = 4


@dataclass
class Visitor:
    """One browser. `ask` and `post` return the answer; cookies are kept."""

    url: str
    cookies: dict[str, str] = field(default_factory=dict)

    @property
    def cookie(self) -> str:
        """The header that this browser sends."""
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())

    @property
    def session_cookie(self) -> str:
        """The name of the session's cookie; "" while signed out."""
        return next((name for name in self.cookies if "naru_session" in name), "")

    def ask(self, path: str, **headers: str) -> Answered:
        """Request a page."""
        return self._request("GET", path, "", {"accept": "text/html", **headers})

    def post(self, path: str, values: dict[str, str] | None = None, **headers: str) -> Answered:
        """Send a form of our own page."""
        given = {"origin": self.url, "content-type": "application/x-www-form-urlencoded", **headers}
        return self._request("POST", path, urlencode(values or {}), given)

    def sign_up(self, engine: Engine, email: str = EMAIL, *, role: str = "user") -> Answered:
        """Make an account with a new invitation."""
        token = links.invite(engine, role, days=1)
        return self.post("/sign-up", {"email": email, "password": PASSWORD, "invitation": token})

    def sign_in(self, email: str = EMAIL, password: str = PASSWORD) -> Answered:
        """Send the sign-in form."""
        return self.post("/sign-in", {"email": email, "password": password})

    def _request(self, method: str, path: str, body: str, headers: dict[str, str]) -> Answered:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=patient(20))
        try:
            given = {name.replace("_", "-"): value for name, value in headers.items() if value}
            connection.request(method, path, body=body or None, headers={**given, "cookie": self.cookie})
            answer = connection.getresponse()
            for name, value in answer.getheaders():
                if name.lower() == "set-cookie":
                    self._keep(value)
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answered(answer.status, found, answer.read().decode())
        finally:
            connection.close()

    def _keep(self, header: str) -> None:
        for name, morsel in SimpleCookie(header).items():
            if morsel["max-age"] == "0":
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value


def visit(web: Process) -> Visitor:
    """Return a new browser with a cookie of its own."""
    visitor = Visitor(web.url)
    assert visitor.ask("/sign-in").status == 200
    return visitor


def person_of(engine: Engine, email: str = EMAIL) -> Person:
    return accounts.person_with(engine, email)


def is_in(visitor: Visitor) -> bool:
    """Whether the chat opens."""
    answer = visitor.ask("/")
    assert answer.status in {200, 303}
    return answer.status == 200


def says(answer: Answered, words: str) -> bool:
    return 'role="alert"' in answer.body and words in answer.body
