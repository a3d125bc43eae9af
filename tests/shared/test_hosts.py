"""Tests of known hosts, for a server on loopback, on one address and on all; and of key lists."""

from __future__ import annotations

import socket

import pytest

from shared.hosts import KnownHosts, name_in
from shared.keys import endings_of, is_strong, key_id, keys_in, new_key
from shared.settings import load_settings


def known(**variables: str) -> KnownHosts:
    """Return the hosts that a server with these variables knows."""
    return KnownHosts(load_settings({f"NARU_{name.upper()}": value for name, value in variables.items()}))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("LOCALHOST.:80", "localhost"),
        ("127.0.0.1:8501", "127.0.0.1"),
        ("[0:0:0:0::1]:8501", "::1"),
        ("a_b-c.D", "a_b-c.d"),
        *((each, None) for each in ("", None, "::1", "[::1", "[evil]", "a b", "a,b", "a@b", "a/b", "a:b", "a:999999")),
    ],
)
def test_name_in_parses_the_host_header(header: str | None, name: str | None) -> None:
    assert name_in(header) == name


def test_loopback_server_knows_loopback_only() -> None:
    for hosts in (known(), known(host="127.0.0.1"), known(host="localhost"), known(host="::1")):
        assert all(hosts.knows(each) for each in ("localhost", "127.0.0.1:1", "[::1]"))
        assert not any(
            hosts.knows(each) for each in ("192.0.2.1", "[2001:db8::1]", "evil.test", "2130706433", "0x7f.1")
        )


def test_server_on_an_address_knows_it_and_the_machine() -> None:
    hosts = known(host="192.0.2.1")
    assert all(hosts.knows(each) for each in ("192.0.2.1:8501", "localhost", socket.gethostname()))
    assert not any(hosts.knows(each) for each in ("192.0.2.2", "evil.test"))
    assert known(host="naru.lan").knows("NARU.lan:80")


@pytest.mark.parametrize("address", ["0.0.0.0", "::"])
def test_server_on_all_addresses_knows_every_address(address: str) -> None:
    hosts = known(host=address)
    assert all(hosts.knows(each) for each in ("192.0.2.7", "[2001:db8::1]:80", socket.gethostname(), "localhost"))
    assert not any(hosts.knows(each) for each in ("evil.test", "192.0.2.7.evil.test"))


def test_settings_add_names_and_patterns() -> None:
    hosts = known(domain="chat.example.org", allowed_hosts=".a.test *.b.test,192.0.2.9 나루.example")
    yes = ("chat.example.org", "a.test", "x.a.test", "y.x.a.test", "x.b.test", "192.0.2.9", "xn--910br1n.example")
    assert [each for each in yes if not hosts.knows(each)] == []
    assert not any(hosts.knows(each) for each in ("example.org", "xa.test", "b.test", "x.chat.example.org"))
    assert known(allowed_hosts="*").knows("anything")


def test_key_list_is_newest_first() -> None:
    assert keys_in(" new, old\nolder,,new ") == ("new", "old", "older")
    assert keys_in("") == keys_in(" ,") == ()
    assert endings_of("a b,c") == ("a b,c", "b,c", "c")
    assert is_strong("k" * 32)
    assert is_strong("키" * 11), "the minimum is in bytes"
    assert not is_strong("k" * 31)
    assert is_strong(new_key())
    assert len(keys_in(new_key())) == 1
    assert key_id("a") != key_id("b")
