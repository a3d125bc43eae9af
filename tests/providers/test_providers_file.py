"""providers.toml: what it may say, and a sentence with line and key for every mistake."""

from __future__ import annotations

import time
import tomllib
from pathlib import Path

import pytest

from shared.errors import SettingsError
from shared.lifecycle.rates import Rate
from shared.settings import Settings
from shared.tuning import NO_TUNING, Tuning
from tests.patience import patient
from workers.providers.file import KINDS, key_variables, read_providers
from workers.providers.instances import Instance, of_environment, together
from workers.providers.lines import line_of

GOOD = """\
# Two servers.
[providers.gateway]
kind = "openai"
title = "Our gateway"
address = "https://gateway.example.org/v1/"
key_file = "gateway.key"
include = ["gpt-*",
           "claude-*"]
exclude = ["*-mini"]
in_flight = 4
requests_per_minute = 60
tokens_per_minute = 90_000

[providers.local]
kind = "ollama"
address = "http://127.0.0.1:11434"
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A good file, with its key file."""
    key = tmp_path / "gateway.key"
    key.write_text("secret-key\n")
    key.chmod(0o600)
    return write(tmp_path / "providers.toml", GOOD)


def write(path: Path, text: str, *, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def mistake(path: Path, text: str | None = None, **environ: str) -> str:
    if text is not None:
        write(path, text)
    with pytest.raises(SettingsError) as refused:
        read_providers(path, environ)
    found = str(refused.value)
    assert found.endswith(".")
    assert "\n" not in found
    return found.removeprefix(str(path))


def test_file_gives_its_instances(path: Path) -> None:
    gateway, local = read_providers(path, {}).instances
    assert gateway == Instance(
        name="gateway",
        vendor=KINDS["openai"],
        title="Our gateway",
        api_key="secret-key",
        address="https://gateway.example.org/v1",
        include=("gpt-*", "claude-*"),
        exclude=("*-mini",),
        in_flight=4,
        rate=Rate(requests=60, tokens=90_000),
        lists_models=True,
    )
    assert (local.title, local.vendor.name, local.api_key) == ("local", "ollama", "")
    assert "secret-key" not in repr(gateway)


def test_api_is_chat_completions_unless_it_says_responses(tmp_path: Path) -> None:
    path = tmp_path / "providers.toml"
    path.write_text(A + 'api = "responses"\n' + A.replace(".a]", ".b]") + 'api = "chat"\n' + A.replace(".a]", ".c]"))
    assert [each.has_responses for each in read_providers(path, {}).instances] == [True, False, False]


def test_patterns_choose_among_the_listed_models(path: Path) -> None:
    gateway = read_providers(path, {}).instances[0]
    assert [each for each in ("gpt-6", "gpt-6-mini", "llama", "claude-x") if gateway.takes(each)] == [
        "gpt-6",
        "claude-x",
    ]


def test_key_may_come_from_a_variable_or_the_file(path: Path) -> None:
    write(
        path, '[providers.a]\nkind = "openai"\nkey_variable = "GROQ_API_KEY"\n[providers.b]\nkind = "openai"\nkey = "k"'
    )
    assert [each.api_key for each in read_providers(path, {"GROQ_API_KEY": "g"}).instances] == ["g", "k"]
    assert key_variables(path) == {"GROQ_API_KEY"}


def test_empty_file_has_no_instance(path: Path) -> None:
    assert read_providers(write(path, "# nothing yet\n"), {}).instances == ()


B = '[providers.a]\nkind = "openai"\n'
A = '[providers.a]\nkind = "openai"\naddress = "http://x"\n'


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (A + 'kye = "k"', 4, "there is no key 'kye'. There are kind, address,"),
        (A + 'api = "batch"', 4, 'api is \'batch\'. It is "chat" or "responses"'),
        ("[providers.a]\nkind = 'ollama'\naddress = 'http://x'\napi = 'responses'", 4, 'needs kind = "openai"'),
        (A + "title = 3", 4, 'title is not a text. Write title = "…"'),
        (A + 'models = "gpt"', 4, "models is not a list"),
        (A + "models = [\n  1,\n]", 4, "models has '1', which is not a name"),
        (A + "models = ['a b']", 4, "'a b', which is not a name without spaces"),
        (A + "models = ['a']\ninclude = ['b']", 4, "Use either models, or include and exclude"),
        (A + "in_flight = 0", 4, "in_flight is not a whole number from 1 to 1,000,000"),
        (A + "in_flight = true", 4, "in_flight is not a whole number"),
        (B + 'api = "responses"\naddresses = ["http://x", "http://y"]', 3, "needs one key and one address"),
        (A + 'addresses = ["http://y"]', 3, "Use either address or addresses"),
        (A + 'key = "k"\nkey_files = ["a"]', 4, "Use either key or key_files"),
        (A + "key_files = []", 4, "key_files is not a list of 1 to 20 texts"),
        (A + "key_files = [1]", 4, "key_files is not a list of 1 to 20 texts"),
        (A + 'key_files = ["a", "a"]', 4, "key_files has an entry twice"),
        (B + 'addresses = ["http://x", "ftp://y"]', 3, "addresses has one that is"),
        (A + "requests_per_minute = 1.5", 4, "requests_per_minute is not a whole number from 1 to 1,000,000"),
        (A + "tokens_per_minute = -1", 4, "tokens_per_minute is not a whole number from 1 to 1,000,000,000"),
        (A + "fallback = ['b']", 4, "fallback is a table of its own"),
        (A + "temperature = 1", 4, 'temperature does not belong here. Write it below [defaults."a/*"]'),
        (A + "[defaults]\na = 1", 5, 'a is not provider/model. Write [defaults."a/*"] for all of its models'),
        (A + "[defaults.a]\ntemperature = 1", 4, 'a is not provider/model. Write [defaults."a/*"]'),
        (A + "[defaults]\n'a/x' = 1", 5, "there is no default. Write one of temperature, effort, instructions"),
        (A + "[defaults.'a/x']", 4, "there is no default. Write one of temperature, effort, instructions"),
        (A + "[defaults.'b/x']\ntemperature = 1", 4, "there is no provider 'b'. There are a"),
        (A + "[defaults.'x y']\ntemperature = 1", 4, "'x y' is not provider/model"),
        (A + "[defaults.'a/x']\nwarmth = 1", 5, "[defaults.\"a/x\"]: there is no key 'warmth'. There are temperature,"),
        (A + "[defaults.'a/x']\ntemperature = 2.1", 5, "temperature is not a number from 0 to 2"),
        (A + "[defaults.'a/x']\ntemperature = nan", 5, "temperature is not a number from 0 to 2"),
        (A + "[defaults.'a/x']\ntemperature = true", 5, "temperature is not a number from 0 to 2"),
        (A + "[defaults.'a/x']\n\neffort = ['low']", 6, "effort is not one of low, medium, high"),
        (A + "[defaults.'a/x']\ninstructions = 1", 5, "instructions is not a text of at most 8,000 characters"),
        (A + "[defaults.'a/x']\ninstructions = '" + "x" * 8_001 + "'", 5, "not a text of at most 8,000 characters"),
        (A + "[defaults.'a/x']\ninstructions = \"a\\u0000\"", 5, "instructions holds a control character"),
        (A + "".join(f"[defaults.'a/{n}']\n" for n in range(101)), 4, "there are 101 tables of defaults; the most is"),
        ("defaults = 1", 1, 'defaults is not a table. Write [defaults."provider/model"]'),
        (A + "key_file = 'none.key'", 4, "key_file names a file that cannot be read: No such file or directory"),
        (A + "key_variable = 'NOT_SET'", 4, "key_variable names a variable that is not set"),
        (A + 'key_file = "a\\u0000b"', 4, "key_file holds a character that cannot be printed"),
        (A + "key_file = '/dev/zero'", 4, "/dev/zero, which "),
        (A + "key = 'k'\nkey_file = 'x'", 5, "there are key and key_file. Use one of them"),
        (A + "key = 'two words'", 4, "key holds not a key: a key is printable ASCII without spaces"),
        (A + "ca_file = 'none.pem'", 4, "none.pem, which cannot be read"),
        (A + "ca_file = 'gateway.key'", 4, "gateway.key, which holds no certificate in PEM form"),
        (A + "title = '" + "x" * 61 + "'", 4, "title is not a text of at most 60 characters"),
        (A + "# again\n" + A, 5, "this table is there twice. Join both, or rename one"),
        (A + 'kind = "ollama"', 4, "this key is there twice"),
        (A + "title = ", 4, "Invalid value"),
        ("\n[providers.a]\nkind = 'vllm'", 3, "kind is unknown. It is openai, anthropic, ollama"),
        ("\n[providers.a]\ntitle = 'x'", 2, "kind is missing"),
        ("[providers.a]\nkind = 'openai'\naddress = 'example.org'", 3, "address is not a valid address. Write http"),
        ("[providers.a]\nkind = 'openai'", 1, "there is no key. Add key_file"),
        ("[providers.a]\nkind = 'anthropic'\naddress = 'http://x'", 1, "there is no key. Add key_file"),
        ("[providers.a]\nkind = 'ollama'", 1, "address is missing"),
        ("[providers.'A b']\nkind = 'openai'", 1, "'A b' is not a valid provider name"),
        ("[providers.demo]\nkind = 'openai'", 1, "'demo' is not a valid provider name"),
        ("[providers]\na = 1", 2, "a is not a table"),
        ("# x\nproviders = 1", 2, "providers is not a table"),
        ("[provider.a]\nkind = 'openai'", 1, "there is no 'provider' here. Each provider is a table [providers.NAME]"),
    ],
)
def test_mistake_names_line_and_key(path: Path, text: str, line: int, words: str) -> None:
    found = mistake(path, text)
    assert found.startswith(f", line {line}:")
    assert words in found


