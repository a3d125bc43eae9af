"""Company sign-in over HTTP, against a real provider that runs as a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit
from uuid import uuid4

import pytest
from itsdangerous import TimestampSigner
from sqlalchemy import Engine

from deploy.embedded.processes import ROOT
from shared import metrics
from shared.audit import Kind
from shared.audit.events import Filter, newest
from shared.people import accounts
from shared.people.accounts import Person, Role
from shared.people.refusals import CompanyRefused
from tests.patience import patient
from tests.stack import Process, Stack, wait_until
from tests.web.company import CLIENT, SETTINGS, Company, begin, decide, sign_in, start_company, start_web
from tests.web.visitors import Visitor, is_in, says
from web.asgi.cookies import TokenCookie
from web.openid import attempts


@pytest.fixture(scope="module")
def company(stack: Stack) -> Company:
    """Start the provider."""
    return start_company(stack)


@pytest.fixture(scope="module")
def web(stack: Stack, company: Company) -> Process:
    """Start a web process that knows the provider only."""
    return start_web(stack, company, **SETTINGS)


@pytest.fixture(autouse=True)
def _as_usual(company: Company, web: Process) -> None:
    company.behave(forget=True)


@pytest.fixture
def visitor(web: Process) -> Visitor:
    """A browser that has opened the sign-in."""
    visitor = Visitor(web.url)
    assert ">The Company<" in visitor.ask("/sign-in").body
    return visitor


def people(engine: Engine) -> list[Person]:
    return accounts.everyone(engine)


def test_metric_has_every_refusal() -> None:
    assert {each.code for each in CompanyRefused.__subclasses__()} <= set(metrics.SIGN_IN_OUTCOMES)


def test_company_signs_a_person_in(visitor: Visitor, engine: Engine) -> None:
    chat = str(uuid4())
    answer = sign_in(visitor, chat=chat)
    assert (answer.status, answer.headers["location"]) == (303, f"/?c={chat}")
    assert is_in(visitor)
    (person,) = people(engine)
    assert (person.email, person.name, person.role) == ("ada@example.org", "Ada", Role.USER)
    assert person.password_hash is None
    assert not any("openid" in name for name in visitor.cookies), "the attempt's cookie leaves"
    assert sign_in(Visitor(visitor.url)).status == 303
    assert people(engine) == [person], "the second sign-in finds the account"
    signed_in = newest(engine, Filter(kind=Kind.SIGNED_IN, person=person.owner.key), most=5)
    assert [event.details for event in signed_in] == [{"factors": "company"}] * 2


def test_company_leads_back_to_the_page(visitor: Visitor, web: Process) -> None:
    assert sign_in(visitor, chat="admin-people").headers["location"] == "/?page=admin&part=people"
    for evil in ("//evil.example", "https:evil.example", "%5C%5Cevil.example", "admin//evil.example"):
        assert sign_in(Visitor(web.url), chat=evil).headers["location"] == "/"


def test_link_elsewhere_signs_nobody_in(web: Process) -> None:
    """A browser says where a link was; over plain HTTP, some do not."""
    visitor = Visitor(web.url)
    answer = visitor.ask("/openid/begin?c=usage", sec_fetch_site="cross-site")
    assert (answer.status, answer.headers["location"]) == (303, "/sign-in?c=usage")
    assert not any("openid" in name for name in visitor.cookies)
    for own in ("same-origin", "none"):
        assert visitor.ask("/openid/begin", sec_fetch_site=own).headers["location"].startswith("http")


def test_request_to_the_provider_is_complete(visitor: Visitor, web: Process) -> None:
    address = begin(visitor)
    params = {name: values[0] for name, values in parse_qs(urlsplit(address).query).items()}
    assert params["redirect_uri"] == f"{web.url}/openid/callback"
    assert (params["response_type"], params["code_challenge_method"]) == ("code", "S256")
    assert len({params["state"], params["nonce"], params["code_challenge"]}) == 3
    assert parse_qs(urlsplit(begin(visitor)).query)["state"] != [params["state"]]


def test_public_name_is_in_the_redirect_uri(stack: Stack, company: Company) -> None:
    site: dict[str, Any] = {"domain": "chat.example.org", "secure_cookies": True}
    web = stack.start_web(auth="oidc", oidc_issuer=company.issuer, **CLIENT, **site)
    visitor = Visitor(web.url)
    answer = visitor.ask("/openid/begin", host="chat.example.org")
    params = parse_qs(urlsplit(answer.headers["location"]).query)
    assert params["redirect_uri"] == ["https://chat.example.org/openid/callback"]
    assert [name.startswith("__Host-naru_openid_") for name in visitor.cookies if "openid" in name] == [True]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"oidc_client_secret": ""}, "NARU_OIDC_CLIENT_SECRET is not set"),
        ({"oidc_allowed_groups": ""}, "NARU_OIDC_ALLOWED_GROUPS is not set"),
        ({"oidc_issuer": "http://id.example"}, "NARU_OIDC_ISSUER must begin with https://"),
    ],
)
def test_web_refuses_settings_that_do_not_fit(stack: Stack, settings: dict[str, str], sentence: str) -> None:
    wanted = {"auth": "oidc", "oidc_issuer": "https://id.example", **CLIENT, **settings}
    refused = stack.run("web", "-m", "web", host="127.0.0.1", **wanted)
    assert refused.wait() == 1
    assert sentence in refused.log_text()
    assert "Traceback" not in refused.log_text()


def test_libraries_are_loaded_for_company_sign_in_only() -> None:
    script = "import sys, web.api, web.runtime; sys.exit(len({'authlib', 'joserfc', 'httpx2'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=patient(60)).returncode == 0


def test_any_web_process_finishes_a_sign_in(stack: Stack, company: Company, web: Process, visitor: Visitor) -> None:
    second = stack.start_web(auth="oidc", oidc_issuer=company.issuer, **CLIENT, **SETTINGS)
    back = decide(begin(visitor))
    answer = Visitor(second.url, dict(visitor.cookies)).ask(back, host=urlsplit(web.url).netloc)
    assert answer.status == 303, answer.body


def test_two_tabs_sign_in_one_after_the_other(visitor: Visitor) -> None:
    first, second = begin(visitor), begin(visitor)
    assert visitor.ask(decide(first)).status == 303
    assert is_in(visitor)
    assert says(visitor.ask(decide(second)), "This sign-in has expired, was used already")


def test_state_of_another_browser_is_refused(visitor: Visitor, engine: Engine) -> None:
    stranger = Visitor(visitor.url)
    begin(stranger)
    back = decide(begin(visitor))
    for thief in (stranger, Visitor(visitor.url)):
        refused = thief.ask(back)
        assert refused.status == 400
        assert says(refused, "began in another browser. Begin again.")
        assert "/openid/begin" in refused.body, "a way to begin again"
        assert not is_in(thief)
    assert people(engine) == []
    assert visitor.ask(back).status == 303, "the attempt of the right browser is still good"


SPOILS = [str.swapcase, lambda good: good[:-1], lambda _: "", lambda good: f"{good}.x", lambda _: "é\0~"]


@pytest.mark.parametrize("spoil", SPOILS)
def test_tampered_state_is_refused(visitor: Visitor, spoil: Callable[[str], str]) -> None:
    path, _, query = decide(begin(visitor)).partition("?")
    params = {name: values[0] for name, values in parse_qs(query).items()}
    answer = visitor.ask(f"{path}?{urlencode({**params, 'state': spoil(params['state'])})}")
    assert says(answer, "Begin again.")
    assert not is_in(visitor)


@pytest.mark.parametrize("old", ["state", "cookie"])
def test_old_attempt_is_refused(stack: Stack, web: Process, monkeypatch: pytest.MonkeyPatch, old: str) -> None:
    attempt, cookie = attempts.begin("secret", ""), make_cookie(stack)
    long_ago = int(time.time()) - attempts.SECONDS - 2
    with monkeypatch.context() as patched:
        patched.setattr(TimestampSigner, "get_timestamp", lambda _: long_ago)
        stale, stale_cookie = attempts.begin("secret", ""), make_cookie(stack)
    state = urlencode({"state": stale.state if old == "state" else attempt.state, "error": "access_denied"})
    visitor = Visitor(web.url, dict([stale_cookie if old == "cookie" else cookie]))
    assert says(visitor.ask(f"/openid/callback?{state}"), "This sign-in has expired")
    fresh = urlencode({"state": attempt.state, "error": "access_denied"})
    assert says(Visitor(web.url, dict([cookie])).ask(f"/openid/callback?{fresh}"), "You cancelled")


def make_cookie(stack: Stack) -> tuple[str, str]:
    return TokenCookie(stack.settings.secret_key, "openid").make("secret", is_tls=False)


def test_replayed_answer_is_refused(visitor: Visitor) -> None:
    back = decide(begin(visitor))
    before = dict(visitor.cookies)
    assert visitor.ask(back).status == 303
    assert says(Visitor(visitor.url).ask(back), "was used already")
    refused = Visitor(visitor.url, before).ask(back)
    assert says(refused, "can&#x27;t be verified"), "the provider takes a code once"


@pytest.mark.parametrize(
    "behaviour",
    [
        {"claims": {"nonce": "another"}},
        {"claims": {"nonce": None}},
        {"claims": {"aud": "another"}},
        {"claims": {"aud": "another", "azp": "naru tests"}},
        {"claims": {"aud": ["naru tests", "another"]}},
        {"claims": {"azp": "another"}},
        {"claims": {"iss": "https://evil.example"}},
        {"claims": {"sub": None}},
        {"claims": {"sub": 7}},
        {"claims": {"sub": "x" * 256}},
        {"claims": {"sub": "a\u0000b"}},
        {"claims": {"exp": None}},
        {"claims": {"exp": "tomorrow"}},
        {"claims": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}},
        {"signs": "stranger"},
        {"signs": "nobody"},
        {"signs": "secret"},
    ],
    ids=str,
)
def test_tampered_token_is_refused(
    company: Company, visitor: Visitor, engine: Engine, behaviour: dict[str, object]
) -> None:
    company.behave(**behaviour)
    refused = sign_in(visitor)
    assert refused.status == 400
    assert says(refused, "sent something that can&#x27;t be verified")
    assert not is_in(visitor)
    assert people(engine) == [], "nothing half done"


@pytest.mark.parametrize("seconds", [-700, -361, 61, 300])
def test_clock_too_far_off_is_refused(company: Company, visitor: Visitor, engine: Engine, seconds: int) -> None:
    company.behave(clock=seconds + (5 if seconds > 0 else -5))
    assert says(sign_in(visitor), "are too far apart. Tell the administrator")
    assert people(engine) == []


@pytest.mark.parametrize("seconds", [-40, 40])
def test_clock_within_the_skew_is_accepted(company: Company, visitor: Visitor, seconds: int) -> None:
    company.behave(clock=seconds)
    assert sign_in(visitor).status == 303


def test_new_keys_are_fetched_at_most_every_few_seconds(company: Company, web: Process) -> None:
    assert sign_in(Visitor(web.url)).status == 303
    wait_until(lambda: rotated(company, web), what="a new key is found")
    before = company.behave(signs="stranger")["/keys"]
    for _ in range(5):
        assert sign_in(Visitor(web.url)).status == 400
    assert company.behave()["/keys"] - before <= 2


def rotated(company: Company, web: Process) -> bool:
    company.behave(rotate=True)
    return sign_in(Visitor(web.url)).status == 303


def test_person_who_cancels_can_begin_again(visitor: Visitor) -> None:
    answer = visitor.ask(decide(begin(visitor), go="no"))
    assert says(answer, "You cancelled the sign-in.")
    assert sign_in(visitor).status == 303


@pytest.mark.parametrize("path", ["/token", "/keys"])
@pytest.mark.parametrize("how", ["hangs", "fails"])
def test_provider_that_is_away_yields_a_sentence(
    stack: Stack, company: Company, engine: Engine, path: str, how: str
) -> None:
    web = start_web(stack, company, **SETTINGS)
    visitor = Visitor(web.url)
    back = decide(begin(visitor))
    company.behave(**{how: [path]})
    refused = visitor.ask(back)
    assert refused.status == 503
    assert says(refused, "sign-in service does not respond right now")
    assert people(engine) == []
    company.behave(forget=True)
    assert sign_in(visitor).status == 303


def test_provider_that_is_away_from_the_start_yields_a_sentence(stack: Stack, company: Company) -> None:
    web = stack.start_web(auth="oidc", oidc_issuer="http://127.0.0.1:9", **CLIENT)
    refused = Visitor(web.url).ask("/openid/begin")
    assert refused.status == 503
    assert says(refused, "sign-in service does not respond right now")


def test_provider_needs_a_trusted_certificate(stack: Stack, tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=company"]
    made += [
        "-addext",
        "subjectAltName=IP:127.0.0.1",
        "-keyout",
        str(certificate),
        "-out",
        str(tmp_path / "public.pem"),
    ]
    subprocess.run(made, check=True, timeout=patient(60), capture_output=True)
    certificate.write_text(certificate.read_text() + (tmp_path / "public.pem").read_text())
    process = stack._listening("company", "tests.openid_server", "--port", "{port}", "--tls", str(certificate))
    issuer = process.url.replace("http:", "https:")
    stranger = Visitor(stack.start_web(auth="oidc", oidc_issuer=issuer, **CLIENT).url)
    assert stranger.ask("/openid/begin").status == 503
    stack.values["SSL_CERT_FILE"] = str(tmp_path / "public.pem")
    visitor = Visitor(stack.start_web(auth="oidc", oidc_issuer=issuer, **CLIENT).url)
    del stack.values["SSL_CERT_FILE"]
    state = parse_qs(urlsplit(begin(visitor)).query)["state"][0]
    answer = visitor.ask(f"/openid/callback?{urlencode({'state': state, 'code': 'made up'})}")
    assert says(answer, "can&#x27;t be verified"), "the token endpoint has refused the code"


def test_other_errors_of_the_provider_yield_a_sentence(visitor: Visitor) -> None:
    path, _, query = decide(begin(visitor)).partition("?")
    state = parse_qs(query)["state"][0]
    answer = visitor.ask(f"{path}?{urlencode({'state': state, 'error': 'server_error'})}")
    assert says(answer, "refused the sign-in. Tell the administrator")


def test_document_of_another_issuer_yields_a_sentence(stack: Stack, company: Company) -> None:
    company.behave(metadata={"issuer": "https://moved.example"})
    web = start_web(stack, company)
    assert says(Visitor(web.url).ask("/openid/begin"), "can&#x27;t be verified")
    assert "the document names the issuer https://moved.example" in web.log_text()


def test_odd_provider_signs_people_in(stack: Stack, engine: Engine) -> None:
    """A new key for each token, ES256, two audiences, the secret in the form, the issuer in the answer, no e-mail."""
    odd = start_company(stack, is_odd=True)
    web = start_web(stack, odd, **SETTINGS)
    odd.behave(clock=40)
    first = Visitor(web.url)
    assert sign_in(first).status == 303
    assert [(each.email, each.shown) for each in people(engine)] == [("", "Ada")]
    wait_until(lambda: sign_in(Visitor(web.url), "eve").status == 303, what="the next key is fetched")
    other, before = Visitor(web.url), odd.behave()["/token"]
    for issuer in ({}, {"iss": "https://evil.example"}):
        path, _, query = decide(begin(other)).partition("?")
        params = {name: values[0] for name, values in parse_qs(query).items() if name != "iss"}
        assert says(other.ask(f"{path}?{urlencode(params | issuer)}"), "can&#x27;t be verified")
    assert odd.behave()["/token"] == before, "no code goes to another issuer"
    odd.behave(people={"bob": {"groups": {"naru-admins": {}}}})
    wait_until(lambda: says(sign_in(Visitor(web.url), "bob"), "has to be a list of names"), what="the key is known")
    assert first.post("/sign-out").headers["location"] == "/sign-in", "it has no way out"
