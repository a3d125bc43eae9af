"""The commands of `./naru people` for groups, limits and use."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from deploy import terminal
from deploy.cli.people_command import Context
from shared.errors import SettingsError
from shared.people import groups
from shared.people.groups import Group
from shared.postgres.database import transaction
from shared.spending import reports
from shared.spending.currency import Currency
from shared.spending.limits import Allowance, allowances_of, of_group, of_members, set_limits, stored
from shared.spending.values import LIMITS, MONEY, MOST_LIMIT, Limits, limit_of

#: Takes a limit away, as the help of `limit` says.
UNSET = "unset"
_MONTH = re.compile("20[0-9]{2}-(0[1-9]|1[0-2])")


def show_groups(context: Context) -> None:
    """Print every group with its limits."""
    found = groups.everything(context.engine)
    if not found:
        print("There are no groups yet. ./naru people join EMAIL GROUP makes one.")
    for group in found:
        members = f"{group.members} member{'' if group.members == 1 else 's'}"
        role = f"  {group.role}" if group.role else ""
        print(f"{terminal.line(group.name)}  {members}{role}")
        if group.personal_data:
            print(f"  personal data: {group.personal_data}")
        if group.models:
            print(f"  models: {', '.join(terminal.line(model) for model in group.models)}")
        with transaction(context.engine) as connection:
            limits = stored(connection, [of_members(group.id), of_group(group.id)])
        for subject, who in ((of_members(group.id), "each"), (of_group(group.id), "together")):
            if subject in limits:
                print(f"  {who}: {', '.join(_in_words(limits[subject]))}")


def join(context: Context) -> None:
    """Add the person to the group."""
    person = context.person()
    groups.join(context.engine, person.id, context.chosen.group)
    print(f"{terminal.line(person.email)} is in {terminal.line(context.chosen.group)}.")


def leave(context: Context) -> None:
    """Take the person out of the group."""
    person = context.person()
    group = _group(context)
    groups.leave(context.engine, person.id, group.id)
    print(f"{terminal.line(person.email)} is not in {terminal.line(group.name)}.")


def remove_group(context: Context) -> None:
    """Remove the group and its limits."""
    group = _group(context)
    with transaction(context.engine) as connection:
        for subject in (of_members(group.id), of_group(group.id)):
            set_limits(connection, subject, Limits())
        groups.remove(connection, group.id)
    print(f"The group {terminal.line(group.name)} and its limits are gone. No account was changed.")


def reserve_models(context: Context) -> None:
    """Reserve the models for the members of the group."""
    group, models = _group(context), context.chosen.models
    groups.set_models(context.engine, group.id, models)
    shown = ", ".join(terminal.line(model) for model in models) or "no model"
    print(f"{terminal.line(group.name)} reserves {shown} for its members.")


def guard(context: Context) -> None:
    """Let the members' questions with personal data warn or be refused."""
    group, policy = _group(context), context.chosen.policy
    groups.guard(context.engine, group.id, "" if policy == UNSET else policy)
    what = {"warn": "warns once", "block": "is refused"}.get(policy, "is up to NARU_PERSONAL_DATA")
    print(f"A question with personal data of a member of {terminal.line(group.name)} {what}.")


def give_group_role(context: Context) -> None:
    """Give the members of the group at least this role."""
    group, role = _group(context), context.chosen.role
    groups.set_role(context.engine, group.id, "" if role == "none" else role)
    print(f"Members of {terminal.line(group.name)} have the role {role} at least, and have to sign in again.")


def limit(context: Context) -> None:
    """Set the limits that are given, and print what holds now."""
    given = {name: getattr(context.chosen, name) for name in LIMITS if getattr(context.chosen, name) is not None}
    values: dict[str, Any] = {name: _limit_of(name, text) for name, text in given.items()}
    subject = _subject(context)
    with transaction(context.engine) as connection:
        before = stored(connection, [subject]).get(subject, Limits())
        now = replace(before, **values)
        if values:
            set_limits(connection, subject, now)
    print(f"Own limits: {', '.join(_in_words(now)) or 'none'}.")
    if context.chosen.email:
        _print_allowances(context)


def usage(context: Context) -> None:
    """Print what everybody used in the month, by person and model."""
    settings, currency = context.settings, Currency.of(context.settings)
    with transaction(context.engine) as connection:
        month = context.chosen.month or reports.months_ago(connection, settings.time_zone)
        if not _MONTH.fullmatch(month):
            raise SettingsError(f"{month!r} is not a month. It looks like 2026-11.")
        uses = reports.of_month(connection, month, zone=settings.time_zone, currency=currency)
        if context.chosen.csv:
            _write(reports.as_csv(month, uses, currency))
            return
        print(f"{month} ({settings.time_zone})")
        for use in uses:
            unknown = f"  {use.unpriced} without a known price" if use.unpriced else ""
            print(
                f"{terminal.line(use.email or use.owner)}  {terminal.line(use.model)}  {use.answers:,} answers  "
                f"{use.tokens:,} tokens  {currency.shown(use.cost)}{unknown}"
            )


COMMANDS: Mapping[str, Callable[[Context], None]] = {
    "groups": show_groups,
    "join": join,
    "leave": leave,
    "dissolve": remove_group,
    "models": reserve_models,
    "guard": guard,
    "grant": give_group_role,
    "limit": limit,
    "usage": usage,
}


def _group(context: Context) -> Group:
    context.chosen.email = ""  # an unknown name is a group's from here on
    return groups.group_with(context.engine, context.chosen.group)


def _subject(context: Context) -> str:
    """Return whose limits the command names. Raises NotFound."""
    if context.chosen.email:
        if context.chosen.together:
            raise SettingsError("--together needs --group.")
        return context.person().owner.key
    group = _group(context)
    return of_group(group.id) if context.chosen.together else of_members(group.id)


def _limit_of(name: str, text: str) -> int | Decimal | None:
    """Return the limit, None for UNSET. Raises SettingsError."""
    if text == UNSET:
        return None
    try:
        return limit_of(name, text)
    except ValueError:
        whole = "a number" if name == MONEY else "a whole number"
        option = f"--{name.replace('_', '-')}"
        raise SettingsError(
            f"{option} is {text!r}, which is not {whole} from 0 to {MOST_LIMIT:,}, or {UNSET}."
        ) from None


def _in_words(limits: Limits) -> list[str]:
    values = {name: getattr(limits, name) for name in LIMITS}
    return [
        f"{name.replace('_', ' ')} {f'{value:,}' if value else 'no limit'}"
        for name, value in values.items()
        if value is not None
    ]


def _print_allowances(context: Context) -> None:
    with transaction(context.engine) as connection:
        allowances = allowances_of(connection, context.person().owner, context.settings)
    for allowance in allowances:
        for line in _lines(allowance, Currency.of(context.settings)):
            print(f"  {line}")


def _lines(allowance: Allowance, currency: Currency) -> Iterable[str]:
    for part in allowance.parts():
        used, most, _ = part.shown(currency)
        who = f" ({terminal.line(allowance.group)}, together)" if allowance.group else ""
        yield f"{part.name.replace('_', ' ')}{who}: {used} of {most}, starts again {part.until:%Y-%m-%d %H:%M %Z}"


def _write(lines: Iterable[str]) -> None:
    for line in lines:
        sys.stdout.write(line)
