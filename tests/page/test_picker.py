"""The model picker in Chromium: providers, titles, search, the last choice, and why there is no model."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from playwright.sync_api import Browser, Locator, expect
from sqlalchemy import Engine, text

from shared.fleet import AbsentProvider, Member, Model, register
from shared.operating import shown_models
from shared.postgres.database import make_engine, transaction
from tests.page.person import Person, visitor
from tests.patience import patient_ms
from tests.stack import Stack

pytestmark = pytest.mark.browser

MANY = tuple(
    Model(name=f"gateway/org/model-{n}", demo=False, title=f"Model {n}", provider="Our gateway") for n in range(1_000)
)
FEW = (
    Model(name="openai/gpt-6", demo=False, title="GPT-6", provider="OpenAI"),
    Model(name="gateway/gpt-6", demo=False, title="GPT-6", provider="Our gateway"),
    Model(name="old/llama", demo=False),
)


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack."""
    return module_stack


@pytest.fixture(scope="module")
def engine(stack: Stack) -> Engine:
    """An engine on the stack's database."""
    return make_engine(stack.settings, name="test")


@pytest.fixture(scope="module")
def url(stack: Stack) -> str:
    """The address of a page for everybody."""
    return stack.start_web().url


@pytest.fixture(autouse=True)
def _empty(engine: Engine) -> None:
    with transaction(engine) as connection:
        connection.execute(text("TRUNCATE worker, shown_model, conversation CASCADE"))


@pytest.fixture
def person(browser: Browser, url: str) -> Iterator[Person]:
    """Somebody in the browser."""
    with visitor(browser, url) as found:
        yield found
        assert found.errors == []


def offer(engine: Engine, *models: Model, absent: tuple[AbsentProvider, ...] = ()) -> None:
    """Register a worker that offers these models, and none that answers."""
    member = Member(worker_id=uuid4(), host="h", pid=1, version="0", slots=1, models=models, absent=absent)
    register(engine, member, lease_seconds=900)


def picker(person: Person) -> Locator:
    return person.page.locator(".st-key-model input")


def options(person: Person) -> Locator:
    return person.page.get_by_role("option")


def test_same_model_of_two_providers_is_told_apart(person: Person, engine: Engine) -> None:
    offer(engine, *FEW)
    person.open()
    expect(picker(person)).to_have_value("GPT-6 · OpenAI", timeout=patient_ms(10))
    picker(person).click()
    expect(options(person)).to_have_text(["GPT-6 · OpenAI", "GPT-6 · Our gateway", "llama · old"])


def test_thousand_models_can_be_searched_and_the_choice_is_kept(person: Person, engine: Engine) -> None:
    offer(engine, *FEW, *MANY)
    person.open()
    expect(picker(person)).to_have_value("GPT-6 · OpenAI", timeout=patient_ms(10))
    picker(person).click()
    picker(person).fill("Model 777")
    expect(options(person).first).to_have_text("Model 777 · Our gateway")
    options(person).first.click()
    expect(picker(person)).to_have_value("Model 777 · Our gateway")
    person.ask("Hello")
    expect(person.questions).to_have_count(1, timeout=patient_ms(10))
    with engine.connect() as connection:
        asked = connection.execute(text("SELECT model FROM chat_request")).scalar_one()
    assert asked == "gateway/org/model-777"
    person.page.goto(f"{person.url}/")
    expect(picker(person)).to_have_value("Model 777 · Our gateway", timeout=patient_ms(10))


def test_hidden_model_stays_where_it_began(person: Person, engine: Engine) -> None:
    offer(engine, *FEW)
    person.open()
    person.ask("Hello")
    expect(person.questions).to_have_count(1, timeout=patient_ms(10))
    shown_models.hide(engine, ["openai/gpt-6"])
    shown_models.order(engine, ["old/llama"])
    person.page.reload()
    expect(picker(person)).to_have_value("GPT-6 · OpenAI", timeout=patient_ms(10))
    person.page.goto(f"{person.url}/")
    expect(picker(person)).to_have_value("llama · old", timeout=patient_ms(10))
    picker(person).click()
    expect(options(person)).to_have_text(["llama · old", "GPT-6 · Our gateway"])


@pytest.mark.parametrize(
    ("locale", "sentence"),
    [("en-US", "An administrator can show one again"), ("ko-KR", "모든 모델을 숨겨 선택할 수 있는 모델이 없습니다")],
)
def test_page_says_that_all_models_are_hidden(
    browser: Browser, url: str, engine: Engine, locale: str, sentence: str
) -> None:
    offer(engine, *FEW)
    shown_models.hide(engine, [model.name for model in FEW])
    with visitor(browser, url, locale=locale) as person:
        person.open()
        line = person.page.locator(".naru-demo-line")
        expect(line).to_contain_text(sentence, timeout=patient_ms(10))
        expect(line).to_contain_text("./naru providers show MODEL")
        expect(picker(person)).to_have_count(0)
        person.ask("Hello")
        notice = person.page.locator(".naru-notice")
        expect(notice).to_contain_text(sentence, timeout=patient_ms(10))
        expect(person.composer).to_have_value("Hello")
        with engine.connect() as connection:
            assert connection.execute(text("SELECT count(*) FROM chat_request")).scalar_one() == 0
        shown_models.show(engine, ["old/llama"])
        person.page.reload()
        expect(picker(person)).to_have_value("llama", timeout=patient_ms(10))
        person.ask("Hello")
        expect(person.questions).to_have_count(1, timeout=patient_ms(10))
    with engine.connect() as connection:
        assert connection.execute(text("SELECT model FROM chat_request")).scalar_one() == "old/llama"


def test_page_says_why_there_is_no_model(person: Person, engine: Engine) -> None:
    offer(engine, absent=(AbsentProvider(title="Our gateway", problem="no_list"),))
    person.open()
    line = person.page.locator(".naru-demo-line")
    expect(line).to_contain_text("No model is available now. The address of Our gateway has no list of models.")
