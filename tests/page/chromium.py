"""Finds and starts Chromium."""

from __future__ import annotations

import shutil

from playwright.sync_api import Browser, Playwright

#: The headless shell takes a quarter less CPU than the whole browser.
PROGRAMS = ("chromium-headless-shell", "chromium", "google-chrome")
FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"),
)
#: A single JavaScript thread takes a quarter less CPU. The bench does without it: people's browsers have several.
SINGLE_THREADED = "--js-flags=--single-threaded"


def find() -> str | None:
    """Return the path of an installed Chromium; None leaves the choice to Playwright."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


#: A host name that leads to loopback, but is no loopback to a browser: it does not trust plain HTTP there.
UNTRUSTED_HOST = "naru.test"


def launch(playwright: Playwright, *, single_threaded: bool = True) -> Browser:
    """Start a browser. Raises playwright's Error if there is none."""
    flags = [*FLAGS, f"--host-resolver-rules=MAP {UNTRUSTED_HOST} 127.0.0.1"]
    flags += [SINGLE_THREADED] if single_threaded else []
    return playwright.chromium.launch(executable_path=find(), args=flags)
