"""GET /api/export?format=json|markdown: everything of the owner, as one file.

The file is made while it is sent, so its size does not matter. If Postgres goes away in between, the connection breaks
and the browser says that the download failed.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from datetime import UTC, datetime

from sqlalchemy import Engine
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from shared.audit import Kind
from shared.conversations import exported_conversations, exported_messages
from shared.errors import Unavailable
from shared.people import Owner
from shared.postgres.database import answers
from shared.words import Words
from web.api.answers import Refusal, owner_or_refuse
from web.api.guard import is_own_site
from web.asgi.identity import signed_in_in
from web.asgi.sentence_page import words_for
from web.runtime import current_runtime
from web.state import LOCALE_COOKIE

log = logging.getLogger(__name__)

#: Downloads of one web process at once. Each takes a thread and a connection of Postgres while it reads.
MOST_AT_ONCE = 4
#: Longest download: half a gigabyte at 1 MB/s.
LONGEST_SECONDS = 600.0
PIECE_CHARACTERS = 65_536
#: Whose downloads are under way. For the event loop's thread only.
_under_way: set[Owner] = set()

Writer = Callable[[Engine, Owner, Words], Iterator[str]]


async def export(request: Request) -> Response:
    """Send the file. Raises Refusal."""
    owner = owner_or_refuse(request)
    if not is_own_site(request.headers):
        raise Refusal(403, "foreign_origin", "This can only be requested from Naru's own page.")
    found = FORMATS.get(request.query_params.get("format", ""))
    if found is None:
        raise Refusal(400, "unknown_format", f"The format is one of {', '.join(FORMATS)}.")
    write, media_type, ending = found
    words = words_for(request.headers, chosen=request.cookies.get(LOCALE_COOKIE))
    async with beginning(owner):
        await asyncio.to_thread(_record, owner, ending)
    parts = in_pieces(write(current_runtime().engine, owner, words))
    return Download(owner, parts, media_type=media_type, name=f"naru-{datetime.now(UTC):%Y-%m-%d}.{ending}")


@asynccontextmanager
async def beginning(owner: Owner) -> AsyncIterator[None]:
    """Begin a download of this owner; the `Download` ends it, or an error inside. Raises Refusal."""
    if owner in _under_way or len(_under_way) >= MOST_AT_ONCE:
        raise Refusal(429, "downloads", "A download is under way. Try again when it has ended.")
    _under_way.add(owner)  # before anything else can run
    try:
        yield
    except BaseException as error:
        _under_way.discard(owner)
        if isinstance(error, Unavailable):
            raise Refusal(503, "unavailable", "The database does not answer. Try again in a moment.") from None
        raise


def _record(owner: Owner, ending: str) -> None:
    runtime = current_runtime()
    if not answers(runtime.engine):
        raise Unavailable
    runtime.audit.repeats.record(Kind.CHATS_EXPORTED, subject=owner.key, format=ending)


class Download(StreamingResponse):
    """Sends the parts as a file within LONGEST_SECONDS, or until the person's session ends.

    Its owner is in `_under_way` until then.
    """

    def __init__(
        self, owner: Owner, parts: Iterator[str], *, media_type: str, name: str, done: str = "chats downloaded"
    ) -> None:
        headers = {
            "content-disposition": f'attachment; filename="{name}"',
            "cache-control": "no-store",
            "x-accel-buffering": "no",  # nginx would keep what a slow client has not read
        }
        super().__init__(parts, media_type=media_type, headers=headers)
        self._owner, self._name, self._done = owner, name, done

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file."""
        try:
            now = asyncio.get_running_loop().time
            async with asyncio.timeout(LONGEST_SECONDS) as limit:
                with current_runtime().sign_ins.held(signed_in_in(scope), lambda: limit.reschedule(now())):
                    await super().__call__(scope, receive, send)
            log.info(self._done, extra={"file": self._name})
        finally:
            _under_way.discard(self._owner)


def in_pieces(parts: Iterator[str]) -> Iterator[str]:
    """Join small parts to pieces of PIECE_CHARACTERS at least: each piece costs a change of threads."""
    waiting: list[str] = []
    length = 0
    for part in parts:
        waiting.append(part)
        length += len(part)
        if length >= PIECE_CHARACTERS:
            yield "".join(waiting)
            waiting, length = [], 0
    yield "".join(waiting)


def write_json(engine: Engine, owner: Owner, _: Words) -> Iterator[str]:
    """Yield one JSON object with every conversation and every message, also those of other branches."""
    head = {"format": "naru-chats", "version": 1, "exported_at": datetime.now(UTC)}
    yield f'{_json(head)[:-1]}, "conversations": ['
    for number, each in enumerate(exported_conversations(engine, owner=owner)):
        yield "," * bool(number) + f'\n{_json(asdict(each))[:-1]}, "messages": ['
        for place, message in enumerate(exported_messages(engine, each.id, owner=owner)):
            yield "," * bool(place) + f"\n  {_json(asdict(message))}"
        yield "]}"
    yield "\n]}\n"


def write_markdown(engine: Engine, owner: Owner, words: Words) -> Iterator[str]:
    """Yield one document: a heading for each conversation, and below it one for each message."""
    yield f"# {words.t('app.name')}\n"
    for each in exported_conversations(engine, owner=owner):
        yield f"\n# {each.title}\n\n{each.created_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC\n"
        for message in exported_messages(engine, each.id, owner=owner):
            yield f"\n## {_heading(message.role, message.model, words)}\n\n{_closed(message.content)}\n"


def _heading(role: str, model: str | None, words: Words) -> str:
    return words.t("export.question") if role == "user" else words.t("export.answer", name=model or "")


def _closed(content: str) -> str:
    """Close a block of code that the text leaves open, as a stopped answer may. The rest of the file would be code."""
    is_open = sum(line.lstrip().startswith("```") for line in content.splitlines()) % 2
    return f"{content}\n```" if is_open else content


def _json(values: dict[str, object]) -> str:
    return json.dumps(values, ensure_ascii=False, default=_as_text)


def _as_text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


FORMATS: dict[str, tuple[Writer, str, str]] = {
    "json": (write_json, "application/json", "json"),
    "markdown": (write_markdown, "text/markdown", "md"),
}
