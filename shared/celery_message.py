"""Tricks with Celery and kombu: hints are made by copying a message, and kombu does not track them in Redis.

Each trick saves time or Redis commands per hint. `shared/queue.py` uses them; nothing else should.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

from celery import Celery
from kombu.connection import Connection
from kombu.transport import redis as broker
from kombu.transport.virtual import QoS


class HintMessage:
    """Makes the Celery messages of one lane's hints: builds one, and copies its text with other ids (decision 0023).

    Gain: `send_task` takes 0.5 ms of CPU per message, 1.3 ms in a process that was idle. Redis accounts for 0.04 ms.
    Relies on the task's id appearing literally in the JSON of the message, and on `Channel._get` of kombu's in-memory
    transport. Test: tests/shared/test_dispatcher.py compares a copy with Celery's own message.
    """

    _TASK_ID = "naru-task-id"

    def __init__(self, app: Celery, *, task: str, queue: str, lane: str) -> None:
        made = app.amqp.create_task_message(self._TASK_ID, task, [lane], {}, ignore_result=None)
        # The in-memory transport adds kombu's envelope, as the Redis transport would.
        with Connection("memory://") as connection, connection.channel() as channel:
            producer = app.amqp.Producer(channel, auto_declare=False)
            app.amqp.send_task_message(producer, task, made, queue=queue)
            message = channel._get(queue)  # noqa: SLF001 - no public method returns the message as it is stored
        message["properties"]["delivery_tag"] = self._TASK_ID
        self._message = json.dumps(message)

    def copy(self) -> str:
        """Return the message of a new hint, as stored in Redis."""
        return self._message.replace(self._TASK_ID, str(uuid4()))


def keep_unacknowledged_in_memory() -> None:
    """Make kombu remember unacknowledged messages in this process instead of in Redis (decision 0014).

    kombu redelivers what it writes there after the visibility timeout, which is longer than a request may live, so we
    do not need it. Gain: four commands per hint, and fewer ways for a worker to exit: Celery 5.7 exits when Redis
    refuses one of these commands, or when the connection is lost before it can restore the messages. A hint may be
    lost. Relies on `Channel.QoS` being looked up on the class. Test: tests/crash/test_unacknowledged.py.
    """
    broker.Channel.QoS = HintQoS


class HintQoS(broker.QoS):
    """kombu's bookkeeping of unacknowledged messages, without its Redis commands."""

    def append(self, message: Any, delivery_tag: str) -> None:
        """Remember a message that was received."""
        QoS.append(self, message, delivery_tag)

    def ack(self, delivery_tag: str) -> None:
        """Forget a message that was taken."""
        QoS.ack(self, delivery_tag)

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: ARG002 - kombu's signature
        """Forget a message that was not taken: the reconciler sends another."""
        QoS.ack(self, delivery_tag)

    def restore_unacked(self, client: Any = None) -> None:  # noqa: ARG002 - kombu's signature
        """Forget everything when the connection ends."""
        self._delivered.clear()
