"""The life of a request: every verb that changes its status, each as one conditional UPDATE.

    submit                  → queued
    claim       queued      → running      the fairest of a lane; attempt + 1: the fence of everything that follows
    reserve     running     → running      before the provider is called, where limits of tokens or money hold
    note_call   running     → running      the call goes on at the provider, and the next attempt can take it up
    release     running     → queued       the provider asked us to wait, the stream broke, or the worker drains
    fall_back   running     → queued       another model takes over, before the first word (divert: of one that waits)
    take_back   running     → queued       the worker was lost (or → failed after three losses, → cancelled if stopped)
    give_back   running     → queued       only the row says that it runs: a claim's reply or an answer's end was lost
    take_from_worker  running → queued     an administrator takes it from its worker
    finish      running     → succeeded    only if nobody asked for a stop
    fail        running     → failed
    cancel      running     → cancelled    the worker carries out a stop
    stop        queued      → cancelled    at once; for a running request, the worker is asked (stop_any: by an
                                           administrator)
    expire      any active  → failed       the deadline passed
    end_restored  any active → failed      it was active in the backup that the database was restored from

Every write of a worker is fenced by (status, attempt, worker); its row count tells whether the worker still holds the
request. One statement ends a request together with its answer and its attempt. All times come from Postgres's clock.
The callers are `workers/answering/answer.py`, `shared/reconciler.py` and the page. Nothing here knows Redis or Celery.
"""

from shared.lifecycle.asking import check_text, stop, stop_any, submit
from shared.lifecycle.calling import OrphanedCall, forget_call, has_orphaned_calls, note_call, orphaned_calls
from shared.lifecycle.claiming import claim
from shared.lifecycle.diverting import divert
from shared.lifecycle.falling_back import Detour, fall_back
from shared.lifecycle.lanes import FAILURES, end_probe, record_failure, recover
from shared.lifecycle.repairing import (
    MAX_LOSSES,
    cancel_unanswered,
    end_restored,
    expire,
    fail_unserved,
    give_back,
    take_back,
    take_from_worker,
)
from shared.lifecycle.reserving import reserve
from shared.lifecycle.values import Answer, Claimant, Claimed, OwnerLimits, Question, Reasoning, Submitted, storable
from shared.lifecycle.working import cancel, fail, finish, is_mine, release

__all__ = [
    "FAILURES",
    "MAX_LOSSES",
    "Answer",
    "Claimant",
    "Claimed",
    "Detour",
    "OrphanedCall",
    "OwnerLimits",
    "Question",
    "Reasoning",
    "Submitted",
    "cancel",
    "cancel_unanswered",
    "check_text",
    "claim",
    "divert",
    "end_probe",
    "end_restored",
    "expire",
    "fail",
    "fail_unserved",
    "fall_back",
    "finish",
    "forget_call",
    "give_back",
    "has_orphaned_calls",
    "is_mine",
    "note_call",
    "orphaned_calls",
    "record_failure",
    "recover",
    "release",
    "reserve",
    "stop",
    "stop_any",
    "storable",
    "submit",
    "take_back",
    "take_from_worker",
]
