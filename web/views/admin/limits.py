"""Limits of a person and of a group, as boxes; and the models that a group reserves.

The checks and the events are those of `./naru people limit`. A box that nobody touched changes nothing, so two
administrators with the same person open do not undo each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import streamlit as st
from sqlalchemy import Connection

from shared.errors import NotFound
from shared.people import Owner, accounts, groups
from shared.people.groups import Group
from shared.people.refusals import BadModelPattern
from shared.people.sessions import SignedIn
from shared.postgres.database import transaction
from shared.spending.currency import Currency
from shared.spending.limits import given_by, of_group, of_members, set_limits, stored
from shared.spending.values import LIMITS, MONEY, MOST_LIMIT, Limits, limit_of
from web import state
from web.views.admin import deciding
from web.views.admin.showing import heading, plain
from web.views.frame import Frame

LABELS = {
    "active_questions": "admin.limit_active",
    "questions_per_minute": "admin.limit_per_minute",
    "question_characters": "admin.limit_characters",
    "tokens_per_day": "admin.limit_tokens_day",
    "tokens_per_month": "admin.limit_tokens_month",
    "money_per_month": "admin.limit_money",
}
#: Limits that a group cannot have for all its members together (shared/spending/limits.py).
_OF_ONE = {"active_questions", "questions_per_minute", "question_characters"}

#: Locks whoever has the limits until the transaction ends, and raises NotFound if they are gone.
Holder = Callable[[Connection], None]


def of_person(frame: Frame, person_id: UUID, otherwise: Limits) -> None:
    """Draw the boxes of a person's own limits. `otherwise` is what holds where a box is empty."""
    holder = partial(accounts.hold, person_id=person_id)
    _boxes(frame, Owner.person(person_id).key, holder, LIMITS, otherwise)


def of_groups(frame: Frame) -> None:
    """Draw a switch of all groups, and the limits and models of the chosen one."""
    t, found = frame.words.t, {str(group.id): group for group in groups.everything(frame.engine)}
    heading(t("admin.groups"))
    if not found:
        st.html(f"<p>{plain(t('admin.no_groups'))}</p>")
        return
    chosen = st.selectbox(
        t("admin.group"),
        list(found),
        key=state.ADMIN_GROUP,
        index=None,
        placeholder=t("admin.choose_group"),
        format_func=lambda key: found[key].name if key in found else "",
    )
    group = found.get(str(chosen))
    if group is None:
        return
    holder = partial(groups.hold, group_id=group.id)
    with st.container(key="admin-group", border=True):
        st.html(f"<p>{plain(t('admin.members', number=group.members))}</p>")
        st.html(f'<h3 class="naru-section">{plain(t("admin.limits_each"))}</h3>')
        _boxes(frame, of_members(group.id), holder, LIMITS, given_by(frame.runtime.settings))
        st.html(f'<h3 class="naru-section">{plain(t("admin.limits_together"))}</h3>')
        _boxes(frame, of_group(group.id), holder, [each for each in LIMITS if each not in _OF_ONE], Limits())
        _models(frame, group)


def _boxes(frame: Frame, subject: str, holder: Holder, names: list[str] | tuple[str, ...], otherwise: Limits) -> None:
    t = frame.words.t
    with transaction(frame.engine) as connection:
        now = stored(connection, [subject]).get(subject, Limits())
    with st.container(key=f"admin-limits-{subject}"):
        for name in names:
            _box(frame, subject, name, now, otherwise)
        st.button(
            t("admin.limits_set"),
            key=f"admin-limits-set-{subject}",
            on_click=partial(deciding.act, frame, "limits", partial(_set, subject, holder, names)),
        )
        deciding.draw_told(frame, near=subject)


def _box(frame: Frame, subject: str, name: str, now: Limits, otherwise: Limits) -> None:
    key, value = _key(subject, name), getattr(otherwise, name)
    state.fill(key, _as_typed(getattr(now, name)))
    holds = _as_typed(value) if value else frame.words.t("admin.limit_none")
    st.text_input(_label(frame, name), key=key, max_chars=30, placeholder=holds)


def _models(frame: Frame, group: Group) -> None:
    t, key = frame.words.t, _key(of_group(group.id), "models")
    state.fill(key, " ".join(group.models))
    st.html(f'<h3 class="naru-section">{plain(t("admin.models_reserved"))}</h3>')
    st.text_input(t("admin.models_how"), key=key, max_chars=2000)
    st.button(
        t("admin.models_set"),
        key="admin-models-set",
        on_click=partial(deciding.act, frame, "models", partial(_reserve, group, key)),
    )
    deciding.draw_told(frame, near=key)


def _set(subject: str, holder: Holder, names: list[str] | tuple[str, ...], frame: Frame, _: SignedIn) -> deciding.Done:
    """Store the limits that were typed: all of them, or none where one is no limit."""
    t = frame.words.t
    typed = {name: given for name in names if (given := state.typed(_key(subject, name))) is not None}
    if not typed:
        return deciding.Done(t("admin.limits_same"), near=subject)
    values: dict[str, Any] = {}
    for name, given in typed.items():
        try:
            values[name] = limit_of(name, given) if given else None
        except ValueError:
            wrong = "admin.limit_bad_money" if name == MONEY else "admin.limit_bad"
            return deciding.Done(
                t(wrong, name=_label(frame, name), given=given, most=f"{MOST_LIMIT:,}"), is_error=True, near=subject
            )
    try:
        with transaction(frame.engine) as connection:
            holder(connection)
            now = stored(connection, [subject]).get(subject, Limits())
            set_limits(connection, subject, replace(now, **values))
    except NotFound:
        return deciding.Done(t("admin.limits_gone"), is_error=True)
    state.empty(*(_key(subject, name) for name in names))
    return deciding.Done(t("admin.limits_changed"), near=subject)


def _reserve(group: Group, key: str, frame: Frame, _: SignedIn) -> deciding.Done:
    given = state.typed(key)
    if given is None:
        return deciding.Done(frame.words.t("admin.limits_same"), near=key)
    try:
        groups.set_models(frame.engine, group.id, given.replace(",", " ").split())
    except BadModelPattern as error:
        return deciding.Done(frame.words.error(error.code), is_error=True, near=key)
    except NotFound:
        return deciding.Done(frame.words.t("admin.limits_gone"), is_error=True)
    state.empty(key)
    return deciding.Done(frame.words.t("admin.models_changed", name=group.name), near=key)


def _label(frame: Frame, name: str) -> str:
    code = Currency.of(frame.runtime.settings).code
    return frame.words.t(LABELS[name], currency=code) if name == MONEY else frame.words.t(LABELS[name])


def _key(subject: str, name: str) -> str:
    return f"{state.ADMIN_LIMIT}-{subject}-{name}"


def _as_typed(value: Decimal | int | None) -> str:
    """Return a limit as somebody would type it; "" where nothing is set."""
    return "" if value is None else f"{Decimal(value).normalize():f}"
