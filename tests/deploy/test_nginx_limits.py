"""The real nginx limits each address: behind a trusted balancer, by /64 in IPv6, and apart from other people."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.nginx import Nginx, running_nginx

NOBODY = "127.0.0.1:9"
#: Web is down, so nginx answers 503 to a request that it lets pass.
PASSED, REFUSED = 503, 429
#: More than the burst of 50 and what 20 s add to it.
POSTS = 400
#: Less than the burst: from a fresh address all would pass.
FEW = 40


@contextmanager
def asking(naru: Nginx) -> Iterator[http.client.HTTPSConnection]:
    """Yield one connection for many requests."""
    connection = naru.connect()
    yield connection
    connection.close()


def statuses(naru: Nginx, method: str, addresses: list[str], path: str = "/x", **headers: str) -> list[int]:
    """Send a request from each of these addresses, which X-Forwarded-For names; return the statuses."""
    found = []
    with asking(naru) as connection:
        for address in addresses:
            connection.request(method, path, headers={"X-Forwarded-For": address, **headers})
            answer = connection.getresponse()
            answer.read()
            found.append(answer.status)
    return found


@pytest.fixture
def behind_balancer(tmp_path: Path) -> Iterator[Nginx]:
    """Yield nginx behind a balancer on this machine."""
    with running_nginx(tmp_path, NARU_WEB=NOBODY, NARU_TRUSTED_PROXIES="127.0.0.0/8,::1") as made:
        yield made


def test_client_behind_balancer_is_counted_by_itself(behind_balancer: Nginx) -> None:
    flood = statuses(behind_balancer, "POST", ["192.0.2.7"] * POSTS + ["::ffff:192.0.2.7"] * FEW)
    assert flood[0] == PASSED
    assert REFUSED in flood[:POSTS]
    assert REFUSED in flood[POSTS:], "the same address in IPv6"
    assert statuses(behind_balancer, "POST", ["198.51.100.9"]) == [PASSED]
    assert '"remote_addr":"192.0.2.7"' in behind_balancer.log


def test_client_cannot_hide_behind_forged_addresses(behind_balancer: Nginx) -> None:
    """The balancer appends the client's address; the client can forge only what precedes it."""
    flood = statuses(behind_balancer, "POST", [f"10.0.{number}.1, 192.0.2.7" for number in range(POSTS)])
    assert REFUSED in flood


def test_ipv6_network_is_counted_as_one(behind_balancer: Nginx) -> None:
    flood = statuses(behind_balancer, "POST", [f"2001:db8:1:2:{number:x}::7" for number in range(POSTS)])
    assert REFUSED in flood
    assert statuses(behind_balancer, "POST", ["2001:db8:1:3::7"]) == [PASSED]


def test_unknown_proxy_is_not_trusted(tmp_path: Path) -> None:
    with running_nginx(tmp_path, NARU_WEB=NOBODY) as made:
        assert REFUSED in statuses(made, "POST", [f"192.0.2.{number}" for number in range(POSTS)])


def test_page_loads_without_cookie_are_counted_apart(behind_balancer: Nginx) -> None:
    """150 pass at once, or 200 with the cookie."""
    assert REFUSED in statuses(behind_balancer, "GET", ["192.0.2.7"] * 190)
    known = statuses(behind_balancer, "GET", ["203.0.113.4"] * 190, Cookie="a=b; __Host-naru_browser=x")
    assert set(known) == {PASSED}


def test_office_may_look_for_the_banner(behind_balancer: Nginx) -> None:
    """Every visible page asks every few seconds: that must not use up what the office's questions need."""
    assert set(statuses(behind_balancer, "GET", ["192.0.2.7"] * POSTS, "/api/banner")) == {PASSED}
    known = statuses(behind_balancer, "GET", ["192.0.2.7"] * FEW, Cookie="a=b; __Host-naru_browser=x")
    assert set(known) == {PASSED}
