"""People and groups: find one, change the role and the limits, sign out, disable, invite, give a link."""

from __future__ import annotations

from functools import partial
from uuid import UUID

import streamlit as st

from shared.errors import NotFound
from shared.operating.people import MOST_PEOPLE, PersonNow, people_with, person_now
from shared.people import Owner, groups, links
from shared.people.accounts import Role
from shared.people.sessions import SignedIn
from shared.postgres.database import transaction
from shared.spending.currency import Currency
from shared.spending.limits import allowances_of
from shared.words import Words
from web import state
from web.state.values import Wish
from web.views.admin import deciding, limits
from web.views.admin.showing import heading, plain, since
from web.views.frame import Frame

ROLES = {Role.USER: "admin.role_user", Role.AUDITOR: "admin.role_auditor", Role.ADMIN: "admin.role_admin"}


def draw(frame: Frame) -> None:
    """Draw the invitation, the person who is open, and a list."""
    t = frame.words.t
    deciding.draw(frame)
    heading(t("admin.invite_title"))
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        _roles(frame, t("admin.role"), key=state.ADMIN_INVITED_ROLE, default=Role.USER)
        st.button(t("admin.invite"), key="admin-invite", on_click=partial(deciding.act, frame, "invite", _invite))
    heading(t("admin.part_people"))
    _opened(frame)
    st.text_input(t("admin.find_person"), key=state.ADMIN_FIND, max_chars=254)
    found = people_with(frame.engine, state.chosen(state.ADMIN_FIND, ""), most=MOST_PEOPLE + 1)
    with st.container(key="admin-people"):
        if not found:
            st.html(f"<p>{plain(t('admin.no_people'))}</p>")
        for each in found[:MOST_PEOPLE]:
            _row(frame, each)
        if len(found) > MOST_PEOPLE:
            st.html(f"<p>{plain(t('admin.more_people', number=MOST_PEOPLE))}</p>")
    limits.of_groups(frame)


def _row(frame: Frame, person: PersonNow) -> None:
    with st.container(key=f"admin-row-{person.id}", horizontal=True, vertical_alignment="center", gap="small"):
        st.button(
            frame.words.t("admin.open"),
            key=f"admin-person-{person.id}",
            type="tertiary",
            on_click=partial(_open, person.id),
        )
        facts = " · ".join(_facts(frame.words, person))
        st.html(f'<div class="naru-line"><strong>{plain(person.email)}</strong><span>{plain(facts)}</span></div>')


def _open(person_id: UUID | None) -> None:
    state.open_person(person_id)
    state.forget_wish()
    state.tell(None)


def _facts(words: Words, person: PersonNow) -> list[str]:
    t = words.t
    facts = [t("admin.is_disabled") if person.is_disabled else t(ROLES[person.role])]
    if person.seen_at is None:
        facts.append(t("admin.is_signed_out"))
    else:
        facts.append(t("admin.sessions", number=person.sessions, time=since(words, person.seen_at)))
    facts.append(t("admin.since_day", day=f"{person.created_at.astimezone(state.timezone()):%Y-%m-%d}"))
    return facts


def _opened(frame: Frame) -> None:
    person_id, t = state.opened_person(), frame.words.t
    if person_id is None:
        return
    with st.container(key="admin-person", border=True):
        try:
            person = person_now(frame.engine, person_id)
        except NotFound:
            st.html(f"<p>{plain(t('admin.person_gone'))}</p>")
        else:
            facts = " · ".join([*_facts(frame.words, person), f"person:{person.id}"])
            st.html(f'<h3 class="naru-section">{plain(person.email)}</h3><p>{plain(facts)}</p>')
            _role(frame, person)
            _actions(frame, person)
            _use(frame, person)
        st.button(t("admin.close"), key="admin-close-person", on_click=partial(_open, None))


def _role(frame: Frame, person: PersonNow) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        chosen = _roles(frame, frame.words.t("admin.role"), key=f"admin-role-{person.id}", default=person.role)
        wish = Wish("role", person.id, person.email, chosen)
        st.button(
            frame.words.t("admin.give_role"),
            key="admin-give-role",
            disabled=chosen == person.role,
            on_click=partial(deciding.ask, frame, wish),
        )


def _roles(frame: Frame, label: str, *, key: str, default: Role) -> Role:
    """Draw a switch of the roles, and return the chosen one."""
    given = st.segmented_control(
        label,
        [role.value for role in ROLES],
        key=key,
        default=default.value,
        format_func=lambda value: frame.words.t(ROLES[Role(value)]),
        required=True,
    )
    return Role(str(given or default.value))


def _actions(frame: Frame, person: PersonNow) -> None:
    t = frame.words.t
    with st.container(horizontal=True, gap="small"):
        if person.sessions:
            _button(frame, t("admin.sign_out"), Wish("sign_out", person.id, person.email))
        if person.is_disabled:
            _button(frame, t("admin.enable"), Wish("enable", person.id, person.email))
        else:
            _button(frame, t("admin.disable"), Wish("disable", person.id, person.email))
        if person.has_password and not person.is_disabled:
            link = partial(_new_password, person)
            st.button(
                t("admin.password_link"),
                key="admin-password-link",
                on_click=partial(deciding.act, frame, "password_link", link),
            )


def _use(frame: Frame, person: PersonNow) -> None:
    """Draw the person's groups, the use of each limit, and the person's own limits."""
    t, settings = frame.words.t, frame.runtime.settings
    with transaction(frame.engine) as connection:
        names = [group.name for group in groups.groups_of(connection, person.id)]
        allowances = allowances_of(connection, Owner.person(person.id), settings)
    lines = [f"{t('usage.groups')}: {', '.join(names)}"] if names else []
    for allowance in allowances:
        whose = f" ({allowance.group})" if allowance.group else ""
        for part in allowance.parts():
            used, most, _ = part.shown(Currency.of(settings))
            lines.append(f"{t(f'usage.{part.name}')}{whose}: {t('usage.of', used=used, most=most)}")
    shown = "".join(f"<p>{plain(line)}</p>" for line in lines or [t("usage.no_limits")])
    st.html(f'{shown}<h3 class="naru-section">{plain(t("admin.limits_own"))}</h3>')
    limits.of_person(frame, person.id, allowances[0].otherwise)


def _button(frame: Frame, label: str, wish: Wish) -> None:
    st.button(label, key=f"admin-do-{wish.action}", on_click=partial(deciding.ask, frame, wish))


def _invite(frame: Frame, _: SignedIn) -> deciding.Done:
    days = frame.runtime.settings.invitation_days
    role = Role(state.chosen(state.ADMIN_INVITED_ROLE, Role.USER.value))
    token = links.invite(frame.engine, role, days=days)
    sentence = frame.words.t("admin.invited", role=frame.words.t(ROLES[role]), days=days)
    return deciding.Done(sentence, state.address(f"sign-up?invitation={token}"))


def _new_password(person: PersonNow, frame: Frame, _: SignedIn) -> deciding.Done:
    hours = frame.runtime.settings.password_link_hours
    token = links.allow_new_password(frame.engine, person.id, hours=hours)
    sentence = frame.words.t("admin.password_linked", name=person.email, hours=hours)
    return deciding.Done(sentence, state.address(f"new-password?link={token}"))
