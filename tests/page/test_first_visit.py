"""A first visit in Chromium: the files it loads, and the skeleton, which accepts text before Streamlit starts."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Locator, Page, Route, expect

from deploy.embedded.processes import ROOT
from tests.house.icons import listed, named_in
from tests.page.network import Load, Network
from tests.page.person import COMPOSER, Person, newcomer, visitor
from tests.stack import Stack, wait_until
from web.shell import chunks

pytestmark = pytest.mark.browser
MOST_BYTES = 1_600_000
STREAMLIT = "**/static/js/index.*.js"
#: The script that is loaded last: it typesets formulas.
LAST = "rehype-katex"
#: Turns on the browser's data saver, which Playwright cannot do.
SAVE_DATA = "Object.defineProperty(navigator.connection, 'saveData', { value: true })"
#: How long the page waits without a keypress (skeleton.js).
REST_MS = 1500
COMPOSER_BOX = f"[data-testid={COMPOSER}]"


@pytest.fixture(scope="module")
def stack(module_stack: Stack) -> Stack:
    """Share one stack: each visitor has their own browser."""
    return module_stack


@pytest.fixture(scope="module")
def url(stack: Stack) -> str:
    """The page's address."""
    stack.start_simulator()
    stack.start_worker()
    return stack.start_web().url


@pytest.fixture
def person(browser: Browser, url: str) -> Iterator[Person]:
    """A user who has not opened the page yet."""
    with newcomer(browser, url) as found:
        yield found
        assert found.errors == []


@pytest.fixture
def first(browser: Browser, url: str) -> Iterator[Person]:
    """A user whose browser has cached nothing of the page."""
    with visitor(browser, url) as found:
        yield found
        assert found.errors == []


class Gate:
    """A gate that holds a file back, by default Streamlit's main script, as a slow network would."""

    def __init__(self, page: Page, files: str = STREAMLIT) -> None:
        self._held: list[Route] = []
        self._is_open = False
        page.route(files, self._asked)

    def _asked(self, route: Route) -> None:
        if self._is_open:
            route.continue_()
        else:
            self._held.append(route)

    def open(self) -> None:
        """Let the held requests through, and all later ones."""
        self._is_open = True
        while self._held:
            self._held.pop().continue_()


def skeleton_of(person: Person, address: str = "/") -> Gate:
    """Open the page without Streamlit and wait for the skeleton."""
    gate = Gate(person.page)
    person.page.goto(person.url + address, wait_until="commit")
    expect(field(person)).to_be_visible()
    return gate


def field(person: Person) -> Locator:
    """Locate the skeleton's text field."""
    return person.page.locator("#naru-skeleton textarea")


def open_and_rest(person: Person) -> Network:
    """Open the page and wait until the late files are loaded."""
    network = Network(person.page)
    person.open()
    wait_until(lambda: _pumped(person.page) and any(LAST in load.url for load in network.loads), seconds=60)
    person.page.wait_for_load_state("networkidle")
    return network


def _pumped(page: Page) -> bool:
    """Let Playwright deliver events, which it does only during calls."""
    page.wait_for_timeout(50)
    return True


@pytest.mark.parametrize("locale", ["en-US", "ko-KR"])
def test_first_visit_is_small_and_second_loads_nothing(browser: Browser, url: str, locale: str) -> None:
    with visitor(browser, url, locale=locale) as person:
        first = open_and_rest(person)
        loaded = sorted(first.loaded, key=lambda load: -load.bytes)
        assert first.bytes <= MOST_BYTES, loaded[:10]
        assert not [load.url for load in loaded if "SourceSans" in load.url or "MaterialSymbols-" in load.url]
        person.page.close()
        second = Person(person_page := person.page.context.new_page(), url)
        again = Network(person_page)
        second.open()
        person_page.wait_for_load_state("networkidle")
        assert again.bytes < 50_000
        kinds = {load.kind for load in again.loaded}
        assert not kinds & {"Script", "Stylesheet", "Font"}, again.loaded


