"""Our own routes beside Streamlit's, and the middleware around both.

    events    GET  /api/conversations/{id}/events   a conversation's changes as server-sent events
    banner    GET  /api/banner                      the banner, in the reader's language
    export    GET  /api/export                      all chats of the owner, as a file
    people    the pages around an account: /sign-in, /sign-up, /account, …
    stop      POST /api/requests/{id}/stop
    reasoning GET  /api/requests/{id}/reasoning     the reasoning before an answer
    front     GET  / /page.css /*.js /favicon.png   the page before Streamlit draws it
    manifest  GET  /manifest.json /favicon.ico
    lost      GET  any other address: a 404 with a way home
    health    GET  /healthz /readyz /metrics
    guard     security headers, and the check that a request comes from our own site
    headers   the security headers themselves
    answers   JSON answers and refusals

Routes only translate HTTP: the work is done in `web/watch/` and `shared/`. May import everything in `web` except the
page, its scripts (`web/views/`) and the live answer.
"""

from starlette.routing import BaseRoute, Route

from web.api.banner import banner
from web.api.events import events
from web.api.export import export
from web.api.front import colours, early, icon, live, page, shell, stylesheet
from web.api.health import health, measurements, readiness
from web.api.lost import Lost
from web.api.manifest import favicon, manifest
from web.api.people.account import (
    account_page,
    acknowledge_readings,
    change_password,
    delete_account,
    end_all_sessions,
    end_session,
)
from web.api.people.factor import begin_factor, confirm_factor, factor_page, renew_codes, switch_factor_off
from web.api.people.forgotten import forgotten, forgotten_page
from web.api.people.guest import guest_chats_page, take_over_guest_chats
from web.api.people.guest_link import keep_page, kept_page, make_link, open_kept, revoke_link
from web.api.people.openid import begin_openid, end_openid, finish_openid
from web.api.people.password import new_password, new_password_page
from web.api.people.record import record_file, record_page
from web.api.people.second_step import code_page, enrol, enrol_page, enter_code
from web.api.people.sign_in import sign_in, sign_in_page, sign_out
from web.api.people.sign_up import sign_up, sign_up_page
from web.api.people.usage import everyones_usage_file, everyones_usage_page, usage_page
from web.api.reasoning import reasoning
from web.api.stop import stop


def make_routes() -> list[BaseRoute]:
    """Return every route of ours; `Lost` comes last."""
    return [
        Route("/api/conversations/{conversation_id}/events", events, methods=["GET"]),
        Route("/api/requests/{request_id}/stop", stop, methods=["POST"]),
        Route("/api/requests/{request_id}/reasoning", reasoning, methods=["GET"]),
        Route("/api/banner", banner, methods=["GET"]),
        Route("/api/export", export, methods=["GET"]),
        Route("/", page, methods=["GET"]),
        Route("/page.css", stylesheet, methods=["GET"]),
        Route("/shell.js", shell, methods=["GET"]),
        Route("/early.js", early, methods=["GET"]),
        Route("/live.js", live, methods=["GET"]),
        Route("/colours.js", colours, methods=["GET"]),
        Route("/favicon.png", icon, methods=["GET"]),
        Route("/favicon.ico", favicon, methods=["GET"]),
        Route("/manifest.json", manifest, methods=["GET"]),
        Route("/healthz", health, methods=["GET"]),
        Route("/readyz", readiness, methods=["GET"]),
        Route("/metrics", measurements, methods=["GET"]),
        *_people(),
        Lost(),
    ]


def _people() -> list[Route]:
    """Return the routes of the pages around an account."""
    return [
        Route("/sign-in", sign_in_page, methods=["GET"]),
        Route("/sign-in", sign_in, methods=["POST"]),
        Route("/sign-in/code", code_page, methods=["GET"]),
        Route("/sign-in/code", enter_code, methods=["POST"]),
        Route("/sign-in/enrol", enrol_page, methods=["GET"]),
        Route("/sign-in/enrol", enrol, methods=["POST"]),
        Route("/sign-out", sign_out, methods=["POST"]),
        Route("/sign-up", sign_up_page, methods=["GET"]),
        Route("/sign-up", sign_up, methods=["POST"]),
        Route("/new-password", new_password_page, methods=["GET"]),
        Route("/new-password", new_password, methods=["POST"]),
        Route("/forgotten", forgotten_page, methods=["GET"]),
        Route("/forgotten", forgotten, methods=["POST"]),
        Route("/account", account_page, methods=["GET"]),
        Route("/account/password", change_password, methods=["POST"]),
        Route("/account/factor", factor_page, methods=["GET"]),
        Route("/account/factor/begin", begin_factor, methods=["POST"]),
        Route("/account/factor/confirm", confirm_factor, methods=["POST"]),
        Route("/account/factor/codes", renew_codes, methods=["POST"]),
        Route("/account/factor/off", switch_factor_off, methods=["POST"]),
        Route("/account/delete", delete_account, methods=["POST"]),
        Route("/account/end", end_session, methods=["POST"]),
        Route("/account/end-all", end_all_sessions, methods=["POST"]),
        Route("/usage", usage_page, methods=["GET"]),
        Route("/usage/everyone", everyones_usage_page, methods=["GET"]),
        Route("/usage/everyone.csv", everyones_usage_file, methods=["GET"]),
        Route("/openid/begin", begin_openid, methods=["GET"]),
        Route("/openid/callback", finish_openid, methods=["GET"]),
        Route("/openid/logout", end_openid, methods=["POST"]),
        Route("/account/readings", acknowledge_readings, methods=["POST"]),
        Route("/audit", record_page, methods=["GET"]),
        Route("/audit/export", record_file, methods=["GET"]),
        Route("/guest-chats", guest_chats_page, methods=["GET"]),
        Route("/guest-chats", take_over_guest_chats, methods=["POST"]),
        Route("/keep", keep_page, methods=["GET"]),
        Route("/keep", make_link, methods=["POST"]),
        Route("/keep/end", revoke_link, methods=["POST"]),
        Route("/kept", kept_page, methods=["GET"]),
        Route("/kept", open_kept, methods=["POST"]),
    ]
