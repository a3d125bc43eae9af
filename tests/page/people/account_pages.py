"""What the tests of accounts do on every page: make an account, and look at the page with axe."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Page
from sqlalchemy import Engine

from shared.people import links
from tests.web.visitors import EMAIL, PASSWORD

WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}
_AXE = (Path(__file__).parents[1] / "axe" / "axe.min.js").read_text(encoding="utf-8")
_FIND = """() => axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations
  .filter(({ impact }) => impact !== "minor").map(({ id, impact }) => `${impact} ${id}`))"""


def sign_up(page: Page, url: str, engine: Engine, email: str = EMAIL, role: str = "user") -> None:
    """Make an account with a new invitation; the browser is signed in then."""
    page.goto(f"{url}/sign-up?invitation={links.invite(engine, role, days=1)}")
    page.locator("#email").fill(email)
    page.locator("#password").fill(PASSWORD)
    page.locator("button[type=submit]").click()


def violations(page: Page) -> list[str]:
    """Return what axe finds. It runs through the debugger, because the page's policy allows no foreign script."""
    page.evaluate(_AXE)
    found: list[str] = page.evaluate(_FIND)
    return found
