"""The tables, as SQLAlchemy Core tables, and the values of their columns.

    chat      conversation, message, chat_request, request_attempt
    fleet     worker, lane, reconciler_tick, banner
    people    person, session, link, sign_in_allowance
    statuses  the values of `status` and `outcome`
    metadata  the MetaData object of all tables

`lifecycle/`, `conversations/`, `people/`, `operating/`, `reconciler.py` and `fleet.py` change rows; `migrations/`
creates the tables. Times come from Postgres (`clock_timestamp()`), never from a client. Imports nothing else of ours.
"""

from shared.tables.chat import chat_request as chat_request
from shared.tables.chat import conversation as conversation
from shared.tables.chat import message as message
from shared.tables.chat import request_attempt as request_attempt
from shared.tables.fleet import banner as banner
from shared.tables.fleet import lane as lane
from shared.tables.fleet import reconciler_tick as reconciler_tick
from shared.tables.fleet import worker as worker
from shared.tables.metadata import metadata as metadata
from shared.tables.people import link as link
from shared.tables.people import person as person
from shared.tables.people import session as session
from shared.tables.people import sign_in_allowance as sign_in_allowance
from shared.tables.statuses import ACTIVE as ACTIVE
from shared.tables.statuses import TERMINAL as TERMINAL
from shared.tables.statuses import Outcome as Outcome
from shared.tables.statuses import Status as Status