@pytest.mark.parametrize("key", ["gw7f3a9c0d1e2b4a", "gw7f3a9c0d1e2b4a" * 20])
@pytest.mark.parametrize("field", ["key_variable", "key_file", "kind"])
def test_key_at_the_wrong_place_is_not_quoted(path: Path, field: str, key: str) -> None:
    found = mistake(path, f'[providers.a]\n{field} = "{key}"\n' + ("" if field == "kind" else 'kind = "openai"\n'))
    assert found.startswith(", line 2: [providers.a]: " + field)
    assert "gw7f" not in found


def test_readable_key_files_are_refused(path: Path) -> None:
    (path.parent / "gateway.key").chmod(0o644)
    assert ", line 6: [providers.gateway]: key_file names" in mistake(path)
    assert "which other users can read. Run: chmod 600" in mistake(path)


def test_key_in_a_readable_file_is_refused(path: Path) -> None:
    write(path, A + "key = 'very-secret'", mode=0o644)
    assert "the file holds a key, and other users can read it. Run: chmod 600" in mistake(path)
    assert "very-secret" not in mistake(path)


def test_empty_key_file_is_refused(path: Path) -> None:
    write(path.parent / "gateway.key", "\n")
    assert "key_file holds no key" in mistake(path)


@pytest.mark.parametrize("text", [b"\xff\xfe", b"x" * 300_000])
def test_file_that_is_no_text_is_refused(path: Path, text: bytes) -> None:
    path.write_bytes(text)
    assert mistake(path)


