"""The row of this process in the fleet: its identity, and the models that it offers."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from uuid import uuid4

from shared import metrics
from shared.fleet import Member, Model
from workers.process.context import Context


def new_member(context: Context) -> Member:
    """Return a member with a new id: a process that was marked lost never writes under its old id again."""
    return Member(
        worker_id=uuid4(),
        host=socket.gethostname(),
        pid=os.getpid(),
        version=_version(),
        slots=context.settings.concurrency,
        models=_offered(context),
    )


def with_current_models(context: Context, member: Member) -> Member:
    """Return `member` with the models offered now, or `member` itself when they have not changed."""
    models = _offered(context)
    return member if models == list(member.models) else replace(member, models=models)


def start_counters(context: Context) -> None:
    """Export each counter at 0: Prometheus sees no growth in a counter that appears with its first event."""
    for provider in context.registry.configured():
        metrics.CLAIMS.labels(provider)
        for code in metrics.CODES:
            metrics.PROVIDER_ERRORS.labels(provider, code)
    for offer in context.registry.offers():
        metrics.COST.labels(offer.name)
        metrics.UNPRICED.labels(offer.name)


def _offered(context: Context) -> list[Model]:
    return [Model(name=offer.name, demo=offer.demo) for offer in context.registry.offers()]


def _version() -> str:
    try:
        return version("naru")
    except PackageNotFoundError:
        return "source"
