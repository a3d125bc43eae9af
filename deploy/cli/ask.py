"""`./naru ask "…"`: ask one question from the terminal, on the same path as the page.

It submits the question, sends the hint, follows the live stream and the row, and says how the request ended. Like the
page, it takes events from `shared/live`, phases from `shared/following` and sentences from `shared/words`. The owner of
its conversations is "terminal".
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
from deploy.embedded.locate import NotRunning, settings_of
from shared import lifecycle, personal_data
from shared.conversations import open_conversation
from shared.errors import NaruError, PersonalData, Unavailable, UnknownModel
from shared.fleet import Fleet, fleet
from shared.following.phases import Phase, State, state_of
from shared.following.place import EXACT_PLACES
from shared.following.sweep import Known, Row, sweep
from shared.following.text import LiveText
from shared.lifecycle import OwnerLimits, Question, Submitted
from shared.live.events import Kind, from_fields, key_of
from shared.live.shards import url_for
from shared.messages import Message
from shared.people import Owner
from shared.personal_data import SEND, WARN
from shared.postgres.database import make_engine, transaction
from shared.queue import Dispatcher
from shared.redis import make_client
from shared.settings import Settings
from shared.tables import Status, chat_request, request_attempt
from shared.words import Words

OWNER = Owner.terminal()
SWEEP_SECONDS = 0.5  # between two sweeps of the row
BLOCK_MILLISECONDS = 100
STOPPED = 130
#: A server may list thousands of models.
MOST_NAMED = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The object that `--json` prints. Seconds are by Postgres's clock, and None if the request never got that far."""

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


def ask(text: str, *, model: str | None, as_json: bool, is_confirmed: bool, data: Path) -> int:
    """Ask and follow the answer; return the exit code, which is 0 only for an answer."""
    words = Words("en")
    try:
        settings = settings_of(data)
        policy = SEND if is_confirmed and settings.personal_data == WARN else settings.personal_data
        with ExitStack() as stack:
            personal_data.check(text[: settings.max_question_characters], policy)
            engine = make_engine(settings, name="naru-ask", pool=2)
            stack.callback(engine.dispose)
            dispatcher = Dispatcher(settings)
            stack.callback(dispatcher.close)
            submitted = submit(engine, settings, text=text, model=model)
            dispatcher.send(submitted.lane)
            follower = Follower(engine, settings, submitted, Terminal(as_json=as_json, words=words))
            stack.callback(follower.close)
            return follower.run()
    except Unavailable as error:
        complain(f"{error} ./naru doctor says why.")
    except PersonalData as error:
        way_out = "Take it out." if error.is_final else "Take it out, or add --anyway."
        complain(f"{error} It was not sent. {way_out}")
    except (NotRunning, NaruError) as error:
        complain(str(error))
    return 1


def complain(sentence: str) -> None:
    """Print one sentence to stderr."""
    sys.stderr.write(f"naru ask: {terminal.line(sentence)}\n")


def submit(engine: Engine, settings: Settings, *, text: str, model: str | None) -> Submitted:
    """Store the question in a new conversation."""
    question = Question(
        owner=OWNER,
        conversation_id=uuid4(),
        text=text,
        idempotency_key=uuid4().hex,
        model=choose_model(fleet(engine), model),
    )
    return lifecycle.submit(
        engine,
        question,
        deadline_seconds=settings.deadline_seconds,
        max_characters=settings.max_question_characters,
        limits=OwnerLimits.of(settings),
    )


def choose_model(workers: Fleet, wanted: str | None) -> str:
    """Return the wanted model, or the first in the picker. Raises UnknownModel, which lists them, or NoModelShown."""
    if wanted is None and (first := workers.default()):
        return first
    if wanted is None and workers.live_workers:
        raise UnknownModel("no model is available yet. ./naru doctor says which server Naru is waiting for.")
    if wanted is None:
        raise UnknownModel("no model is known yet. Start Naru (./naru up), or name a model with --model.")
    if workers.live_workers and all(model.name != wanted for model in workers.models):
        shown = [model.name for model in workers.shown[:MOST_NAMED]]
        raise UnknownModel(f"the model {wanted} is not available. Available: {', '.join(shown) or 'none'}")
    return wanted


