"""A chat on Celery as tutorials have it: late ack so that "nothing is lost", a result backend, no rows of its own."""

from __future__ import annotations

import openai
from celery import Celery
from redis import Redis

from shared.settings import load_settings

settings = load_settings()

app = Celery("textbook", broker=settings.redis_url, backend=settings.redis_url)
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_connection_retry_on_startup=True,
    # Otherwise a publish to a Redis that hangs never returns.
    broker_transport_options={"socket_timeout": 5, "socket_connect_timeout": 2},
)


@app.task(name="answer")  # type: ignore[untyped-decorator]
def answer(request_id: str, question: str) -> str:
    """Stream an answer into a list that the page reads, and return the whole of it."""
    redis = Redis.from_url(settings.redis_url, decode_responses=True)
    client = openai.OpenAI(base_url=f"{settings.simulator_url}/v1", api_key="none")
    stream = client.chat.completions.create(
        model="simulator",
        messages=[{"role": "user", "content": question}],
        stream=True,
        extra_headers={"X-Client-Request-Id": request_id},
    )
    text = ""
    for chunk in stream:
        if chunk.choices and (word := chunk.choices[0].delta.content):
            text += word
            redis.rpush(f"chat:{request_id}", word)
    return text


def ask(request_id: str, question: str) -> None:
    """What the page does at Enter."""
    answer.apply_async(args=[request_id, question], task_id=request_id)
