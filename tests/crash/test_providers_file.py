"""providers.toml changes while a real worker answers: no restart, and no answer is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from shared.fleet import Fleet, fleet
from shared.postgres.database import make_engine
from shared.tables import Status
from tests.crash.person import Person, full_text
from tests.stack import CALM, Stack, wait_until

LONG = "[[sim: tokens=60 pace=10 first=0]] Tell me."
SHORT = "[[sim: tokens=5 pace=50 first=0]] Tell me."


class ProvidersFile:
    """The file of a stack, with the simulator behind each provider."""

    def __init__(self, stack: Stack, url: str) -> None:
        self.path, self._url = stack.folder / "providers.toml", url
        self.path.with_name("gateway.key").write_text("sk-gateway\n")
        self.path.with_name("gateway.key").chmod(0o600)

    def write(self, **lines_of: str) -> None:
        tables = [
            f'[providers.{name}]\nkind = "openai"\naddress = "{self._url}/v1"\nkey_file = "gateway.key"\n{lines}\n'
            for name, lines in lines_of.items()
        ]
        new = self.path.with_suffix(".new")
        new.write_text("\n".join(tables))
        new.replace(self.path)


@pytest.fixture
def providers(own_stack: Stack) -> ProvidersFile:
    """A stack whose worker reads one provider, `one`, from the file."""
    simulator = own_stack.start_simulator()
    made = ProvidersFile(own_stack, simulator.url)
    made.write(one='models = ["simulator"]\ntitle = "First"')
    own_stack.configure(**CALM, providers_file=made.path, simulator_url="", broker_silence_seconds=600)
    own_stack.start_worker()
    return made


def names(found: Fleet) -> list[str]:
    return [model.name for model in found.models]


def lane(engine: Engine, name: str) -> Any:
    with engine.connect() as connection:
        return connection.execute(
            text("SELECT most_running FROM lane WHERE name = :name"), {"name": name}
        ).one_or_none()


def test_new_provider_answers_without_a_restart(own_stack: Stack, providers: ProvidersFile) -> None:
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as alice:
        running = alice.ask(LONG, model="one/simulator")
        alice.wait_text(running)
        # The first one goes while it answers; a second one with a limit comes.
        providers.write(two='models = ["simulator"]\ntitle = "Second"\nin_flight = 3')
        wait_until(lambda: names(fleet(engine)) == ["two/simulator"], seconds=20, what="the new offers")
        assert fleet(engine).models[0].provider == "Second"
        # Redis is never away here, so only a consumer of the new lane can take this.
        asked = alice.ask(SHORT, model="two/simulator")
        assert Status(alice.wait_end(asked).status) is Status.SUCCEEDED
        assert lane(engine, "two").most_running == 3
        assert Status(alice.wait_end(running, seconds=60).status) is Status.SUCCEEDED
        assert alice.answers(running) == [full_text(LONG)]
        assert alice.row(running).attempt == 1
    engine.dispose()


def test_bad_file_changes_nothing(own_stack: Stack, providers: ProvidersFile) -> None:
    engine = make_engine(own_stack.settings, name="test")
    with Person(own_stack, engine) as alice:
        providers.write(one='models = ["simulator"]\nkye = "x"')
        wait_until(lambda: fleet(engine).absent, seconds=20, what="the worker tells the mistake")
        assert [each.problem for each in fleet(engine).absent] == ["bad_file"]
        assert names(fleet(engine)) == ["one/simulator"]
        asked = alice.ask(SHORT, model="one/simulator")
        assert Status(alice.wait_end(asked).status) is Status.SUCCEEDED
        providers.write(one='models = ["simulator", "other"]')
        wait_until(lambda: len(names(fleet(engine))) == 2, seconds=20, what="the corrected file")
        assert fleet(engine).absent == ()
    engine.dispose()


def test_worker_starts_beside_a_bad_file(own_stack: Stack, tmp_path: Path) -> None:
    """A worker with a bad file at its start serves the environment's providers."""
    bad = tmp_path / "providers.toml"
    bad.write_text("[providers.a\n")
    own_stack.start_simulator()
    own_stack.start_worker(providers_file=bad)
    engine = make_engine(own_stack.settings, name="test")
    assert names(fleet(engine)) == ["demo/simulator"]
    assert [each.problem for each in fleet(engine).absent] == ["bad_file"]
    engine.dispose()
