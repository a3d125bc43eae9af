"""The row of this process in the fleet: its identity, and the models that it offers."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from uuid import uuid4

from shared import metrics
from shared.fleet import AbsentProvider, Member, Model
from workers.process.context import Context

#: A server may list thousands of models, of which people use a few.
MOST_COUNTED = 100


def new_member(context: Context) -> Member:
    """Return a member with a new id: a process that was marked lost never writes under its old id again."""
    return Member(
        worker_id=uuid4(),
        host=socket.gethostname(),
        pid=os.getpid(),
        version=_version(),
        slots=context.settings.concurrency,
        models=_offered(context),
        absent=_absent(context),
    )


def with_current_models(context: Context, member: Member) -> Member:
    """Return `member` with the models offered now, or `member` itself when they have not changed."""
    models, absent = _offered(context), _absent(context)
    is_same = models == list(member.models) and absent == list(member.absent)
    return member if is_same else replace(member, models=models, absent=absent)


def start_counters(context: Context) -> None:
    """Export each counter at 0: Prometheus sees no growth in a counter that appears with its first event."""
    for provider in context.registry.configured():
        metrics.CLAIMS.labels(provider)
        for code in metrics.CODES:
            metrics.PROVIDER_ERRORS.labels(provider, code)
    for offer in context.registry.offers()[:MOST_COUNTED]:
        metrics.COST.labels(offer.name)
        metrics.UNPRICED.labels(offer.name)


def _offered(context: Context) -> list[Model]:
    return [
        Model(
            name=offer.name,
            demo=offer.demo,
            title=offer.title,
            provider=offer.provider_title,
            defaults=offer.defaults,
        )
        for offer in context.registry.offers()
    ]


def _absent(context: Context) -> list[AbsentProvider]:
    return [AbsentProvider(title=each.title, problem=each.problem.value) for each in context.registry.absent()]


def _version() -> str:
    try:
        return version("naru")
    except PackageNotFoundError:
        return "source"