def test_first_page_files_are_requested_at_once(first: Person) -> None:
    """A file that only its importer names costs another round trip."""
    network = Network(first.page)
    gate = skeleton_of(first)
    wanted = {path.rsplit("/", 1)[-1] for path in chunks.first_page()}
    wait_until(lambda: _pumped(first.page) and wanted <= names(network.loaded), seconds=30)
    before = names(network.loads)
    gate.open()
    first.composer.wait_for()
    later = names(network.loads) - before
    assert not later & {path.rsplit("/", 1)[-1] for path in chunks.late()}, "late files wait for the composer"
    assert {name.partition(".")[0] for name in later} <= {"wavesurfer", "record"}, (
        "web/shell/chunks.py must name all other files"
    )


def names(loads: list[Load]) -> set[str]:
    """Return the file names of Streamlit's scripts among the loads."""
    return {load.url.rsplit("/", 1)[-1] for load in loads if "/static/js/" in load.url}


def test_data_saver_loads_nothing_in_advance(first: Person) -> None:
    first.page.context.add_init_script(SAVE_DATA)
    network = Network(first.page)
    first.open()
    first.page.wait_for_timeout(2 * REST_MS)  # the page loads them at rest
    assert not names(network.loads) & {path.rsplit("/", 1)[-1] for path in chunks.late()}
    first.ask("Show me code and a table")
    first.wait_for_end()
    wait_until(
        lambda: _pumped(first.page) and any("SyntaxHighlighter" in load.url for load in network.loads), seconds=30
    )


def test_code_is_highlighted_by_preloaded_files(first: Person) -> None:
    open_and_rest(first)
    network = Network(first.page)
    first.ask("Show me code and a table")
    first.wait_for_end()
    expect(first.answers.locator("code").first).to_be_visible()
    assert not [load.url for load in network.loads if "SyntaxHighlighter" in load.url]


def test_text_typed_before_streamlit_moves_to_the_composer(person: Person) -> None:
    gate = skeleton_of(person)
    assert field(person).evaluate("field => document.activeElement === field")
    person.page.keyboard.type("half a thuoght")
    for _ in range(5):
        person.page.keyboard.press("ArrowLeft")
    gate.open()
    expect(person.composer).to_have_value("half a thuoght")
    expect(person.page.locator("#naru-skeleton")).to_have_count(0)
    expect(person.composer).to_be_focused()
    person.page.keyboard.type("!")
    expect(person.composer).to_have_value("half a th!uoght")
    person.page.reload()
    expect(person.composer).to_have_value("half a th!uoght")


def test_enter_before_streamlit_starts_sends_afterwards(person: Person) -> None:
    gate = skeleton_of(person)
    person.page.keyboard.type("Hello")
    person.page.keyboard.press("Shift+Enter")
    person.page.keyboard.type("there")
    person.page.keyboard.press("Enter")
    expect(field(person)).to_have_value("Hello\nthere")
    gate.open()
    expect(person.questions).to_have_count(1)
    expect(person.questions).to_contain_text("there")
    person.wait_for_end()
    expect(person.composer).to_have_value("")
    person.page.reload()
    person.wait_for_end()
    expect(person.questions).to_have_count(1)


def test_text_survives_a_reload_of_the_skeleton(person: Person) -> None:
    skeleton_of(person)
    person.page.keyboard.type("not lost")
    person.page.reload(wait_until="commit")
    expect(field(person)).to_have_value("not lost")


def test_composition_survives_the_end_of_the_skeleton(person: Person) -> None:
    gate = skeleton_of(person)
    session = person.page.context.new_cdp_session(person.page)
    session.send("Input.imeSetComposition", {"text": "하", "selectionStart": 1, "selectionEnd": 1})
    gate.open()
    person.composer.wait_for()
    session.send("Input.imeSetComposition", {"text": "한", "selectionStart": 1, "selectionEnd": 1})
    expect(field(person)).to_have_value("한")
    session.send("Input.insertText", {"text": "한"})
    expect(person.composer).to_have_value("한")
    expect(person.page.locator("#naru-skeleton")).to_have_count(0)


