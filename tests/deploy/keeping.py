"""What the container for backups does: data is lost and restored, and the first account is made."""

from __future__ import annotations

import re

from playwright.sync_api import expect

from tests.deploy.looking import fetch
from tests.deploy.person import COMPOSER, SECONDS, person
from tests.deploy.project import ComposeProject

COUNTS = (
    "SELECT (SELECT count(*) FROM message), (SELECT count(*) FROM chat_request), (SELECT count(*) FROM conversation)"
)
LOSE = "TRUNCATE conversation, message, chat_request, request_attempt CASCADE"


def is_backed_up(project: ComposeProject) -> str:
    """Back up, run a drill, lose everything and restore it, while web and worker run."""
    project.compose("build", "backup", seconds=900)
    before = project.rows(COUNTS)
    assert not before[0].startswith("0|"), "there is something to lose"
    run(project, "backup", "backup")
    drill = run(project, "restore-drill", "restore-drill")
    metrics = project.compose(
        "run", "--rm", "-T", "--no-deps", "--entrypoint", "sh", "backup", "-c", "cat /var/lib/naru/metrics/*.prom"
    )
    for name in ("naru_backup_last_success_timestamp_seconds", "naru_restore_drill_last_success_timestamp_seconds"):
        assert re.search(rf"^{name} 1[.\d]+e?[+\d]*$", metrics, re.MULTILINE), metrics
    project.rows(LOSE)
    assert project.rows(COUNTS) == ["0|0|0"]
    run(project, "backup", "restore", "newest")
    assert project.rows(COUNTS) == before
    project.until(lambda: fetch(project, "/")[0] == 200, seconds=60, what="the page is back")
    return f"{before[0]} messages, requests, conversations lost and restored; drill: {drill.strip().splitlines()[-1]}"


def run(project: ComposeProject, service: str, *words: str) -> str:
    """Run a command in a new container of the service and return its output."""
    return project.compose("run", "--rm", "-T", "--no-deps", service, *words, seconds=600)


def asks_for_accounts(project: ComposeProject) -> str:
    """Run web as compose does by itself, and follow a printed invitation to an answer; then let guests in again."""
    guests = {name: project.environ[name] for name in ("NARU_AUTH", "NARU_OPEN_TO_ANYONE")}
    project.environ |= dict.fromkeys(guests, "")
    project.compose("up", "-d", "--no-deps", "web")
    project.await_healthy("web", 1)
    found = re.search(r"^/sign-up\?invitation=\S+$", run(project, "backup", "people", "invite"), re.MULTILINE)
    assert found is not None
    with person(project.url, picture=project.folder / "account.png") as someone:
        someone.page.goto(project.url)
        expect(someone.page).to_have_url(f"{project.url}/sign-in")
        someone.page.goto(f"{project.url}{found[0]}")
        someone.page.locator("#email").fill("ada@example.org")
        someone.page.locator("#password").fill("correct horse battery")
        someone.page.locator("button[type=submit]").click()
        expect(someone.page.get_by_test_id(COMPOSER)).to_be_visible(timeout=60 * SECONDS)
        someone.ask("[[sim: tokens=5]] What is a ferry?")
        someone.sees_answers(1)
        names = [each["name"] for each in someone.context.cookies() if "session" in each["name"]]
        assert len(names) == 1, names
        assert names[0].startswith("__Host-naru_session_"), names
    project.environ |= guests
    project.compose("up", "-d", "--no-deps", "web")
    project.await_healthy("web", 1)
    return f"the first account is an {project.rows('SELECT role FROM person')[0]}'s"
