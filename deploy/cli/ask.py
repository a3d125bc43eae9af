"""`./naru ask "…"`: one question from the terminal, by the same path as the page's.

Submit, hint, follow the live stream and the row, and say how it ended. What an event, a phase or a sentence means is
where the page has it from: shared/live, web/watch, web/words. The owner of these conversations is the terminal.
"""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from redis import Redis, RedisError
from sqlalchemy import Engine, func, select

from deploy import terminal
from deploy.embedded.reach import NotRunning, settings_of
from shared import lifecycle
from shared.conversations import Shown, open_conversation
from shared.errors import NaruError, Unavailable, UnknownModel
from shared.fleet import Fleet, fleet
from shared.following.phases import Phase, State, state_of
from shared.following.sweep import Known, Row, sweep
from shared.following.text import LiveText
from shared.lifecycle import OwnerLimits, Question, Submitted
from shared.live.events import Kind, from_fields, key_of
from shared.postgres.database import make_engine, transaction
from shared.queue import Dispatcher
from shared.redis import make_client
from shared.settings import Settings
from shared.tables import Status, chat_request, request_attempt
from shared.words import Words

OWNER = "terminal"
LOOK_SECONDS = 0.5  # between two looks at the row
BLOCK_MILLISECONDS = 100
STOPPED = 130


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What `--json` ends with. Seconds are by Postgres's clock; None where it did not come to that."""

    request_id: str
    conversation_id: str
    status: str
    error_code: str | None
    attempts: int
    model: str
    text: str
    usage: dict[str, int] | None
    queue_seconds: float | None
    first_token_seconds: float | None
    total_seconds: float | None


def ask(text: str, *, model: str | None, as_json: bool, data: Path) -> int:
    """The whole command; 0 only for an answer."""
    words = Words("en")
    try:
        settings = settings_of(data)
        with ExitStack() as stack:
            engine = make_engine(settings, name="naru-ask", pool=2)
            stack.callback(engine.dispose)
            dispatcher = Dispatcher(settings, engine)
            stack.callback(dispatcher.close)
            submitted = submit(engine, settings, text=text, model=model)
            dispatcher.send(submitted.request_id)
            terminal = Terminal(as_json=as_json, words=words)
            follower = Follower(engine, settings, submitted, terminal)
            stack.callback(follower.close)
            return follower.run()
    except Unavailable as error:
        complain(f"{error} ./naru doctor says why.")
    except (NotRunning, NaruError) as error:
        complain(str(error))
    return 1


def complain(sentence: str) -> None:
    """One sentence on stderr."""
    sys.stderr.write(f"naru ask: {terminal.line(sentence)}\n")


def submit(engine: Engine, settings: Settings, *, text: str, model: str | None) -> Submitted:
    """Store the question in a conversation of its own."""
    question = Question(
        owner_id=OWNER,
        conversation_id=uuid4(),
        text=text,
        idempotency_key=uuid4().hex,
        model=choose(fleet(engine), model),
    )
    return lifecycle.submit(
        engine,
        question,
        deadline_seconds=settings.deadline_seconds,
        max_characters=settings.max_question_characters,
        limits=OwnerLimits.of(settings),
    )


def choose(there: Fleet, wanted: str | None) -> str:
    """The wanted model, or the first that the workers offer. Raises UnknownModel with what there is."""
    offered = [model.name for model in there.models]
    if wanted is None and offered:
        return offered[0]
    if wanted is None and there.live_workers:
        raise UnknownModel("no model is offered yet: ./naru doctor says which server Naru waits for.")
    if wanted is None:
        raise UnknownModel("no model is known yet: start Naru (./naru up), or name one with --model")
    if there.live_workers and wanted not in offered:
        raise UnknownModel(f"the model {wanted} is not available. Available: {', '.join(offered) or 'none'}")
    return wanted


class Terminal:
    """The answer goes to stdout (with --json to stderr, and the report to stdout), all else to stderr."""

    def __init__(self, *, as_json: bool, words: Words) -> None:
        self._answer = sys.stderr if as_json else sys.stdout
        self._as_json = as_json
        self._words = words
        self._attempt = 0
        self._written = ""

    def text(self, live: LiveText) -> None:
        """What has come since; another attempt starts over on a new line."""
        if live.attempt != self._attempt:
            if self._written:
                self._line()
                self.note(self._words.t("live.again", attempt=place(self._words, live.attempt)))
            self._attempt, self._written = live.attempt, ""
        new = live.since(len(self._written))
        terminal.write(self._answer, new)
        self._answer.flush()
        self._written += new

    def whole(self, text: str) -> None:
        """The stored answer: what is missing of it, or all of it when something else stands there."""
        if not text.startswith(self._written):
            self._line()
            self._written = ""
        terminal.write(self._answer, text[len(self._written) :])
        self._written = text
        self._line()

    def state(self, state: State) -> None:
        """What it is waiting for, one line for each news."""
        waits = state.retry_at - time.monotonic() if state.retry_at is not None else 0
        line = {
            Phase.NO_WORKER: f"{self._words.t('live.no_worker')} (Ctrl-C gives up)",
            Phase.QUEUED: self._words.t("live.queued", place=place(self._words, state.position or 1)),
            Phase.WAITING: self._words.t("live.waiting", duration=f"{max(0, waits):.0f} s"),
        }.get(state.phase)
        if line:
            self.note(line)

    def note(self, line: str) -> None:
        """A line beside the answer."""
        sys.stderr.write(f"[{line}]\n")
        sys.stderr.flush()

    def end(self, report: Report) -> None:
        """How it ended, when it is not an answer; and the report."""
        if report.status == Status.CANCELLED:
            self.note("stopped")
        elif report.error_code is not None:
            self.note(self._words.error(report.error_code))
        if self._as_json:
            print(terminal.json_line(asdict(report)), flush=True)

    def _line(self) -> None:
        if self._written and not self._written.endswith("\n"):
            self._answer.write("\n")
        self._answer.flush()


