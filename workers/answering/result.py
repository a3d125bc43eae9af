"""The result of one attempt."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from datetime import datetime

from shared.errors import ProviderError
from shared.lifecycle import Answer, Reasoning
from shared.live.answer import LiveAnswer
from shared.spending.values import Spent
from workers.providers.base import Done, Prompt, Usage


@dataclass(slots=True)
class Result:
    """The text of one attempt and its end: `done`, or `error`, or neither if it was interrupted."""

    text: str = ""
    reasoning: str = ""
    thinking_seconds: float = 0.0
    done: Done | None = None
    error: ProviderError | None = None
    #: Whether the lane has counted `error`.
    is_counted: bool = False
    #: Whether another model took the request over because of `error`.
    fell_back: bool = False
    #: The first text, and the first text or reasoning, on the monotonic clock.
    first_text_at: float | None = None
    first_token_at: float | None = None
    #: Whether the provider was called, and whether anything of its answer came.
    is_called: bool = False
    has_begun: bool = False
    spent: Spent | None = None
    #: The tokens that were reserved of the provider's minute.
    paced_tokens: int = 0
    #: The last prompt that was sent: a shorter prompt than planned, where the provider refused that one.
    sent: Prompt | None = None
    #: When the owner's earlier answer was given, if this is that answer again.
    earlier_at: datetime | None = None

    @property
    def usage(self) -> Usage | None:
        """The usage that the provider reported."""
        return self.done.usage if self.done else None

    @property
    def is_empty(self) -> bool:
        """Whether the model neither wrote nor thought."""
        return not (self.text or self.reasoning)

    def take(self, live: LiveAnswer, *, is_replay: bool) -> None:
        """Take over what the model wrote and thought. Runs in the event loop, once the stream has ended.

        Of a replay, nobody knows how long the model thought.
        """
        self.text = live.text()
        self.first_text_at = self.first_token_at = live.first_text_at
        if live.thinking is not None:
            self.reasoning = live.thinking.text()
            self.thinking_seconds = 0.0 if is_replay else live.thinking.seconds
            self.first_token_at = min(live.thinking.began_at, self.first_text_at or math.inf)

    def as_answer(self, call_id: str | None = None) -> Answer:
        """Return the values that the lifecycle stores. `call_id` is that of a call that may go on."""
        usage = self.usage
        ago = None if self.first_text_at is None else time.monotonic() - self.first_text_at
        request_id = self.done.provider_request_id if self.done else None
        if request_id is None and self.error is not None:
            request_id = self.error.provider_request_id
        return Answer(
            text=self.text,
            finish=self.done.finish.value if self.done else None,
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            cached_input_tokens=usage.cached_input_tokens if usage else None,
            provider_request_id=request_id,
            first_token_ago_seconds=ago,
            spent=self.spent,
            left_out=self.sent.left_out or None if self.sent else None,
            earlier_answer_at=self.earlier_at,
            reasoning=self._reasoning(),
            call_id=call_id,
        )

    def _reasoning(self) -> Reasoning | None:
        tokens = self.usage.reasoning_tokens if self.usage else 0
        if not (self.reasoning or tokens):
            return None
        return Reasoning(text=self.reasoning, seconds=self.thinking_seconds, tokens=tokens or None)
