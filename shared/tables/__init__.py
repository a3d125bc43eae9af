"""The tables, as SQLAlchemy Core tables, and the values of their columns.

    chat      conversation, message, chat_request, request_attempt, reasoning
    fleet     worker, lane, reconciler_tick, banner, model_fact, shown_model
    people    person, identity, session, link, sign_in_allowance, second_factor, recovery_code, guest_link
    spending  person_group, membership, quota, spending
    audit     audit_event, audit_mark
    statuses  the values of `status` and `outcome`
    metadata  the MetaData object of all tables

`lifecycle/`, `conversations/`, `people/`, `spending/`, `audit/`, `operating/`, `reconciler.py`, `fleet.py` and
`model_facts.py` change rows; `migrations/` creates the tables. Times come from Postgres (`clock_timestamp()`), never
from a client. Imports nothing else of ours.
"""

from shared.tables.audit import audit_event as audit_event
from shared.tables.audit import audit_mark as audit_mark
from shared.tables.chat import chat_request as chat_request
from shared.tables.chat import conversation as conversation
from shared.tables.chat import message as message
from shared.tables.chat import reasoning as reasoning
from shared.tables.chat import request_attempt as request_attempt
from shared.tables.fleet import banner as banner
from shared.tables.fleet import lane as lane
from shared.tables.fleet import model_fact as model_fact
from shared.tables.fleet import reconciler_tick as reconciler_tick
from shared.tables.fleet import shown_model as shown_model
from shared.tables.fleet import worker as worker
from shared.tables.metadata import metadata as metadata
from shared.tables.people import guest_link as guest_link
from shared.tables.people import identity as identity
from shared.tables.people import link as link
from shared.tables.people import person as person
from shared.tables.people import recovery_code as recovery_code
from shared.tables.people import second_factor as second_factor
from shared.tables.people import session as session
from shared.tables.people import sign_in_allowance as sign_in_allowance
from shared.tables.spending import membership as membership
from shared.tables.spending import person_group as person_group
from shared.tables.spending import quota as quota
from shared.tables.spending import spending as spending
from shared.tables.statuses import ACTIVE as ACTIVE
from shared.tables.statuses import TERMINAL as TERMINAL
from shared.tables.statuses import Outcome as Outcome
from shared.tables.statuses import Status as Status
