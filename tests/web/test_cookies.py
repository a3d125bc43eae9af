"""Tests of the browser's cookie: its name, its signing keys, its renewal, and when it is never overwritten."""

from __future__ import annotations

import hashlib
from uuid import UUID, uuid4

import pytest
from itsdangerous import TimestampSigner

from shared.keys import key_id
from shared.people.tokens import new_token
from tests.stack import Process, Stack
from tests.web.clients import Answered, ask
from web.asgi.cookies import HOST, LEGACY_NAME, LIFETIME_SECONDS, PLAIN, Cookies, SessionCookie, Verdict

PAGE = {"accept": "text/html"}
OLD, NEW, OTHER = "old-key-" + "o" * 32, "new-key-" + "n" * 32, "other-key-" + "x" * 32


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack: no test here changes a row."""
    return module_stack


@pytest.fixture(scope="module")
def web(stack: Stack) -> Process:
    """Start a web process whose key was rotated once."""
    return stack.start_web(secret_key=f"{NEW},{OLD}")


def visit(web: Process, *cookies: str, tls: bool = False) -> Answered:
    """Load the page with these cookies."""
    headers = {"cookie": "; ".join(cookies)} if cookies else {}
    return ask(web.url, "/", **headers, **PAGE, **({"x_forwarded_proto": "https"} if tls else {}))


def given(answer: Answered) -> str:
    """Return the cookie that the answer sets, as name=value; empty for none."""
    return answer.headers.get("set-cookie", "").partition(";")[0]


def identity(cookie: str, *, tls: bool = False) -> UUID | None:
    """Return the cookie's browser id, read with both keys."""
    return Cookies(f"{NEW},{OLD}").read([cookie], is_tls=tls).browser_id


def legacy(key: str, browser_id: UUID) -> str:
    """Return a cookie as earlier versions made it."""
    signer = TimestampSigner(key, salt="naru.browser", digest_method=hashlib.sha1)
    return f"{LEGACY_NAME}={signer.sign(browser_id.hex).decode()}"


class At(TimestampSigner):
    """A signer with a fixed clock."""

    moment = 0

    def get_timestamp(self) -> int:
        """Return the fixed time."""
        return self.moment


def aged(age: int) -> str:
    """Return a cookie signed with the newest key `age` seconds ago."""
    signer = At(NEW, salt=f"naru.cookie:{PLAIN}", digest_method=hashlib.sha256)
    signer.moment = TimestampSigner("x").get_timestamp() - age
    return f"{PLAIN}{key_id(NEW)}={signer.sign(uuid4().hex).decode()}"


def test_page_sets_a_cookie_and_keeps_it(web: Process) -> None:
    first = visit(web)
    cookie, _, attributes = first.headers["set-cookie"].partition(";")
    parts = {each.strip() for each in attributes.split(";")}
    assert parts == {"HttpOnly", "SameSite=Lax", "Path=/", f"Max-Age={LIFETIME_SECONDS}"}
    assert cookie.startswith(f"{PLAIN}{key_id(NEW)}=")
    assert not given(visit(web, cookie)), "a fresh cookie is kept"
    assert "set-cookie" not in ask(web.url, "/healthz").headers, "only a page sets a cookie"
    cached = ask(web.url, "/", if_none_match=first.headers["etag"], **PAGE)
    assert (cached.status, "set-cookie" in cached.headers) == (304, True)


def test_tls_cookie_has_host_prefix(web: Process) -> None:
    answer = visit(web, tls=True)
    cookie, _, attributes = answer.headers["set-cookie"].partition(";")
    assert cookie.startswith(f"{HOST}{key_id(NEW)}=")
    assert "; Secure" in answer.headers["set-cookie"]
    assert "Path=/" in attributes
    assert "Domain" not in attributes
    assert not given(visit(web, cookie, tls=True))
    assert not given(visit(web, cookie)), "a proxy that does not report its TLS changes no identity"


def test_legacy_cookie_is_replaced_once(web: Process) -> None:
    for tls in (False, True):
        browser_id = uuid4()
        cookie = given(visit(web, legacy(OLD, browser_id), tls=tls))
        assert cookie.startswith(HOST if tls else PLAIN)
        assert identity(cookie, tls=tls) == browser_id
        tossed = legacy(OLD, uuid4())
        assert not given(visit(web, tossed, cookie, tls=tls)), "from now on only the new cookie counts"


