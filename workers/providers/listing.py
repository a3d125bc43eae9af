"""Asks a server for its models: their names, titles and windows.

Servers answer in OpenAI's form ({"data": [{"id"}]}), in Ollama's ({"models": [{"name"}]}) or with a bare list. An
address that lacks `/v1`, or has a path too many, is mended where the mended one answers.
"""

from __future__ import annotations

import asyncio
import functools
import io
import json
import logging
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from socket import socket
from threading import Thread
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import (
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    build_opener,
)

from shared.vendors import ANTHROPIC, OLLAMA, OPENAI
from workers.providers.chat_models import can_chat
from workers.providers.instances import Instance
from workers.providers.mapping import refuses_key
from workers.providers.sdk.provider import is_loopback

log = logging.getLogger(__name__)

MOST_LISTED = 2_000
MOST_PAGES = 20
LARGEST_BYTES = 16_000_000
#: A listing may take this long where nobody waits for the worker's start.
LISTING_SECONDS = 10.0
LONGEST_NAME, LONGEST_TITLE = 200, 80
_MOST_ERROR_BYTES = 65_536
#: Paths that people append to a base address although they belong to a call.
_CALL_PATHS = ("/chat/completions", "/v1/messages", "/messages", "/models", "/api/tags", "/api/chat")
#: The fields in which servers tell a model's window, in tokens. `meta` is llama.cpp's.
_WINDOWS = (
    "max_model_len",
    "context_length",
    "context_window",
    "max_context_length",
    "loaded_context_length",
    "max_input_tokens",
    "inputTokenLimit",
    "n_ctx",
)
_FEWEST_TOKENS, _MOST_TOKENS = 256, 100_000_000


class Problem(StrEnum):
    """Why a provider offers no model."""

    UNREACHABLE = "unreachable"
    CERTIFICATE = "certificate"
    KEY_REFUSED = "key_refused"
    NO_LIST = "no_list"
    NOT_A_LIST = "not_a_list"
    SERVER_FAILS = "server_fails"
    NO_MODEL = "no_model"
    #: providers.toml has a mistake.
    BAD_FILE = "bad_file"


#: Sentences for operators, after the provider's name; the page has its own sentences (`words/`, `no_model.…`).
SENTENCES: Mapping[str, str] = {
    Problem.UNREACHABLE: "cannot be reached. Start it, or check the address, the network and the proxy",
    Problem.CERTIFICATE: "has a TLS certificate that is not valid here. Correct it, or name its CA with ca_file",
    Problem.KEY_REFUSED: "refuses the key. Set a valid one",
    Problem.NO_LIST: "has no list of models below its address. Most servers need an address that ends with /v1",
    Problem.NOT_A_LIST: "does not answer with a list of models, but for example with a web page. Check the address",
    Problem.SERVER_FAILS: "answers with an error to a request for its models. See its log",
    Problem.NO_MODEL: "lists no chat model that passes include and exclude. Name it with models",
    Problem.BAD_FILE: "has a mistake. ./naru doctor names its line",
}


class ListingFailed(Exception):
    """The server gave no list."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.value)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class Listed:
    """A model as the server describes it; the title is empty and the window None where it does not."""

    name: str
    title: str = ""
    context_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The models of a server that can chat, and the address below which it answered."""

    address: str
    models: tuple[Listed, ...]


async def list_models(instance: Instance, *, seconds: float = LISTING_SECONDS) -> Listing:
    """Ask the server, for at most `seconds`. Raises ListingFailed.

    A thread of its own waits for the server, so a slow one takes no thread from other work, nor time from other lists.
    """
    found: Future[Listing] = Future()
    found.set_running_or_notify_cancel()

    def run() -> None:
        try:
            found.set_result(fetch(instance, seconds=seconds))
        except BaseException as error:  # noqa: BLE001 - the one who waits gets it
            found.set_exception(error)

    Thread(target=run, name="listing", daemon=True).start()
    try:
        async with asyncio.timeout(seconds):
            return await asyncio.wrap_future(found)
    except TimeoutError:
        raise ListingFailed(Problem.UNREACHABLE) from None


