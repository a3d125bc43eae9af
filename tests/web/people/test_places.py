"""Where a sign-in leads back to: our own pages and chats, and nowhere else."""

from __future__ import annotations

from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

import pytest

from tests.stack import Process
from tests.web.people.test_second_factor import code_of, half, switch_on
from tests.web.socket import PageSocket
from tests.web.visitors import EMAIL, PASSWORD, Visitor, is_in, visit
from web.state import ADMIN_PARTS
from web.views.admin.admin import PARTS

#: Our pages, and the names under which the sign-in knows them.
PAGES = {
    "/?page=admin": "admin",
    "/?page=admin&part=people": "admin-people",
    "/account": "account",
    "/account/factor": "factor",
    "/usage": "usage",
    "/usage/everyone": "everyone",
    "/audit": "audit",
}
EVIL = [
    "//evil.example",
    "///evil.example",
    "https:evil.example",
    "https://evil.example",
    "\\\\evil.example",
    "/\\evil.example",
    "%2F%2Fevil.example",
    "%5C%5Cevil.example",
    "%252F%252Fevil.example",
    "admin//evil.example",
    "admin-//evil.example",
    "admin&page=//evil.example",
    "admin\r\nLocation: https://evil.example",
    "\tadmin@evil.example",
    "javascript:alert('evil.example')",
    "/account/../..//evil.example",
]


def signed_in_at(web: Process, place: str) -> str:
    """Return where the sign-in form leads with this value."""
    visitor = visit(web)
    answer = visitor.post("/sign-in", {"email": EMAIL, "password": PASSWORD, "c": place})
    assert answer.status == 303
    assert is_in(visitor)
    return answer.headers["location"]


@pytest.mark.parametrize(("path", "place"), PAGES.items())
def test_sign_in_leads_back_to_the_page(web: Process, ada: Visitor, path: str, place: str) -> None:
    assert Visitor(web.url).ask(path).headers["location"] == f"/sign-in?c={place}"
    assert f'name="c" value="{place}"' in visit(web).ask(f"/sign-in?c={place}").body
    assert signed_in_at(web, place) == path
    assert ada.ask(f"/sign-in?c={place}").headers["location"] == path, "somebody who is signed in goes on at once"


@pytest.mark.parametrize("evil", EVIL)
def test_sign_in_leads_to_no_other_site(web: Process, ada: Visitor, evil: str) -> None:
    assert signed_in_at(web, evil) == "/"
    assert ada.ask(f"/sign-in?c={quote(evil)}").headers["location"] == "/"
    for path in ("/sign-in?c=", "/?c=", "/?page=", "/?page=admin&part=", "/sign-in/code?c="):
        answer = visit(web).ask(path + quote(evil))
        assert "evil.example" not in unquote(answer.headers.get("location", "")), path
        assert 'value="' + evil not in unquote(answer.body)
        assert "c=" + evil not in unquote(answer.body)


def test_second_factor_leads_back_to_the_page(web: Process, ada: Visitor) -> None:
    secret, _ = switch_on(ada)
    visitor = visit(web)
    form = {"email": EMAIL, "password": PASSWORD, "c": "admin-people"}
    asked = visitor.post("/sign-in", form).headers["location"]
    assert asked == "/sign-in/code?c=admin-people"
    assert 'name="c" value="admin-people"' in visitor.ask(asked).body
    answer = visitor.post("/sign-in/code", {"code": code_of(secret), "c": "admin-people"})
    assert answer.headers["location"] == "/?page=admin&part=people"
    other = half(web)
    answer = other.post("/sign-in/code", {"code": code_of(secret, steps=1), "c": "//evil.example"})
    assert (answer.status, answer.headers["location"]) == (303, "/")


def test_download_of_a_stranger_leads_back_to_its_page(web: Process, ada: Visitor) -> None:
    for path, place in (("/usage/everyone.csv", "everyone"), ("/audit/export", "audit")):
        assert Visitor(web.url).ask(path).headers["location"] == f"/sign-in?c={place}"


def test_chat_still_has_its_id(web: Process, ada: Visitor) -> None:
    chat = str(uuid4())
    assert urlsplit(signed_in_at(web, chat)).query == f"c={chat}"


def test_page_of_an_ended_session_links_to_its_sign_in(web: Process, ada: Visitor) -> None:
    with PageSocket(web.url, "") as page:
        page.run_at("page=admin&part=people")
        assert page.drew("./sign-in?c=admin-people")


def test_every_part_of_the_administration_is_a_place() -> None:
    assert tuple(PARTS) == ADMIN_PARTS