def test_missing_file_is_refused(path: Path) -> None:
    path.unlink()
    assert mistake(path) == " cannot be read: No such file or directory."


def test_name_of_the_environment_may_not_be_taken_twice() -> None:
    mine = Instance(name="openai", vendor=KINDS["openai"], title="Mine")
    with pytest.raises(SettingsError, match="provider 'openai', and the environment sets OPENAI_API_KEY"):
        together(of_environment(Settings(openai_api_key="k")), [mine])


def test_ollama_of_the_file_replaces_the_automatic_one() -> None:
    mine = Instance(name="ollama", vendor=KINDS["ollama"], title="Mine", address="http://x")
    found = together(of_environment(Settings(simulator_url="http://s")), [mine])
    assert [(each.name, each.title) for each in found.values()] == [("ollama", "Mine"), ("demo", "the demo simulator")]


def test_line_in_a_long_file_is_found_at_once() -> None:
    names = "".join(f' "m{n}",\n' for n in range(8_000))
    text = f'[providers.a]\nkind = "openai"\nmodels = [\n{names}]\ntitel = "x"\n'
    began = time.process_time()
    assert line_of(text, ("providers", "a", "titel")) == 8_005
    assert time.process_time() - began < patient(1)


@pytest.mark.parametrize(
    ("text", "place", "line"),
    [
        ('a = """x\\""" ""\n[t]"""\nb = 1', ("b",), 3),
        ("a = '''x\n''''\n[t]\nb = 1", ("t", "b"), 4),
        ("a = [ # ]\n ']',\n]\nb = 1", ("b",), 4),
        ("[a]\nk = 1\n['b.c']\nk = 1", ("b.c", "k"), 4),
        ("[[a]]\nk = 1\n[b]\nk = 1", ("b", "k"), 4),
        ("a.b = 1\na.c = 1", ("a", "c"), 2),
        ("a = 1", ("b",), 1),
    ],
)
def test_line_is_found_behind_texts_and_brackets(text: str, place: tuple[str, ...], line: int) -> None:
    tomllib.loads(text)
    assert line_of(text, place) == line