class Follower:
    """Follows one request to its end: text from its stream; all else, and text that is missing, from Postgres."""

    def __init__(self, engine: Engine, settings: Settings, submitted: Submitted, terminal: Terminal) -> None:
        self._engine, self._submitted, self._terminal = engine, submitted, terminal
        self._redis: Redis = make_client(
            settings.redis_url, timeout_seconds=settings.redis_timeout_seconds, decode_responses=True
        )
        self._live = LiveText()
        self._last_id = "0-0"
        self._shown: State | None = None
        self._stop_asked = False
        self._stop_wanted = False

    def close(self) -> None:
        """Let Redis go."""
        self._redis.close()

    def run(self) -> int:
        """Follow to the end and report; the exit code."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        look_at = 0.0
        while True:
            ended = self._read()
            self._terminal.text(self._live)
            if ended or self._stop_wanted or time.monotonic() >= look_at:
                look_at = time.monotonic() + LOOK_SECONDS
                try:
                    if self._look():
                        break
                except Unavailable:
                    self._terminal.note("the database does not respond; waiting for it")
        report = self._report()
        self._terminal.end(report)
        if report.status == Status.SUCCEEDED:
            return 0
        return STOPPED if self._stop_asked else 1

    def _on_interrupt(self, *_: object) -> None:
        """The first Ctrl-C asks for a stop; the second one leaves."""
        if self._stop_wanted:
            raise SystemExit(STOPPED)
        self._stop_wanted = True

    def _read(self) -> bool:
        """Fold in what the stream has; True at its end. Redis being away only means that Postgres is looked at."""
        try:
            streams: Any = self._redis.xread(
                {key_of(self._submitted.request_id): self._last_id}, block=BLOCK_MILLISECONDS, count=500
            )
        except (RedisError, OSError):
            time.sleep(BLOCK_MILLISECONDS / 1000)
            return False
        ended = False
        entries = streams.values() if isinstance(streams, dict) else (entries for _, entries in streams)
        for entry_id, fields in (entry for group in entries for entry in flat(group)):
            self._last_id = entry_id
            event = from_fields(fields)
            if event is not None:
                self._live.fold(event)
                ended = ended or event.kind is Kind.END
        return ended

    def _look(self) -> bool:
        """One look at the row; True when it is terminal."""
        request_id = self._submitted.request_id
        if self._stop_wanted and not self._stop_asked:
            lifecycle.stop(self._engine, request_id, owner_id=OWNER)
            self._stop_asked = True
        known = Known(request_id=request_id, attempt=self._live.attempt, length=self._live.length, is_silent=True)
        row: Row = sweep(self._engine, [], known=[known])[0]
        if row.checkpoint is not None:
            self._live.whole(row.attempt, row.checkpoint)
        state = state_of(row, self._live, read_at=time.monotonic(), slow=False)
        if state.is_news(self._shown):
            self._shown = state
            self._terminal.state(state)
        return row.is_ended

    def _report(self) -> Report:
        answer = self._answer()
        self._terminal.whole(answer.text if answer else "")
        return report_of(self._engine, self._submitted, text=answer.text if answer else "")

    def _answer(self) -> Shown | None:
        opened = open_conversation(self._engine, self._submitted.conversation_id, owner_id=OWNER, limit=1)
        found = [message for message in opened.messages if message.request_id == self._submitted.request_id]
        return found[0] if found else None


def flat(group: Any) -> list[tuple[str, dict[str, str]]]:
    """redis-py nests the entries one deeper in RESP3."""
    return group[0] if group and isinstance(group[0], list) else group


def place(words: Words, number: int) -> str:
    """1st, 2nd, 3rd, 4th …"""
    teens = 10 < number % 100 < 14
    kind = "other" if teens else {1: "one", 2: "two", 3: "few"}.get(number % 10, "other")
    return words.t(f"live.place_{kind}", n=number)


def report_of(engine: Engine, submitted: Submitted, *, text: str) -> Report:
    """The figures of an ended request."""
    r, a = chat_request.c, request_attempt.c
    claimed_at = select(func.min(a.started_at)).where(a.request_id == submitted.request_id).scalar_subquery()

    def since(moment: Any) -> Any:
        return func.extract("epoch", moment - r.created_at)

    with transaction(engine) as connection:
        row = connection.execute(
            select(
                r.status,
                r.error_code,
                r.attempt,
                r.model,
                r.input_tokens,
                r.output_tokens,
                since(claimed_at).label("queue"),
                since(r.first_token_at).label("first_token"),
                since(r.ended_at).label("total"),
            ).where(r.id == submitted.request_id)
        ).one()
    known = row.input_tokens is not None
    return Report(
        request_id=str(submitted.request_id),
        conversation_id=str(submitted.conversation_id),
        status=row.status,
        error_code=row.error_code,
        attempts=row.attempt,
        model=row.model,
        text=text,
        usage={"input_tokens": row.input_tokens, "output_tokens": row.output_tokens} if known else None,
        queue_seconds=seconds(row.queue),
        first_token_seconds=seconds(row.first_token),
        total_seconds=seconds(row.total),
    )


def seconds(value: object) -> float | None:
    """To the millisecond."""
    return None if value is None else round(float(str(value)), 3)
