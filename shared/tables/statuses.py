"""The values of the columns `status` and `outcome`."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """The states of a request."""

    #: Waits for a worker, or for `available_at` when a provider asked us to wait.
    QUEUED = "queued"
    #: One worker runs one attempt.
    RUNNING = "running"
    #: The complete answer is stored.
    SUCCEEDED = "succeeded"
    #: There will be no answer; `error_code` says why.
    FAILED = "failed"
    #: A person stopped it; the text so far is the answer.
    CANCELLED = "cancelled"


ACTIVE = (Status.QUEUED, Status.RUNNING)
TERMINAL = (Status.SUCCEEDED, Status.FAILED, Status.CANCELLED)


class Outcome(StrEnum):
    """How one attempt ended; stored in `request_attempt` for the operator."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    #: The provider asked us to wait, or failed in a way that another attempt may repair.
    RELEASED = "released"
    #: The provider failed, and the request went on to another model.
    FELL_BACK = "fell_back"
    #: The worker drained and returned it to the queue.
    HANDED_OVER = "handed_over"
    #: The worker's lease ran out.
    LOST = "lost"