def fetch(instance: Instance, *, seconds: float = LISTING_SECONDS) -> Listing:
    """Ask the server. All of its replies together may take `seconds`. Raises ListingFailed."""
    until = time.monotonic() + seconds
    opener = _opener(instance, until)
    first: ListingFailed | None = None
    for address in addresses_to_try(instance):
        try:
            entries = list(_entries(opener, instance, address, until))
        except ListingFailed as error:
            first = first or error
            if error.problem in (Problem.NO_LIST, Problem.NOT_A_LIST):
                continue
            break
        models = tuple(_chatting(entries, instance))[:MOST_LISTED]
        if not models:
            raise ListingFailed(Problem.NO_MODEL)
        return Listing(address, models)
    raise first or ListingFailed(Problem.NO_LIST)


def addresses_to_try(instance: Instance) -> list[str]:
    """Return the base addresses that may have been meant, the configured one first."""
    base = instance.base
    tries = [base, *(base.removesuffix(path).rstrip("/") for path in _CALL_PATHS if base.endswith(path))]
    shortest = tries[-1]
    if instance.vendor is OPENAI and not shortest.endswith("/v1"):
        tries.append(f"{shortest}/v1")
    elif instance.vendor is not OPENAI and shortest.endswith("/v1"):
        tries.append(shortest.removesuffix("/v1"))
    return tries


def _opener(instance: Instance, until: float) -> OpenerDirector:
    direct = [ProxyHandler({})] if is_loopback(instance.base) else []
    try:
        tls = [_Https(until, _context(instance.ca_file))] if instance.base.startswith("https:") else []
    except OSError:  # the file is gone, or holds no certificate any more
        raise ListingFailed(Problem.CERTIFICATE) from None
    return build_opener(*direct, _Http(until), *tls, _NoRedirect())


def _context(ca_file: str) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file or None)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _entries(opener: OpenerDirector, instance: Instance, address: str, until: float) -> Iterator[Mapping[str, Any]]:
    """Yield the entries of all pages of the list. Raises ListingFailed."""
    url, after, left = f"{address}{instance.vendor.models_path}", "", LARGEST_BYTES
    for _ in range(MOST_PAGES):
        page = f"{url}?limit=1000&after_id={quote(after)}" if after else url
        data = _get(opener, instance, page, until, left)
        left -= len(data)
        found = _parsed(data)
        entries = found if isinstance(found, list) else found.get("data", found.get("models"))
        if not isinstance(entries, list):
            raise ListingFailed(Problem.NOT_A_LIST)
        yield from (each for each in entries if isinstance(each, Mapping))
        last = found.get("last_id") if isinstance(found, dict) and found.get("has_more") is True else None
        if instance.vendor is not ANTHROPIC or not isinstance(last, str) or last == after or not _is_name(last):
            return
        after = last


def _get(opener: OpenerDirector, instance: Instance, url: str, until: float, most: int) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise ListingFailed(Problem.NO_LIST)
    request = Request(url, headers=instance.vendor.headers_with(instance.api_key))  # noqa: S310 - checked above
    try:
        with opener.open(request, timeout=_left(until)) as reply:
            return bytes(reply.read(most))
    except HTTPError as error:
        raise ListingFailed(_meaning_of(error)) from None
    except URLError as error:
        is_certificate = isinstance(error.reason, ssl.SSLCertVerificationError)
        raise ListingFailed(Problem.CERTIFICATE if is_certificate else Problem.UNREACHABLE) from None
    except ssl.SSLCertVerificationError:
        raise ListingFailed(Problem.CERTIFICATE) from None
    except (OSError, HTTPException, ValueError):
        raise ListingFailed(Problem.UNREACHABLE) from None


