"""The arguments and results of the lifecycle's verbs. No SQL."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from shared.messages import Message
from shared.people import Owner
from shared.settings import Settings
from shared.spending.values import Spent
from shared.tuning import NO_TUNING, Tuning


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question as a person sends it. `regenerate` answers the branch's last question again and ignores `text`.

    `tuning` counts for the first question of a conversation; `shared.conversations.tune` changes it afterwards.
    """

    owner: Owner
    conversation_id: UUID
    text: str
    idempotency_key: str
    model: str = ""
    regenerate: bool = False
    tuning: Tuning = NO_TUNING


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerLimits:
    """Limits on the questions of one owner; 0 means no limit.

    `active` counts the questions that wait or run, `per_minute` those stored within the last minute. Concurrent
    transactions do not see each other, so an owner can exceed a limit by their number.
    """

    active: int = 0
    per_minute: int = 0

    @classmethod
    def of(cls, settings: Settings) -> OwnerLimits:
        """Return the limits that the operator has set."""
        return cls(active=settings.owner_active_questions, per_minute=settings.owner_questions_per_minute)


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A stored request. `is_new` is False when an earlier call stored the same idempotency key."""

    request_id: UUID
    conversation_id: UUID
    is_new: bool
    #: The lane to send a hint to; empty for a request that was stored before, and until a worker offers its model.
    lane: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """A worker that claims, and the limits that it keeps."""

    worker_id: UUID
    #: The models that it serves.
    models: Sequence[str]
    #: Most answers of one owner at once; 0 means no limit.
    owner_running: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """One attempt that a worker holds until its lease ends or someone else ends the request."""

    request_id: UUID
    attempt: int
    worker_id: UUID
    conversation_id: UUID
    user_message_id: UUID
    model: str
    #: The model that the person chose, where `model` stands in for it.
    asked_model: str | None = None
    lane: str
    #: The HTTP request that brought the question; may be empty.
    http_request_id: str
    losses: int
    tries: int
    broken_streams: int
    #: The id of an earlier attempt's call that may still run at the provider.
    call_id: str | None = None
    #: Time since the provider first refused it; 0 if it has not.
    retrying_seconds: float
    #: Whether the end of this answer should wake a worker for the lane.
    is_contested: bool
    #: Failures in a row of the lane or its provider, when it was claimed.
    lane_failures: int
    #: Whether anybody has a limit of tokens or money of their own, or a group has one.
    may_be_limited: bool
    #: From the question to its first claim, from the question to this claim, and from this claim to the deadline.
    queue_seconds: float
    age_seconds: float
    left_seconds: float
    #: The branch that ends in the question, oldest first, for the prompt.
    branch: tuple[Message, ...] = field(repr=False)
    #: The settings of the conversation.
    tuning: Tuning = field(default=NO_TUNING, repr=False)
    #: Time of the claim on this process's monotonic clock.
    claimed_at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reasoning:
    """The reasoning of one attempt: the text, its duration and its tokens. A provider may report the tokens alone.

    `seconds` is 0 where nobody knows it.
    """

    text: str
    seconds: float
    tokens: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The result of one attempt: the text, and the provider's figures."""

    text: str
    finish: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cached_input_tokens: int | None = None
    provider_request_id: str | None = None
    #: Age of the first text, on this process's monotonic clock; None if no text came.
    first_token_ago_seconds: float | None = None
    #: The first messages of the branch that the model did not read, because they did not fit; None if it read all.
    left_out: int | None = None
    #: None if nothing is known about what the attempt used.
    spent: Spent | None = None
    #: When the owner's earlier answer was given, if this is that answer again.
    earlier_answer_at: datetime | None = None
    #: None if the model did not think.
    reasoning: Reasoning | None = None
    #: The call, if it may still run at the provider.
    call_id: str | None = None


def storable(text: str) -> str:
    """Replace each character that Postgres cannot hold by U+FFFD; offsets stay the same."""
    if "\x00" in text:
        text = text.replace("\x00", "\ufffd")
    if not text.isascii():
        text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