def test_line_is_found_within_any_statement() -> None:
    text = 'a = """\nb = 1\n"""\n\n# b\nb = [\n  1,\n]\n[t]\nx.y = 2\r\nz = {k = 1}'
    places = [("a",), ("b",), ("t",), ("t", "x", "y"), ("t", "z", "k")]
    assert [line_of(text, place) for place in places] == [1, 6, 9, 10, 11]


def test_more_exact_table_gives_each_default(path: Path) -> None:
    write(
        path,
        A
        + '[defaults."a/gpt-6"]\ninstructions = ""\n'
        + '[defaults."a/gpt-6-*"]\ntemperature = 1\n'
        + '[defaults."a/gpt-*"]\ntemperature = 0\n'
        + '[defaults."a/*"]\ntemperature = 0.5\neffort = "low"\n'
        + 'instructions = """\nBe brief.\nAnswer in Korean.\n"""\n',
    )
    of, brief = read_providers(path, {}).defaults.of, "Be brief.\nAnswer in Korean."
    assert of("a/llama") == Tuning(temperature=0.5, effort="low", instructions=brief)
    assert of("a/gpt-6-mini") == Tuning(temperature=1.0, effort="low", instructions=brief)
    assert of("a/gpt-6") == Tuning(temperature=0.0, effort="low")
    assert of("b/llama") == NO_TUNING


def test_provider_of_the_environment_may_have_defaults(path: Path) -> None:
    write(path, '[defaults."openai/*"]\neffort = "high"')
    assert read_providers(path, {}, ("openai",)).defaults.of("openai/gpt-6") == Tuning(effort="high")


def test_lists_give_one_instance_with_its_others(path: Path) -> None:
    for name in ("one.key", "two.key"):
        key = path.with_name(name)
        key.write_text(f"secret-{name}\n")
        key.chmod(0o600)
    keys = 'key_files = ["one.key", "two.key"]'
    content = read_providers(write(path, f"{A}{keys}\n"), {})
    (several,) = content.instances
    assert [(each.address, each.api_key) for each in several.members] == [
        ("http://x", "secret-one.key"),
        ("http://x", "secret-two.key"),
    ]
    assert [each.name for each in content.files] == ["one.key", "two.key"]
    (pairs,) = read_providers(write(path, f'{B}{keys}\naddresses = ["http://x", "http://y"]\n'), {}).instances
    assert [(each.address, each.api_key) for each in pairs.members] == [
        ("http://x", "secret-one.key"),
        ("http://y", "secret-two.key"),
    ]
    assert "secret" not in repr(pairs)
    wrong = mistake(path, f'{B}{keys}\naddresses = ["http://x", "http://y", "http://z"]\n')
    assert wrong.startswith(", line 3: [providers.a]: there are 3 addresses and 2 key_files.")
