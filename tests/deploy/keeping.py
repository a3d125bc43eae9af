"""The backup step: data is lost and restored with compose's own containers."""

from __future__ import annotations

import re

from tests.deploy.looking import fetch
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
