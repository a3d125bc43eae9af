"""Tests of the address that limits count by."""

from __future__ import annotations

import pytest

from web.asgi.address import client_of


@pytest.mark.parametrize(
    ("client", "counted"),
    [
        (("192.0.2.7", 4000), "192.0.2.7"),
        (("::ffff:192.0.2.7", 4000), "192.0.2.7"),
        (("2001:db8:1:2:aaaa::1", 4000), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:bbbb::9", 4000), "2001:db8:1:2::/64"),
        (("testclient", 4000), "testclient"),
        (None, ""),
    ],
)
def test_client_of_maps_a_subscriber_to_one_address(client: tuple[str, int] | None, counted: str) -> None:
    assert client_of({"type": "websocket", "client": client}) == counted