def _meaning_of(error: HTTPError) -> Problem:
    """Return what an error means, and close its reply."""
    status, body = error.code, _body_of(error)
    if status in (401, 403) or refuses_key(body):
        return Problem.KEY_REFUSED
    if status >= 500 or status == 429:
        return Problem.SERVER_FAILS
    return Problem.NO_LIST


def _body_of(error: HTTPError) -> object:
    """Return the JSON of an error; None if it has none."""
    with error, suppress(OSError, HTTPException, ValueError, RecursionError):
        return json.loads(error.read(_MOST_ERROR_BYTES))
    return None


def _parsed(data: bytes) -> dict[str, Any] | list[Any]:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict | list):
        raise ListingFailed(Problem.NOT_A_LIST)
    return found


def _chatting(entries: list[Mapping[str, Any]], instance: Instance) -> Iterator[Listed]:
    seen: set[str] = set()
    for entry in entries:
        name = entry.get("id") or entry.get("name")
        if not isinstance(name, str) or name in seen or not _is_name(name):
            continue
        seen.add(name)
        if instance.takes(name) and can_chat(name, entry):
            yield Listed(name, _title_of(entry, name, instance), window_of(entry))


def _is_name(name: str) -> bool:
    return 0 < len(name) <= LONGEST_NAME and name.isprintable() and " " not in name


def _title_of(entry: Mapping[str, Any], name: str, instance: Instance) -> str:
    fields = ("display_name",) if instance.vendor is OLLAMA else ("display_name", "name")
    found = next((title for title in map(entry.get, fields) if isinstance(title, str) and title.strip()), "")
    title = " ".join(found.split())[:LONGEST_TITLE]
    return title if title.isprintable() and title != name else ""


def window_of(entry: Mapping[str, Any]) -> int | None:
    """Return the window that the server states, in tokens, if it states one.

    Of several, the smallest holds: LM Studio tells the model's own window, and the one that it was loaded with.
    """
    meta = entry.get("meta")
    stated = [entry.get(field) for field in _WINDOWS]
    stated += [meta.get("n_ctx")] if isinstance(meta, Mapping) else []
    numbers = [value for value in stated if isinstance(value, int) and not isinstance(value, bool)]
    return min((value for value in numbers if _FEWEST_TOKENS <= value <= _MOST_TOKENS), default=None)


class _NoRedirect(HTTPRedirectHandler):
    """Follows no redirect, which would carry the key to another host."""

    def redirect_request(self, *_args: Any, **_kwargs: Any) -> None:
        return None


class _Http(HTTPHandler):
    """Opens connections that end at `until`, on the monotonic clock."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self._until = until

    def http_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_ending(HTTPConnection, self._until), req)


class _Https(HTTPSHandler):
    """The same over TLS."""

    def __init__(self, until: float, context: ssl.SSLContext) -> None:
        super().__init__()
        self._until, self._tls = until, context

    def https_open(self, req: Request) -> HTTPResponse:
        return self.do_open(_ending(HTTPSConnection, self._until), req, context=self._tls)


def _ending(make: Callable[..., HTTPConnection], until: float) -> Callable[..., HTTPConnection]:
    def connection(host: str, **values: Any) -> HTTPConnection:
        made = make(host, **values)
        made.response_class = functools.partial(_EndingResponse, until=until)  # type: ignore[assignment]
        return made

    return connection


class _EndingResponse(HTTPResponse):
    """A response whose reads all end at `until`. The time limit of a socket is one for each read."""

    def __init__(self, sock: socket, *args: Any, until: float, **values: Any) -> None:
        super().__init__(sock, *args, **values)
        self.fp = io.BufferedReader(_EndingReads(self.fp.detach(), sock, until))


class _EndingReads(io.RawIOBase):
    def __init__(self, reads: io.RawIOBase, sock: socket, until: float) -> None:
        self._reads, self._sock, self._until = reads, sock, until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(_left(self._until))
        return self._reads.readinto(buffer)

    def close(self) -> None:
        self._reads.close()
        super().close()


def _left(until: float) -> float:
    """Return the seconds until then. Raises TimeoutError."""
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