class Terminal:
    """Prints the answer to stdout and notes to stderr. With --json the answer goes to stderr, the report to stdout."""

    def __init__(self, *, as_json: bool, words: Words) -> None:
        self._answer = sys.stderr if as_json else sys.stdout
        self._as_json = as_json
        self._words = words
        self._attempt = 0
        self._stand_in: str | None = None
        self._written = ""

    def text(self, live: LiveText) -> None:
        """Print the text that is new. Another attempt starts over on a new line."""
        if live.attempt != self._attempt:
            if self._written:
                self._line()
                self.note(self._words.t("live.again", attempt=self._words.place(live.attempt)))
            self._attempt, self._written = live.attempt, ""
        new = live.since(len(self._written))
        terminal.write(self._answer, new)
        self._answer.flush()
        self._written += new

    def whole(self, text: str) -> None:
        """Print the rest of the stored answer, or the whole answer if it differs from the text printed so far."""
        if not text.startswith(self._written):
            self._line()
            self._written = ""
        terminal.write(self._answer, text[len(self._written) :])
        self._written = text
        self._line()

    def state(self, state: State) -> None:
        """Print a line that says why the request is waiting, if it is."""
        if state.asked_model and state.model != self._stand_in:
            self._stand_in = state.model
            self.note(self._words.t("live.instead", model=state.model or "", asked=state.asked_model))
        seconds_left = state.retry_at - time.monotonic() if state.retry_at is not None else 0
        line = {
            Phase.NO_WORKER: f"{self._words.t('live.no_worker')} (Ctrl-C gives up)",
            Phase.QUEUED: self._queued(state),
            Phase.UNSERVED: f"{self._words.t('live.unserved')} (Ctrl-C gives up)",
            Phase.HELD: self._words.t("live.held"),
            Phase.WAITING: self._words.t("live.waiting", duration=f"{max(0, seconds_left):.0f} s"),
            Phase.AWAY: self._words.t("live.away", duration=f"{max(0, seconds_left):.0f} s"),
        }.get(state.phase)
        if line:
            self.note(line)

    def _queued(self, state: State) -> str:
        if state.is_beyond:
            return self._words.t("live.queued_beyond", n=EXACT_PLACES)
        place = self._words.place(state.position or 1)
        if state.lane is None:
            return self._words.t("live.queued", place=place)
        return self._words.t("live.queued_for", place=place, lane=state.lane)

    def note(self, line: str) -> None:
        """Print a note in brackets to stderr."""
        sys.stderr.write(f"[{line}]\n")
        sys.stderr.flush()

    def end(self, report: Report) -> None:
        """Print how the request ended, unless it was answered, and then the report."""
        if report.status == Status.CANCELLED:
            self.note(self._words.t("answer.stopped"))
        elif report.error_code is not None:
            self.note(self._words.error(report.error_code))
        if self._as_json:
            print(terminal.json_line(asdict(report)), flush=True)

    def _line(self) -> None:
        if self._written and not self._written.endswith("\n"):
            self._answer.write("\n")
        self._answer.flush()


class Follower:
    """Follows one request to its end. Text comes from its stream; the state, and missing text, from Postgres."""

    def __init__(self, engine: Engine, settings: Settings, submitted: Submitted, terminal: Terminal) -> None:
        self._engine, self._submitted, self._terminal = engine, submitted, terminal
        self._redis: Redis = make_client(
            url_for(settings, submitted.request_id),
            timeout_seconds=settings.redis_timeout_seconds,
            decode_responses=True,
        )
        self._live = LiveText()
        self._last_id = "0-0"
        self._shown: State | None = None
        self._stop_asked = False
        self._stop_wanted = False

    def close(self) -> None:
        """Close the connection to Redis."""
        self._redis.close()

    def run(self) -> int:
        """Follow to the end, print the report and return the exit code."""
        signal.signal(signal.SIGINT, self._on_interrupt)
        next_sweep = 0.0
        while True:
            ended = self._read()
            self._terminal.text(self._live)
            if ended or self._stop_wanted or time.monotonic() >= next_sweep:
                next_sweep = time.monotonic() + SWEEP_SECONDS
                try:
                    if self._sweep():
                        break
                except Unavailable:
                    self._terminal.note("The database does not respond. Waiting for it…")
        report = self._report()
        self._terminal.end(report)
        if report.status == Status.SUCCEEDED:
            return 0
        return STOPPED if self._stop_asked else 1

    def _on_interrupt(self, *_: object) -> None:
        """Ask for a stop at the first Ctrl-C; exit at the second."""
        if self._stop_wanted:
            raise SystemExit(STOPPED)
        self._stop_wanted = True

    def _read(self) -> bool:
        """Fold in new events of the stream; return True at its end. Without Redis, the text comes from Postgres."""
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

    def _sweep(self) -> bool:
        """Read the request's row; return True if the request has ended."""
        request_id = self._submitted.request_id
        if self._stop_wanted and not self._stop_asked:
            lifecycle.stop(self._engine, request_id, owner=OWNER)
            self._stop_asked = True
        known = Known.of(request_id, self._live, is_silent=True)
        row: Row = sweep(self._engine, [], known=[known])[0]
        row.complete(self._live)
        state = state_of(row, self._live, read_at=time.monotonic(), slow=False)
        if state.is_news(self._shown):
            self._shown = state
            self._terminal.state(state)
        return row.is_ended

    def _report(self) -> Report:
        answer = self._answer()
        self._terminal.whole(answer.text if answer else "")
        return report_of(self._engine, self._submitted, text=answer.text if answer else "")

    def _answer(self) -> Message | None:
        opened = open_conversation(self._engine, self._submitted.conversation_id, owner=OWNER, limit=1)
        found = [message for message in opened.messages if message.request_id == self._submitted.request_id]
        return found[0] if found else None


def flat(group: Any) -> list[tuple[str, dict[str, str]]]:
    """Return the entries of a stream, which redis-py nests one level deeper in RESP 3."""
    return group[0] if group and isinstance(group[0], list) else group


def report_of(engine: Engine, submitted: Submitted, *, text: str) -> Report:
    """Read the figures of a request that has ended."""
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
    """Round to the millisecond."""
    return None if value is None else round(float(str(value)), 3)
