"""The composition root of the web process: settings, engine, dispatcher and background services.

The routes (in uvicorn's loop) and Streamlit's script threads share one `Runtime`, which `current_runtime()` creates on
first use. The ASGI lifespan starts its background services. Without a lifespan (a plain `streamlit run`, AppTest)
everything but live events works.
"""

from __future__ import annotations

import asyncio
import logging
import math
import threading
from collections.abc import Collection
from dataclasses import replace
from uuid import UUID

from shared import lifecycle, mail, metrics, personal_data
from shared.errors import AddressTooFast, NaruError, OverLimit, OwnerTooFast
from shared.fleet import fleet
from shared.following.best_text import BestText
from shared.interpreter import freeze_loaded_objects
from shared.keeping import Keeping
from shared.lifecycle import Question, Submitted
from shared.people import Owner, codes
from shared.people.sealing import Sealing
from shared.postgres import capacity, notify, pooler
from shared.postgres.database import make_engine
from shared.queue import Dispatcher
from shared.reconciler import Ticker
from shared.retention import Purge
from shared.settings import Settings, load_settings
from shared.spending.refusals import ModelNotAllowed
from shared.tables import Status
from shared.wedge import WedgeWatch
from web import openid
from web.allowances import Allowances
from web.audit_keeper import AuditKeeper
from web.banners import Banners
from web.limits import RateLimit, report_over_limit
from web.liveness import Liveness
from web.mailing import Mailing
from web.sign_ins import SignIns
from web.watch.listener import Listener
from web.watch.watcher import Watcher

log = logging.getLogger(__name__)

#: The process also ends if no Python thread ran for this many times the wedge limit. The factor is large because a
#: container that was paused and resumed reaches it too.
NO_THREAD = 5.0
#: Attempts allowed for each question of an owner's limit, since the composer retries up to six times while an answer
#: is ending. Further attempts are refused without a query, and do not count against the address.
TRIES_PER_QUESTION = 4


