"""Tests of an address of Sentinels: the parser, and clients that find the primary."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Iterator

import pytest
from kombu.connection import Connection

from deploy.cli.findings import Level
from deploy.cli.reaching import redis_sentinels
from deploy.cli.servers import try_redis
from shared.queue import make_celery
from shared.redaction import redacted
from shared.redis import make_async_client, make_client, try_write
from shared.sentinels import BadAddress, Sentinels, sentinels_of
from shared.settings import load_settings
from tests.sentinels import NAME, PASSWORD, SENTINEL_PASSWORD, Watched, running_sentinels
from tests.stack import free_port

URL = "sentinel://u:p%2Fw@a:1;sentinel://[::1]:2;sentinel://c/3?master_name=m&sentinel_password=s%3Bw"


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """A primary, a replica and three Sentinels."""
    with running_sentinels(tmp_path_factory.mktemp("sentinels") / "own") as made:
        yield made


def test_address_of_sentinels_is_read() -> None:
    assert sentinels_of(URL) == Sentinels(
        places=(("a", 1), ("::1", 2), ("c", 26379)),
        master_name="m",
        username="u",
        password="p/w",
        database=3,
        sentinel_password="s;w",
    )
    assert sentinels_of("redis://:p@h/0") is None


def test_plus_sign_in_an_option_stays_one() -> None:
    found = sentinels_of("sentinel://:p+%2B@a?master_name=m+n&sentinel_username=u+v&sentinel_password=a+b%2Bc%20d")
    assert found is not None
    assert (found.password, found.master_name, found.sentinel_username) == ("p++", "m+n", "u+v")
    assert found.sentinel_password == "a+b+c d"


def test_kombu_reads_each_part_of_our_list() -> None:
    found = sentinels_of(URL)
    assert found is not None
    assert found.broker_url == "sentinel://u:p%2Fw@a:1/3;sentinel://u:p%2Fw@[::1]:2/3;sentinel://u:p%2Fw@c:26379/3"
    with Connection(found.broker_url) as connection:
        for host, port in found.places:
            read = (connection.hostname, connection.port, connection.userid, connection.password)
            assert (*read, connection.virtual_host) == (host, port, "u", "p/w", "3")
            connection.maybe_switch_next()


@pytest.mark.parametrize(
    ("url", "to_do"),
    [
        ("sentinel://a", "append [?]master_name=NAME"),
        ("sentinel://a,b?master_name=m", "write sentinel://"),
        ("sentinel://a;redis://b?master_name=m", "write sentinel://"),
        ("sentinel://a;b?master_name=m", "write sentinel://"),
        ("sentinel://a:x?master_name=m", "write sentinel://"),
        ("sentinel://[::1?master_name=m", "write sentinel://"),
        ("sentinel:///0?master_name=m", "write sentinel://"),
        ("sentinel://a:1;sentinel://a:1?master_name=m", "twice"),
        ("sentinel://:hidden@a;sentinel://:other@b?master_name=m", "must be the same in each part"),
        ("sentinel://a/name?master_name=m", "number of a database"),
        ("sentinel://a?master_name=m&sentinel_password=hid#den", "write %23 for #"),
        ("sentinel://a?master_name=m&sentinel_pass=hidden", "the only options are master_name"),
    ],
)
def test_bad_list_of_sentinels_is_refused(url: str, to_do: str) -> None:
    with pytest.raises(BadAddress, match=to_do) as refused:
        sentinels_of(url)
    assert "hidden" not in str(refused.value)
    with pytest.raises(Exception, match=f"^REDIS_URL is not a valid list of Sentinels: .*{to_do}"):
        load_settings({"REDIS_URL": url})


def test_passwords_of_sentinels_stay_out_of_logs() -> None:
    line = redacted(f"cannot connect to {URL.replace('p%2Fw', 'hidden').replace('s%3Bw', 'hidden')}")
    assert "hidden" not in line


def test_clients_find_the_primary_past_a_dead_sentinel(watched: Watched) -> None:
    with make_client(watched.url, timeout_seconds=5, decode_responses=True) as client:
        assert client.set("naru:found", "yes")
        assert client.info("replication")["role"] == "master"

    async def read() -> str:
        options = {"decode_responses": True, "single_connection_client": True, "protocol": 2}
        async with make_async_client(watched.url, timeout_seconds=5, **options) as asynchronous:
            return str(await asynchronous.get("naru:found"))

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert asyncio.run(read()) == "yes"
        asyncio.run(try_write(watched.url, timeout_seconds=5))


def test_celery_finds_the_primary(watched: Watched) -> None:
    settings = load_settings({"REDIS_URL": watched.url})
    app = make_celery(settings)
    with app.connection_for_write() as connection:
        assert connection.default_channel.client.info("replication")["role"] == "master"
        assert PASSWORD not in connection.as_uri()
    assert try_redis(settings.redis_url) is None


def test_doctor_reads_the_sentinels(watched: Watched) -> None:
    dead, good = redis_sentinels(load_settings({"REDIS_URL": watched.url}))
    assert (dead.level, good.level) == (Level.HINT, Level.GOOD)
    assert "does not answer" in dead.what
    assert good.what == f"sentinel: 3 of 4 answer, {NAME} is 127.0.0.1:{watched.ports[0]}"
    misnamed = watched.url.replace(NAME, "other")
    _, wrong = redis_sentinels(load_settings({"REDIS_URL": misnamed}))
    assert (wrong.level, "no usable primary 'other'" in wrong.what) == (Level.WRONG, True)
    assert "no Sentinel there knows a primary" in (try_redis(misnamed) or "")


def test_dead_sentinels_are_an_outage() -> None:
    url = f"sentinel://:hidden@127.0.0.1:{free_port()}?master_name=m&sentinel_password={SENTINEL_PASSWORD[:3]}"
    said = try_redis(url) or ""
    assert said.startswith("REDIS_URL (127.0.0.1:")
    assert "hidden" not in said
