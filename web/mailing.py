"""Sends mail beside the requests: a few threads, a short queue, and a time limit for each mail.

No page waits for the SMTP server. While it is away, mails fail with a line in the log and a metric, and people ask
again. A process that ends loses the mails in its queue.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from email.message import EmailMessage

from shared import mail, metrics
from shared.mail import MailFailed
from shared.settings import Settings

log = logging.getLogger(__name__)

THREADS = 2
#: More would wait for longer than a person does.
MOST_WAITING = 50
#: Makes a mail, or returns None if nobody should get one. It may use the database.
Making = Callable[[], EmailMessage | None]


class Mailing:
    """The queue of one process. For any thread. Its threads start with the first mail, and end with the process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._waiting: queue.Queue[tuple[str, Making]] = queue.Queue(MOST_WAITING)
        self._threads: list[threading.Thread] = []
        self._starting = threading.Lock()

    def put(self, kind: str, making: Making) -> None:
        """Make and send a mail soon; `kind` labels the metric. Raises MailFailed when too many wait.

        It takes as long whether a mail is sent or not.
        """
        self._start()
        try:
            self._waiting.put_nowait((kind, making))
        except queue.Full:
            self._failed(kind, "Too many mails wait for the SMTP server.")
            raise MailFailed from None

    def _start(self) -> None:
        with self._starting:
            while len(self._threads) < THREADS:
                # Daemons: a frozen SMTP server must not keep the process from ending.
                thread = threading.Thread(target=self._run, name=f"mail-{len(self._threads)}", daemon=True)
                thread.start()
                self._threads.append(thread)

    def _run(self) -> None:
        while True:
            kind, making = self._waiting.get()
            try:
                message = making()
                if message is not None:
                    mail.send(self._settings, message)
                    metrics.MAILS.labels(kind, "sent").inc()
                    log.info("mail sent", extra={"kind": kind})
            except MailFailed as error:
                self._failed(kind, str(error))
            except Exception:
                metrics.MAILS.labels(kind, "failed").inc()
                log.exception("mail failed", extra={"kind": kind})

    def _failed(self, kind: str, reason: str) -> None:
        metrics.MAILS.labels(kind, "failed").inc()
        log.warning("mail failed", extra={"kind": kind, "reason": reason})
