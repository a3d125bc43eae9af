"""The order of the models in the picker, and those that it hides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import streamlit as st
from sqlalchemy import Engine

from shared.fleet import fleet
from shared.operating.shown_models import ShownModel, hide, order, read_shown, show
from shared.people.sessions import SignedIn
from web import state
from web.views.admin import deciding
from web.views.admin.showing import plain, table
from web.views.frame import Frame


def draw(frame: Frame) -> None:
    """Draw the box that finds a model, what can be done with it, and the models that have a place or are hidden."""
    t = frame.words.t
    deciding.draw(frame)
    st.html(f"<p>{plain(t('admin.models_about'))}</p>")
    names = [model.name for model in fleet(frame.engine).models]
    shown = read_shown(frame.engine)
    names += [each.model for each in shown if each.model not in set(names)]
    if not names:
        st.html(f"<p>{plain(t('admin.models_none'))}</p>")
        return
    st.selectbox(t("admin.model"), names, key=state.ADMIN_MODEL, filter_mode="fuzzy")
    with st.container(horizontal=True, gap="small"):
        for name, act in ACTIONS.items():
            st.button(t(NAMES[name]), key=f"admin-model-{name}", on_click=partial(deciding.act, frame, name, act))
    _draw_shown(frame, shown)


def _draw_shown(frame: Frame, shown: Sequence[ShownModel]) -> None:
    t = frame.words.t
    if not shown:
        return
    heads = (t("admin.model"), t("admin.model_place"), t("admin.model_hidden"))
    rows = [
        (plain(each.model), str(each.place or ""), plain(t("admin.model_is_hidden")) if each.hidden else "")
        for each in shown
    ]
    st.html(table(t("admin.part_models"), heads, rows))


def _first(engine: Engine, model: str) -> None:
    placed = [each.model for each in read_shown(engine) if each.place is not None and each.model != model]
    order(engine, [model, *placed])


def _unplaced(engine: Engine, model: str) -> None:
    order(engine, [each.model for each in read_shown(engine) if each.place is not None and each.model != model])


def _done(do: Callable[[Engine, str], None], sentence: str) -> Callable[[Frame, SignedIn], deciding.Done]:
    def act(frame: Frame, _: SignedIn) -> deciding.Done:
        model = state.chosen(state.ADMIN_MODEL, "")
        do(frame.engine, model)
        return deciding.Done(frame.words.t(sentence, name=model))

    return act


NAMES = {
    "hide": "admin.model_hide",
    "show": "admin.model_show",
    "first": "admin.model_first",
    "unplaced": "admin.model_unplaced",
}
ACTIONS: dict[str, Callable[[Frame, SignedIn], deciding.Done]] = {
    "hide": _done(lambda engine, model: hide(engine, [model]), "admin.model_was_hidden"),
    "show": _done(lambda engine, model: show(engine, [model]), "admin.model_was_shown"),
    "first": _done(_first, "admin.model_is_first"),
    "unplaced": _done(_unplaced, "admin.model_has_no_place"),
}
