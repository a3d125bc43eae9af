"""The attacks and their expected answers. None leaves loopback or has more than 3,000 connections at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from tests.attacks.attacker import Plan
from tests.attacks.wire import kinds, rerun
from tests.stack import Stack
from tests.web.clients import browser

CLICK = (rerun().hex(),)
GHOST = (rerun(fragment="gone").hex(),)
HEAVY = (rerun(widgets=190, widget_bytes=1000).hex(),)
LONG_QUESTION = (rerun(widgets=30, widget_bytes=1000, question_bytes=128_000).hex(),)
TOO_MANY_WIDGETS = (rerun(widgets=1000).hex(),)
EVERY_KIND = tuple(message.hex() for message in kinds().values())
FRAME_BYTES = 192 * 1024
HUGE_FRAME_BYTES = 60 * 1024 * 1024
ADDRESSES = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """One attack: its number of cookies and addresses, and the other fields of its `Plan`."""

    name: str
    about: str
    identities: int = 0
    addresses: int = 1
    #: The expected answer: a close code or an HTTP status; 0 for none in particular.
    answer: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def plan(self, stack: Stack, url: str, *, seconds: float) -> Plan:
        """Return the attacker's plan."""
        cookies = tuple(browser(stack)[1] for _ in range(self.identities)) or ("",)
        # 127.0.1.x is loopback, but not the honest person's address.
        addresses = ("127.0.0.1",) if self.addresses == 1 else tuple(f"127.0.1.{1 + n}" for n in range(self.addresses))
        options = {"messages": CLICK, **self.options}
        return Plan(url=url, seconds=seconds, cookies=cookies, addresses=addresses, **options)


ATTACKS = (
    Attack(
        name="burst",
        about="2,000 clicks on one socket without a cookie, which then disconnects",
        options={"way": "leave", "most": 2000, "is_stubborn": False},
    ),
    Attack(
        name="flood",
        about="50 sockets, 100 clicks a second each, one address, no cookie",
        answer=1008,
        options={"sockets": 50},
    ),
    Attack(
        name="flood-cookies",
        about="the same with 50 cookies",
        identities=50,
        answer=1008,
        options={"sockets": 50},
    ),
    Attack(
        name="flood-addresses",
        about="the same from 50 addresses",
        identities=50,
        addresses=ADDRESSES,
        answer=1008,
        options={"sockets": 50},
    ),
    Attack(
        name="every-kind",
        about="the same with every kind of message that Streamlit knows",
        identities=50,
        addresses=ADDRESSES,
        answer=1008,
        options={"sockets": 50, "messages": EVERY_KIND},
    ),
    Attack(
        name="patient",
        about="the same with 9 clicks a second, which breaks no rule",
        identities=50,
        addresses=ADDRESSES,
        options={"sockets": 50, "rate": 9.0},
    ),
    Attack(
        name="ghosts",
        about="50 sockets that ask for non-existent fragments 9 times a second",
        identities=50,
        addresses=ADDRESSES,
        options={"sockets": 50, "messages": GHOST, "rate": 9.0},
    ),
    Attack(
        name="widgets",
        about="50 sockets that send the state of 1,000 widgets",
        identities=50,
        answer=1008,
        options={"sockets": 50, "messages": TOO_MANY_WIDGETS},
    ),
    Attack(
        name="heavy",
        about="200 sockets, each with 190 kB of widget state",
        identities=20,
        answer=1008,
        options={"sockets": 200, "messages": HEAVY, "rate": 0.3},
    ),
    Attack(
        name="questions",
        about="200 sockets, each with the longest question and 30 kB of widget state, as often as allowed",
        identities=20,
        options={"sockets": 200, "messages": LONG_QUESTION, "rate": 0.3},
    ),
    Attack(
        name="unfinished",
        about="200 sockets that send all but one byte of a 192 kB frame",
        identities=20,
        options={"sockets": 200, "way": "unfinished", "frame_bytes": FRAME_BYTES},
    ),
    Attack(
        name="huge",
        about="20 sockets that send all but one byte of a 60 MB frame",
        answer=1009,
        options={"sockets": 20, "way": "unfinished", "frame_bytes": HUGE_FRAME_BYTES},
    ),
    Attack(
        name="fragments",
        about="50 sockets that send empty fragments of a message without an end",
        identities=50,
        answer=1008,
        options={"sockets": 50, "way": "fragments", "rate": 2000.0},
    ),
    Attack(
        name="pings",
        about="50 sockets that send 2,000 pings a second each",
        identities=50,
        answer=1008,
        options={"sockets": 50, "way": "pings", "rate": 2000.0},
    ),
    Attack(
        name="idle",
        about="200 sockets that draw the page and stay open",
        identities=20,
        options={"sockets": 200, "way": "idle"},
    ),
    Attack(
        name="come-and-go",
        about="50 sockets that open, draw the page and disconnect, again and again",
        identities=50,
        addresses=ADDRESSES,
        options={"sockets": 50, "way": "come_and_go"},
    ),
    Attack(
        name="half-heads",
        about="3,000 connections that send a request's head byte by byte",
        answer=503,
        options={"sockets": 3000, "way": "half_heads"},
    ),
)