@pytest.mark.parametrize("widths", [(390, 700), (900, 1280, 1920)], ids=str)
def test_composer_replaces_the_skeletons_in_place(browser: Browser, url: str, widths: tuple[int, ...]) -> None:
    """The sidebar starts closed at the first widths, and open at the others."""
    with visitor(browser, url, viewport={"width": widths[0], "height": 800}) as person:
        gate = skeleton_of(person)
        before = {
            width: boxes(person, width, "#naru-skeleton .composer", "#naru-skeleton textarea") for width in widths
        }
        person.page.set_viewport_size({"width": widths[0], "height": 800})
        gate.open()
        person.composer.wait_for()
        expect(person.page.locator("#naru-skeleton")).to_have_count(0)
        for width in widths:
            wait_until(
                lambda width=width: boxes(person, width, ".st-key-composer-box", COMPOSER_BOX) == before[width],  # type: ignore[misc]
                what=f"the composer is in place at {width} px",
            )


def boxes(person: Person, width: int, *places: str) -> list[object]:
    """Return the elements' bounding boxes in a window of this width."""
    if person.page.viewport_size != {"width": width, "height": 800}:
        person.page.set_viewport_size({"width": width, "height": 800})
    return [person.page.locator(place).bounding_box() for place in places]


def test_skeleton_stays_until_the_page_has_settled(person: Person) -> None:
    gate = Gate(person.page, "**/static/js/Selectbox.*.js")
    person.page.goto(person.url, wait_until="commit")
    person.composer.wait_for()
    person.page.wait_for_timeout(500)
    expect(field(person)).to_be_visible()
    gate.open()
    expect(person.page.locator("#naru-skeleton")).to_have_count(0)
    expect(person.page.get_by_test_id("stSkeleton")).to_have_count(0)


@pytest.mark.parametrize(("scheme", "stored"), [("light", None), ("dark", None), ("light", "Dark"), ("dark", "Light")])
def test_skeleton_has_the_colours_of_the_page(browser: Browser, url: str, scheme: str, stored: str | None) -> None:
    with newcomer(browser, url, color_scheme=scheme) as person:
        if stored:
            person.page.goto(f"{url}/healthz")
            person.page.evaluate("name => localStorage.setItem('stActiveTheme-/-v2', JSON.stringify(name))", stored)
        gate = skeleton_of(person)
        colour = "node => getComputedStyle(node).backgroundColor"
        before = [person.page.locator(each).evaluate(colour) for each in ("#naru-skeleton", "#naru-skeleton .side")]
        gate.open()
        person.composer.wait_for()
        after = [person.page.get_by_test_id(each).evaluate(colour) for each in ("stApp", "stSidebar")]
        assert before == after


def test_page_without_a_composer_loses_its_skeleton(person: Person) -> None:
    person.open()
    ours = next(each for each in person.page.context.cookies() if each["name"].startswith("naru_browser_"))
    # With two cookies of one name, the page shows only a notice.
    person.page.context.add_cookies([{"name": ours["name"], "value": "x", "domain": "127.0.0.1", "path": "/_stcore"}])
    person.page.reload()
    expect(person.page.locator(".naru-notice")).to_be_visible()
    expect(person.page.locator("#naru-skeleton")).to_have_count(0)
    expect(person.page.get_by_test_id(COMPOSER)).to_have_count(0)


def test_icons_are_drawn_from_the_small_font(person: Person) -> None:
    person.open()
    icons = person.page.get_by_test_id("stIconMaterial")
    expect(person.page.locator(".st-key-empty").get_by_test_id("stIconMaterial")).to_have_count(4)
    assert person.page.evaluate(
        "document.fonts.ready.then(() => document.fonts.check('16px \"Material Symbols Rounded\"'))"
    )
    for icon in icons.all():
        box = icon.bounding_box()
        if box is not None:  # without a ligature in the font, a name is as wide as its letters
            assert box["width"] <= box["height"] * 1.3, icon.text_content()


def test_every_icon_is_in_the_small_font() -> None:
    used = named_in(chunks.STREAMLIT / "static" / "js", "index.*.js", "DynamicIcon.*.js")
    used |= named_in(ROOT / "web", "*.py", "*.js")
    assert used <= listed(), "add the name to web/static/fonts/icons/names.txt and run python -m tests.house.icons"
    assert all(re.fullmatch("[a-z0-9_]+", name) for name in listed())
