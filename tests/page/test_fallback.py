"""A model that is away: the bubble names the one that answers instead, and the answer says why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.page.person import Person, visitor
from tests.patience import patient_ms
from tests.stack import Stack

pytestmark = pytest.mark.browser
ASKED = "[[sim: tokens=20 pace=20 first=3]] Tell me."
SAYS = {
    "en-US": (
        "gpt-6 is not available. simulator answers instead · Thinking…",
        "simulator answered, because the quota of gpt-6 was used up",
    ),
    "ko-KR": (
        "gpt-6 모델을 사용할 수 없어 simulator 모델이 대신 답변합니다 · 생각하는 중…",
        "gpt-6 모델의 사용 한도가 소진되어 simulator 모델이 대신 답변했습니다",
    ),
}


@pytest.fixture(scope="module")
def url(module_stack: Stack) -> str:
    """Start the processes once for both languages. The simulator without an address of its own has no quota left."""
    away = module_stack.start_simulator("--script", "fault=quota")
    module_stack.start_simulator()
    module_stack.configure(
        openai_api_key="sk-test",
        openai_base_url=f"{away.url}/v1",
        models="openai/gpt-6,demo/simulator",
        fallback="openai/gpt-6 > demo/simulator",
    )
    module_stack.start_worker()
    return module_stack.start_web().url


@pytest.fixture(params=list(SAYS))
def person(browser: Browser, url: str, request: pytest.FixtureRequest) -> Iterator[tuple[Person, str]]:
    """A person in each language."""
    with visitor(browser, url, locale=request.param) as found:
        yield found.open(), request.param


def test_page_says_who_answers_and_why(person: tuple[Person, str]) -> None:
    reader, locale = person
    bubble, remark = SAYS[locale]
    reader.ask(ASKED)
    expect(reader.block.locator(".naru-words")).to_have_text(bubble, timeout=patient_ms(15))
    reader.wait_for_end()
    answer = reader.answers.last
    expect(answer.locator(".naru-remark")).to_have_text(remark)
    expect(answer.locator(".naru-meta")).to_contain_text("simulator")
    # The picker keeps the person's choice.
    expect(reader.page.get_by_test_id("stSelectbox").first.locator("input")).to_have_value("gpt-6 · OpenAI")
    assert reader.errors == []