class Runtime:
    """The services of one web process. Methods are for any thread, coroutines for the loop."""

    def __init__(self, settings: Settings) -> None:
        settings.need("database_url", "redis_url", "secret_key")
        pooler.refuse_pooled_listening(settings)
        mail.refuse_half_settings(settings)
        self.settings = settings
        self.engine = make_engine(settings, name="naru-web")
        self.dispatcher = Dispatcher(settings)
        self.newcomers = RateLimit(settings.address_newcomers_per_minute)
        self.allowances = Allowances(self.engine, settings)
        self.sign_ins = SignIns(settings, self.engine)
        self.openid = openid.provider_of(settings)
        self.audit = AuditKeeper(self.engine, settings)
        self.mailing = Mailing(settings)
        self.banners = Banners(self.engine)
        self.watcher: Watcher | None = None
        self._tries = RateLimit(TRIES_PER_QUESTION * settings.owner_questions_per_minute)
        self._questions = RateLimit(settings.address_questions_per_minute)
        self._best_text = BestText(settings, self.engine)
        self._ticker: Ticker | None = None
        self._purge: Purge | None = None
        self._listener: Listener | None = None
        self._gauges: metrics.SystemGauges | None = None
        self._has_drawn = False
        self.liveness = Liveness(settings, follows_streams=self._follows_streams, is_visited=self._is_visited)
        self._living: asyncio.Task[None] | None = None
        self._sealing: asyncio.Task[None] | None = None
        self._wedge = WedgeWatch(
            self.liveness.signs,
            limit_seconds=settings.web_wedged_seconds,
            start_seconds=0.0,  # started after everything else
            no_thread=NO_THREAD,
        )

    def submit(self, question: Question, *, client: str, confirmed: Collection[str] = ()) -> Submitted:
        """Store a question, send its hint in the background, and notify the conversation's viewers.

        `client` is the person's address as `web/asgi/address.py` gives it; `confirmed` has the codes of the
        PersonalData of which the person was warned. Raises PersonalData, OwnerTooFast, AddressTooFast, and the errors
        of `shared.lifecycle.submit` and `Fleet.default`.
        """
        lifecycle.check_text(question, self.settings.max_question_characters)
        policy = self.allowances.personal_data(question.owner)
        personal_data.check(question.text, policy, confirmed=confirmed)
        try:
            submitted = self._store(question, client)
        except OverLimit as error:
            report_over_limit(error.code, client)
            raise
        if submitted.is_new:
            metrics.SUBMITTED.inc()
        self.dispatcher.send(submitted.lane)
        self.nudge(submitted.conversation_id)
        return submitted

    def _store(self, question: Question, client: str) -> Submitted:
        if wait := self._tries.take(question.owner.key):
            raise OwnerTooFast(self.settings.owner_questions_per_minute, math.ceil(wait))
        if wait := self._questions.take(client):
            raise AddressTooFast(self.settings.address_questions_per_minute, math.ceil(wait))
        if not question.model:
            usable = self.allowances.usable(question.owner, fleet(self.engine))
            question = replace(question, model=usable.default())
        if not self.allowances.may_use(question.owner, question.model):
            raise ModelNotAllowed
        limits, longest = self.allowances.of_question(question.owner)
        return lifecycle.submit(
            self.engine,
            question,
            deadline_seconds=self.settings.deadline_seconds,
            max_characters=longest,
            limits=limits,
        )

    def stop(self, request_id: UUID, *, owner: Owner) -> Status:
        """Stop a request. Raises NotFound for another owner's, and Unavailable without Postgres.

        RUNNING means that its worker was asked. If the worker does not react, the reconciler ends the request.
        """
        return lifecycle.stop(self.engine, request_id, owner=owner)

    def nudge(self, conversation_id: UUID) -> None:
        """Tell the conversation's viewers about a change within 0.11 s instead of a second."""
        if self.watcher is not None and not self.watcher.is_closing:
            self.watcher.nudge(conversation_id)

    async def start(self) -> None:
        """Start the background services: watcher, listener, reconciler, purge, record, metrics and checks."""
        self.watcher = Watcher(self.settings, self.engine)
        self.watcher.start()
        self._listener = Listener(self.settings, self._on_notice, on_gap=self.watcher.nudge_all)
        self._listener.start()
        self._ticker = Ticker(self.engine, self.settings, resend=self.dispatcher.ensure, best_text=self._best_text)
        self._ticker.start()
        self._purge = Purge(self.engine, self.settings, on_gone=self.audit.count_purged)
        self._purge.start()
        self.audit.start()
        self._gauges = metrics.SystemGauges(self.engine, Keeping.of(self.settings))
        metrics.REGISTRY.register(self._gauges)
        self._living = asyncio.create_task(self.liveness.run())
        self._checking_sessions = asyncio.create_task(self.sign_ins.run())
        self._looking_for_limits = asyncio.create_task(self.allowances.run())
        self._checking = asyncio.create_task(
            asyncio.to_thread(capacity.warn_of_few_connections, self.engine, self.settings)
        )
        self._sealing = asyncio.create_task(asyncio.to_thread(self._seal_again))
        self._wedge.start()
        freeze_loaded_objects()

    def _seal_again(self) -> None:
        """Encrypt the secrets of second factors with the newest key, so that `naru keys drop` loses none."""
        try:
            unreadable = codes.seal_again(self.engine, Sealing(self.settings.secret_key))
        except NaruError:
            log.warning("second factors: not checked for older keys, because Postgres does not answer")
            return
        if unreadable:
            log.warning("second factors unreadable: their key is gone", extra={"number": unreadable})

    def page_was_drawn(self) -> None:
        """Record a drawn page. After the first, memory is settled, since Streamlit has loaded all its modules."""
        self.liveness.page_ended()
        if not self._has_drawn:
            self._has_drawn = True
            freeze_loaded_objects()

    def close_viewers(self) -> None:
        """End every live connection, because at shutdown the server waits for its connections."""
        if self.watcher is not None:
            self.watcher.close_viewers()

    async def stop_all(self) -> None:
        """Stop the background services, then everything else. No data is lost: it is all in Postgres."""
        self._wedge.close()
        if self._living is not None:
            self._living.cancel()
            self._checking_sessions.cancel()
            self._looking_for_limits.cancel()
        self.sign_ins.close()
        self.close_viewers()
        if self.watcher is not None:
            await self.watcher.close()
        await asyncio.gather(
            *(
                asyncio.to_thread(part.close)
                for part in (self._listener, self._ticker, self._purge, self.dispatcher)
                if part
            )
        )
        await asyncio.to_thread(self.audit.close)  # after the purge, whose last rows it records
        if self._gauges is not None:
            metrics.REGISTRY.unregister(self._gauges)
        self._best_text.close()
        self.engine.dispose()

    def _follows_streams(self) -> bool:
        return self.watcher is None or self.watcher.is_closing or self.watcher.follows

    def _is_visited(self) -> bool:
        return self.watcher is not None and self.watcher.watched > 0

    def _on_notice(self, notice: notify.Notice) -> None:
        self.nudge(notice.conversation_id)


_making = threading.Lock()
_current: Runtime | None = None


def current_runtime() -> Runtime:
    """Return this process's runtime, made from the environment on first use. Raises SettingsError."""
    global _current  # noqa: PLW0603 - the one place where a process's single runtime is kept
    with _making:
        if _current is None:
            _current = Runtime(load_settings())
        return _current
