"""The model picker: the models on offer, by provider, and why there are none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from html import escape

import streamlit as st

from shared.conversations import Opened
from shared.fleet import AbsentProvider, Fleet, Model, NoModelShown
from web import state
from web.markdown.bounds import strip_bidi_controls
from web.views.frame import Frame

#: From this many models on, a person can type to search. A phone's keyboard would only be in the way of a few.
SEARCHED_FROM = 9
#: Providers that the page names when there is no model.
MOST_NAMED = 3
#: The problems that the page has a sentence for: those of `workers/providers/listing.py`.
PROBLEMS = (
    "unreachable",
    "certificate",
    "key_refused",
    "no_list",
    "not_a_list",
    "server_fails",
    "no_model",
    "bad_file",
)


def draw(frame: Frame, opened: Opened, fleet: Fleet | None) -> None:
    """Draw the picker: the conversation's model is chosen, or else the one of the person's last conversation."""
    offered = fleet.shown if fleet is not None else ()
    names = [model.name for model in offered]
    kept = _kept(opened)
    # A model that is hidden or gone stays where it was chosen.
    if kept and kept not in names and (not names or state.chosen_model() or _is_hidden(fleet, kept)):
        names = [kept, *names]
    if not names:
        return
    last = kept or state.last_model(frame.owner)
    state.offer_model(last if last in names else names[0])
    shown = labels(offered)
    hidden = labels(fleet.models) if fleet is not None else {}
    st.selectbox(
        frame.words.t("composer.model"),
        names,
        key=state.MODEL,
        label_visibility="collapsed",
        format_func=lambda name: shown.get(name) or hidden.get(name) or short_name(name),
        filter_mode="fuzzy" if len(names) >= SEARCHED_FROM else None,
    )


@lru_cache(maxsize=8)
def labels(models: tuple[Model, ...]) -> Mapping[str, str]:
    """Return what the picker calls each model: its title or name, with the provider where there are several."""
    providers = {_provider_of(model) for model in models}
    titles = {model.name: strip_bidi_controls(model.title) or short_name(model.name) for model in models}
    if len(providers) > 1:
        titles = {model.name: f"{titles[model.name]} · {strip_bidi_controls(_provider_of(model))}" for model in models}
    times = Counter(titles.values())
    # Two models with one title can only be told apart by their names.
    return {name: title if times[title] == 1 else name for name, title in titles.items()}


def short_name(model: str) -> str:
    """Return a model's name without its provider: `gpt-5.2` for `openai/gpt-5.2`."""
    return model.split("/", 1)[-1]


def nothing_offered(frame: Frame, opened: Opened, fleet: Fleet | None) -> str:
    """Return why no model is on offer; "" if there is one, or if no worker is known."""
    if fleet is None or fleet.shown:
        return ""
    if fleet.models:
        # A chat with a hidden model goes on.
        line = "" if _kept(opened) else frame.words.error(NoModelShown.code)
    elif fleet.live_workers and fleet.absent:
        reasons = [_reason(frame, each) for each in fleet.absent[:MOST_NAMED]]
        line = " ".join([frame.words.t("no_model.heading"), *reasons])
    else:
        line = ""
    return line and f'<div class="naru-demo-line" role="note">{escape(line)}</div>'


def _reason(frame: Frame, absent: AbsentProvider) -> str:
    problem = absent.problem if absent.problem in PROBLEMS else "server_fails"
    return frame.words.t(f"no_model.{problem}", title=strip_bidi_controls(absent.title))


def _kept(opened: Opened) -> str:
    """Return the model that the person chose, here or earlier in this chat; "" without one."""
    return state.chosen_model() or opened.model or ""


def _is_hidden(fleet: Fleet | None, name: str) -> bool:
    return fleet is not None and any(model.name == name for model in fleet.models)


def _provider_of(model: Model) -> str:
    """Return the provider's title; a worker of the previous version gives only its name."""
    return model.provider or model.name.partition("/")[0]
