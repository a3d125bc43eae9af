"""A Prometheus with the product's configuration, and a test's addresses in place of compose's names.

The exporters are Debian's, where installed. test_live.py queries it.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from deploy.embedded import processes
from tests.monitoring.exporters import TEXT_FILES
from tests.monitoring.rulebook import MONITORING
from tests.stack import Process, Stack, free_port, get, start, wait_until

#: Debian's exporters by the job that scrapes each.
EXPORTERS = {
    "node": "prometheus-node-exporter",
    "postgres": "prometheus-postgres-exporter",
    "redis": "prometheus-redis-exporter",
}


@dataclass
class Watching:
    """The monitoring of a stack, which also ends it."""

    stack: Stack
    prometheus: str
    url: str = ""
    targets: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Return the folder of its files."""
        return self.stack.folder / "watching"

    def run(self, name: str, *argv: str, **environ: str) -> Process:
        """Start a program; the stack ends it."""
        command = processes.Command(name=name, argv=argv, environ={**self.stack.environ(), **environ})
        process = start(command, log=self.folder / f"{name}.log")
        self.stack.processes.append(process)
        return process

    def start_flower(self) -> None:
        """Start Flower below the path that it has in compose."""
        port = str(free_port())
        argv = (sys.executable, "-m", "celery", "-A", "workers.app:app", "flower")
        options = {"FLOWER_PORT": port, "FLOWER_ADDRESS": "127.0.0.1", "FLOWER_URL_PREFIX": "flower"}
        self.run("flower", *argv, **options, FLOWER_UNAUTHENTICATED_API="false")
        self.targets["flower"] = f"127.0.0.1:{port}"

    def start_exporters(self) -> None:
        """Start the installed exporters; node exporter gets files like those of backup and restore drill."""
        files = self.folder / "metrics"
        files.mkdir(parents=True)
        (files / "naru.prom").write_text("".join(f"{name} 1e9\n" for name in sorted(TEXT_FILES)))
        servers = self.stack.servers
        options: dict[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
            "node": ((f"--collector.textfile.directory={files}",), {}),
            "postgres": ((), {"DATA_SOURCE_NAME": f"{servers.postgres_server.url}?sslmode=disable"}),
            "redis": ((), {"REDIS_ADDR": self.stack.redis_url}),
        }
        for job, program in EXPORTERS.items():
            if shutil.which(program) is None:
                continue
            address = f"127.0.0.1:{free_port()}"
            words, environ = options[job]
            self.run(job, program, f"--web.listen-address={address}", *words, **environ)
            self.targets[job] = address

    def start_prometheus(self) -> None:
        """Start Prometheus, which scrapes and evaluates the rules every second."""
        address = f"127.0.0.1:{free_port()}"
        self.targets["prometheus"] = address
        path = self.folder / "prometheus.yml"
        path.write_text(self.config())
        self.run(
            "prometheus",
            self.prometheus,
            f"--config.file={path}",
            f"--storage.tsdb.path={self.folder / 'series'}",
            f"--web.listen-address={address}",
            "--log.level=warn",
        )
        self.url = f"http://{address}"
        wait_until(lambda: get(f"{self.url}/-/ready")[0] == 200, seconds=20, what="Prometheus is ready")

    def config(self) -> str:
        """Return the product's file with other addresses, shorter times and no Alertmanager."""
        head, *jobs = re.split(r"^(?=  - job_name: )", (MONITORING / "prometheus.yml").read_text(), flags=re.MULTILINE)
        head = re.sub(r"^alerting:\n(  .*\n)+", "", head, flags=re.MULTILINE)
        head = head.replace("rules/*.yml", str(MONITORING / "rules" / "*.yml"))
        head = re.sub(r"(scrape_interval|scrape_timeout|evaluation_interval): \d+s", r"\1: 1s", head)
        return head + "".join(self._with_targets(job) for job in jobs)

    def _with_targets(self, job: str) -> str:
        found = re.match(r"  - job_name: (\S+)", job)
        assert found
        target = self.targets.get(found[1])
        there = f"    static_configs: [{{targets: [{target or ''}]}}]\n"
        changed, number = re.subn(
            r"^    (dns_sd|file_sd|static)_configs:\n(      .*\n)+", there, job, flags=re.MULTILINE
        )
        assert number == 1, found[1]
        return changed

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """Return an expression's current samples; raise AssertionError if Prometheus cannot read it."""
        status, body = get(f"{self.url}/api/v1/query?query={quote(expression.replace('$__rate_interval', '1m'))}")
        assert status == 200, f"{expression}: {body}"
        found: list[dict[str, Any]] = json.loads(body)["data"]["result"]
        return found

    def rules(self) -> list[dict[str, Any]]:
        """Return each rule as Prometheus reports it, with the health of its last evaluation."""
        groups = json.loads(get(f"{self.url}/api/v1/rules")[1])["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]
