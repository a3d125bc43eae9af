"""POST /api/requests/{id}/stop: stop a request, from the live answer on the page."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from concurrent.futures import ThreadPoolExecutor

from starlette.requests import Request
from starlette.responses import Response

from shared.errors import NotFound, Unavailable
from shared.tables import Status
from web.api.answers import Refusal, json_answer, owner_or_refuse, uuid_in_path
from web.api.guard import refuse_foreign_post
from web.runtime import current_runtime

#: A separate pool, so that a stop never queues behind slower work. Threads are created on first use.
_threads = ThreadPoolExecutor(4, thread_name_prefix="stop")


async def stop(request: Request) -> Response:
    """Stop the owner's request. The status `stopping` means that its worker was asked."""
    refuse_foreign_post(request)
    request_id = uuid_in_path(request, "request_id")
    owner = owner_or_refuse(request)
    asked = functools.partial(current_runtime().stop, request_id, owner=owner)
    try:
        # Pass on the log's ids, which a new thread lacks.
        here = contextvars.copy_context()
        status = await asyncio.get_running_loop().run_in_executor(_threads, here.run, asked)
    except NotFound:
        raise Refusal(404, "not_found", "This question was deleted, or you can't see it.") from None
    except Unavailable:
        raise Refusal(503, "unavailable", "The database does not answer. Try again in a moment.") from None
    return json_answer({"status": "stopping" if status is Status.RUNNING else status.value})