def test_legacy_key_with_separators_still_verifies() -> None:
    browser_id, key = uuid4(), "one key, of an earlier version,\nwith whitespace in it"
    for text in (key, f"{NEW},{key}", f"{NEW} {OTHER}\n{key}"):
        assert Cookies(text).read([legacy(key, browser_id)], is_tls=True).browser_id == browser_id


def test_plain_cookie_moves_to_tls_but_not_back(web: Process) -> None:
    plain, browser_id = given(visit(web)), None
    browser_id = identity(plain)
    moved = given(visit(web, plain, tls=True))
    assert identity(moved, tls=True) == browser_id
    as_plain = moved.replace(HOST, PLAIN)
    assert identity(as_plain) is None, "a cookie set over TLS is invalid under a name that anyone may set"


def test_rotated_cookie_is_renewed(web: Process) -> None:
    browser_id = uuid4()
    old = "=".join(Cookies(OLD).make(browser_id))
    renewed = given(visit(web, old))
    assert renewed.startswith(f"{PLAIN}{key_id(NEW)}=")
    assert identity(renewed) == browser_id
    assert not given(visit(web, old, renewed))
    assert Cookies(NEW).read([old, renewed], is_tls=False).browser_id == browser_id, "the old key may be dropped"
    assert Cookies(NEW).read([old], is_tls=False).verdict is Verdict.REFUSED


def test_restored_key_restores_the_identity() -> None:
    """The key is lost, the browser gets another identity, and then the key is restored."""
    browser_id = uuid4()
    first = "=".join(Cookies(OLD).make(browser_id))
    meanwhile = "=".join(Cookies(OTHER).make(uuid4()))
    assert first.partition("=")[0] != meanwhile.partition("=")[0], "neither overwrites the other"
    assert Cookies(OTHER).read([first], is_tls=False).verdict is Verdict.REFUSED
    assert Cookies(OLD).read([meanwhile, first], is_tls=False).browser_id == browser_id


def test_forged_cookie_is_not_overwritten_but_garbage_is(web: Process) -> None:
    cookie = given(visit(web))
    forged = cookie[:-3] + ("abc" if not cookie.endswith("abc") else "xyz")
    assert not given(visit(web, forged))
    name = cookie.partition("=")[0]
    for garbage in (f"{name}=", f"{name}=x", f"{name}=" + "a" * 3000, f"{name}=..", f"{LEGACY_NAME}=x"):
        assert given(visit(web, garbage)), garbage


def test_doubled_cookie_gives_no_identity(web: Process) -> None:
    cookie, other = given(visit(web)), given(visit(web))
    path = f"/api/conversations/{uuid4()}/events"
    for pair in ((cookie, other), (other, cookie), (cookie, cookie), (legacy(OLD, uuid4()), legacy(OLD, uuid4()))):
        assert not given(visit(web, *pair))
        assert ask(web.url, path, cookie="; ".join(pair)).status == 401
    assert "identity refused" in web.log_text()
    assert '"verdict": "doubled"' in web.log_text() or '"left_out"' in web.log_text()


def test_cookie_is_renewed_and_expires(web: Process) -> None:
    young, ripe, dead, ahead = aged(60), aged(2 * 86_400), aged(LIFETIME_SECONDS + 60), aged(-300)
    assert not given(visit(web, young))
    assert identity(given(visit(web, ripe))) == identity(ripe)
    assert identity(dead) is None
    assert given(visit(web, dead))
    assert identity(ahead) is not None, "another web process's clock may be ahead"


def test_key_ids_do_not_reveal_keys() -> None:
    assert key_id(OLD) != key_id(NEW)
    assert len(key_id(OLD)) == 8
    assert key_id(OLD) not in OLD


def test_session_cookie_without_our_signature_is_no_token() -> None:
    """A made-up one must not cost a query."""
    cookie, token = SessionCookie("k" * 32), new_token()
    name, value = cookie.make(token, is_tls=False)
    assert cookie.read([f"{name}={value}"], is_tls=False) == token
    foreign = SessionCookie("f" * 32).make(token, is_tls=False)[1]
    for other in (token, foreign, f"{new_token()}{value[len(token) :]}"):
        assert cookie.read([f"{name}={other}"], is_tls=False) is None


def test_session_cookie_from_plain_http_is_no_token_over_tls() -> None:
    cookie, token = SessionCookie("k" * 32), new_token()
    name, value = cookie.make(token, is_tls=False)
    assert cookie.read([f"{name}={value}"], is_tls=True) is None
    assert cookie.read([f"__Host-{name}={value}"], is_tls=True) is None
    host_name, host_value = cookie.make(token, is_tls=True)
    assert cookie.read([f"{host_name}={host_value}"], is_tls=True) == token
