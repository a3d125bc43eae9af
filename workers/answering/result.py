"""The result of one attempt."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime

from shared.errors import ProviderError
from shared.lifecycle import Answer
from shared.spending.values import Spent
from workers.providers.base import Done, Prompt, Usage


@dataclass(slots=True)
class Result:
    """The text of one attempt and its end: `done`, or `error`, or neither if it was interrupted."""

    text: str
    done: Done | None = None
    error: ProviderError | None = None
    #: Whether the lane has counted `error`.
    is_counted: bool = False
    #: On the monotonic clock.
    first_token_at: float | None = None
    #: Whether the provider was called.
    is_called: bool = False
    spent: Spent | None = None
    #: What was sent last: a shorter prompt than planned, where the provider refused that one.
    sent: Prompt | None = None
    #: When the owner's earlier answer was given, if this is that answer again.
    earlier_at: datetime | None = None

    @property
    def usage(self) -> Usage | None:
        """What the provider reported."""
        return self.done.usage if self.done else None

    def as_answer(self) -> Answer:
        """Return the values that the lifecycle stores."""
        usage = self.usage
        ago = None if self.first_token_at is None else time.monotonic() - self.first_token_at
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
        )
