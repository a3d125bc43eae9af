"""Reads `providers.toml`: a table for each provider instance. Every mistake is a sentence with its line and key.

    [providers.gateway]
    kind = "openai"
    address = "https://gateway.example.org/v1"
    key_file = "gateway.key"

    [fallback]
    "gateway/gpt-6" = ["lab/llama"]

    [defaults."gateway/*"]
    temperature = 0.2

The file is good as a whole or not at all: nobody wants half of the providers because of a typing error.
"""

from __future__ import annotations

import os
import re
import ssl
import stat
import tomllib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NoReturn

from shared.addresses import complaint
from shared.errors import SettingsError
from shared.lifecycle.rates import Rate
from shared.vendors import ANTHROPIC, OLLAMA, OPENAI, Vendor
from workers.providers import defaults
from workers.providers.defaults import Defaults
from workers.providers.fallbacks import MOST_CHAINS, Chains
from workers.providers.fallbacks import complaint as complaint_of_chain
from workers.providers.instances import Instance
from workers.providers.lines import line_of

LARGEST_BYTES = 256 * 1024
MOST_INSTANCES = 100
MOST_MODELS = 2_000
MOST_MEMBERS = 20
LONGEST_TITLE = 60
KINDS: Mapping[str, Vendor] = {each.name: each for each in (OPENAI, ANTHROPIC, OLLAMA)}
#: The APIs of a server of the kind openai: Chat Completions, and Responses in background.
CHAT, RESPONSES = "chat", "responses"
#: Docker and Kubernetes mount secrets here, readable by every user of the container.
MOUNTED_SECRETS = Path("/run/secrets")

_NAME = re.compile("[a-z0-9][a-z0-9_-]{0,39}")
_VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")
_PLACE = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column \d+|end of document)\)")
#: Keys that a later version will read.
_NOT_YET = ("prices",)
_TEXTS = ("kind", "address", "api", "title", "key", "key_file", "key_variable", "ca_file")
_LISTS = ("addresses", "key_files", "models", "include", "exclude")
#: The whole numbers, each with the most that it may be.
_NUMBERS = {"in_flight": 1_000_000, "requests_per_minute": 1_000_000, "tokens_per_minute": 1_000_000_000}
KEYS = (*_TEXTS, *_LISTS, *_NUMBERS)


class Mistake(SettingsError):
    """A mistake in the file. `files` are those that it names, as far as it was read; a change of one may mend it."""

    def __init__(self, sentence: str, files: tuple[Path, ...]) -> None:
        super().__init__(sentence)
        self.files = files


@dataclass(frozen=True, slots=True)
class Content:
    """The providers in the file, and the files that it names."""

    instances: tuple[Instance, ...]
    files: tuple[Path, ...]
    fallbacks: Chains = field(default_factory=dict)
    defaults: Defaults = field(default_factory=Defaults)


def read_providers(path: Path, environ: Mapping[str, str], others: Collection[str] = ()) -> Content:
    """Read the file. `environ` holds the variables that it may name, `others` are the environment's providers.

    Raises SettingsError.
    """
    text = _text_of(path)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(_syntax(path, text, str(error))) from None
    return _Reader(path, text, environ).read(document, others)


def key_variables(path: Path) -> frozenset[str]:
    """Return the variables that the file names as keys; none if it cannot be read."""
    try:
        providers = tomllib.loads(_text_of(path)).get("providers", {})
        named = [each.get("key_variable") for each in providers.values()]
    except (SettingsError, tomllib.TOMLDecodeError, AttributeError):
        return frozenset()
    return frozenset(each for each in named if isinstance(each, str) and _VARIABLE.fullmatch(each))


class _Reader:
    """Reads one document. `_at` says where in the document it is."""

    def __init__(self, path: Path, text: str, environ: Mapping[str, str]) -> None:
        self._path, self._text, self._environ = path, text, environ
        self._files: list[Path] = []

    def read(self, document: Mapping[str, Any], others: Collection[str]) -> Content:
        for key in document:
            if key not in ("providers", "fallback", "defaults"):
                self._refuse((key,), f"there is no {key!r} here. Each provider is a table [providers.NAME]")
        tables = document.get("providers", {})
        if not isinstance(tables, dict):
            self._refuse(("providers",), "providers is not a table. Each provider is a table [providers.NAME]")
        if len(tables) > MOST_INSTANCES:
            self._refuse(("providers",), f"there are {len(tables)} providers; the most is {MOST_INSTANCES}")
        instances = tuple(self._instance(name, table) for name, table in tables.items())
        fallbacks = self._fallbacks(document.get("fallback", {}), {*others, *tables})
        set_defaults = document.get("defaults", {})
        for keys, why in defaults.mistakes(set_defaults, {*others, *tables}):
            self._refuse(("defaults", *keys), why)
        return Content(instances, tuple(self._files), fallbacks, Defaults(set_defaults))

    def _fallbacks(self, table: Any, providers: Collection[str]) -> Chains:
        if not isinstance(table, dict):
            self._refuse(("fallback",), 'fallback is not a table. Write [fallback] and "provider/model" = […] below')
        if len(table) > MOST_CHAINS:
            self._refuse(("fallback",), f"there are {len(table)} chains; the most is {MOST_CHAINS}")
        for model, others in table.items():
            at = ("fallback", model)
            if not isinstance(others, list) or not all(isinstance(each, str) for each in others):
                self._refuse(at, 'this is not a list of models. Write "provider/model" = ["provider/model"]')
            if why := complaint_of_chain((model, *others), providers):
                self._refuse(at, why)
        return {model: (model, *others) for model, others in table.items()}

    def _instance(self, name: str, table: Any) -> Instance:
        at = ("providers", name)
        if not _NAME.fullmatch(name) or name == "demo":
            self._refuse(at, f"{name[:60]!r} is not a valid provider name. Use up to 40 of a-z, 0-9, - and _, not demo")
        if not isinstance(table, dict):
            self._refuse(at, f"{name} is not a table. Write [providers.{name}] and its keys below")
        for key, value in table.items():
            self._check_key((*at, key), key, value)
        vendor = KINDS.get(table.get("kind", ""))
        if vendor is None:
            what, place = ("kind is unknown", (*at, "kind")) if "kind" in table else ("kind is missing", at)
            self._refuse(place, f"{what}. It is {', '.join(KINDS)}")
        has_responses = self._has_responses((*at, "api"), table.get("api", CHAT), vendor)
        (address, api_key), *others = self._pool(at, table, vendor)
        if has_responses and others:
            self._refuse((*at, "api"), f'api = "{RESPONSES}" needs one key and one address. Use a table for each')
        if not api_key and (vendor.needs_key or (vendor is OPENAI and not address)):
            self._refuse(at, "there is no key. Add key_file, or key_variable")
        models = self._names((*at, "models"), table.get("models", []))
        if models and (table.get("include") or table.get("exclude")):
            self._refuse((*at, "models"), "there are models and patterns. Use either models, or include and exclude")
        first = Instance(
            name=name,
            vendor=vendor,
            title=self._title((*at, "title"), table.get("title", "")) or name,
            api_key=api_key,
            address=address,
            models=models,
            include=self._names((*at, "include"), table.get("include", [])),
            exclude=self._names((*at, "exclude"), table.get("exclude", [])),
            in_flight=table.get("in_flight"),
            rate=Rate(requests=table.get("requests_per_minute"), tokens=table.get("tokens_per_minute")),
            ca_file=self._certificates((*at, "ca_file"), table.get("ca_file", "")),
            has_responses=has_responses,
            lists_models=not models,
        )
        return replace(first, others=tuple(replace(first, address=base, api_key=key) for base, key in others))

    def _pool(self, at: tuple[str, ...], table: Mapping[str, Any], vendor: Vendor) -> list[tuple[str, str]]:
        """Return the address and the key of each member: one, or as many as addresses or key_files has."""
        for plural, singles in (("addresses", ("address",)), ("key_files", ("key", "key_file", "key_variable"))):
            for single in singles:
                if plural in table and single in table:
                    self._refuse((*at, single), f"there are {single} and {plural}. Use either {single} or {plural}")
        addresses = [self._address((*at, "addresses"), each, vendor) for each in self._texts(at, table, "addresses")]
        keys = [self._key(at, {"key_file": each}, "key_files") for each in self._texts(at, table, "key_files")]
        if addresses and keys and len(addresses) != len(keys):
            why = (
                f"there are {len(addresses)} addresses and {len(keys)} key_files. Give each address its key, or all one"
            )
            self._refuse((*at, "key_files"), why)
        size = max(len(addresses), len(keys), 1)
        addresses = addresses or [self._address((*at, "address"), table.get("address", ""), vendor)] * size
        keys = keys or [self._key(at, table)] * size
        return list(zip(addresses, keys, strict=True))

    def _texts(self, at: tuple[str, ...], table: Mapping[str, Any], key: str) -> list[str]:
        """Return the entries of a list of addresses or files: none if the key is missing."""
        found: list[Any] = table.get(key, [])
        is_good = all(isinstance(each, str) and each.strip() and each.isprintable() for each in found)
        if key in table and not (is_good and 1 <= len(found) <= MOST_MEMBERS):
            self._refuse((*at, key), f'{key} is not a list of 1 to {MOST_MEMBERS} texts. Write {key} = ["…", "…"]')
        if len(set(found)) < len(found):
            self._refuse((*at, key), f"{key} has an entry twice")
        return found

    def _check_key(self, at: tuple[str, ...], key: str, value: Any) -> None:
        if key in _NOT_YET:
            self._refuse(at, f"{key} is not supported yet. Remove it")
        if key == "fallback":
            self._refuse(at, 'fallback is a table of its own. Write [fallback] and "provider/model" = […] below')
        if key in ("defaults", *defaults.KEYS):
            self._refuse(at, f'{key} does not belong here. Write it below [defaults."{at[1]}/*"], a table of its own')
        if key not in KEYS:
            self._refuse(at, f"there is no key {key[:60]!r}. There are {', '.join(KEYS)}")
        if key in _TEXTS and not isinstance(value, str):
            self._refuse(at, f'{key} is not a text. Write {key} = "…"')
        if key in _TEXTS and not value.isprintable():
            self._refuse(at, f"{key} holds a character that cannot be printed")
        if key in _LISTS and not isinstance(value, list):
            self._refuse(at, f'{key} is not a list. Write {key} = ["…", "…"]')
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if key in _NUMBERS and not (is_number and 1 <= value <= _NUMBERS[key]):
            self._refuse(at, f"{key} is not a whole number from 1 to {_NUMBERS[key]:,}")

    def _address(self, at: tuple[str, ...], text: str, vendor: Vendor) -> str:
        if why := complaint("http", text):
            holds = "is" if at[-1] == "address" else "has one that is"
            self._refuse(at, f"{at[-1]} {holds} {why}")  # never quote it: it may hold a password
        if not text and vendor is OLLAMA:
            self._refuse(at[:-1], "address is missing. Ollama's usual one is http://127.0.0.1:11434")
        return text.rstrip("/")

    def _has_responses(self, at: tuple[str, ...], api: str, vendor: Vendor) -> bool:
        if api not in (CHAT, RESPONSES):
            self._refuse(at, f'api is {api[:60]!r}. It is "{CHAT}" or "{RESPONSES}"')
        if api == RESPONSES and vendor is not OPENAI:
            self._refuse(at, f'api = "{RESPONSES}" needs kind = "openai". Remove api')
        return api == RESPONSES

    def _title(self, at: tuple[str, ...], text: str) -> str:
        if len(text) > LONGEST_TITLE or not (text.isprintable()):
            self._refuse(at, f"title is not a text of at most {LONGEST_TITLE} characters on one line")
        return text.strip()

    def _names(self, at: tuple[str, ...], names: list[Any]) -> tuple[str, ...]:
        if len(names) > MOST_MODELS:
            self._refuse(at, f"{at[-1]} has {len(names)} entries; the most is {MOST_MODELS:,}")
        for each in names:
            if not isinstance(each, str) or not each or any(sign.isspace() for sign in each) or len(each) > 200:
                self._refuse(at, f"{at[-1]} has {str(each)[:60]!r}, which is not a name without spaces")
        return tuple(dict.fromkeys(names))

    def _key(self, at: tuple[str, ...], table: Mapping[str, Any], named: str = "") -> str:
        """Return the key; `named` is the key of the list in which its file stands."""
        given = [name for name in ("key", "key_file", "key_variable") if name in table]
        if len(given) > 1:
            self._refuse((*at, given[1]), f"there are {' and '.join(given)}. Use one of them")
        if not given:
            return ""
        (source,) = given
        where, text = (*at, named or source), str(table[source])
        found = {"key": self._literal_key, "key_file": self._key_in_file, "key_variable": self._key_in_variable}
        api_key = found[source](where, text)
        if not api_key:
            self._refuse(where, f"{where[-1]} holds no key")
        if why := complaint("key", api_key):
            self._refuse(where, f"{where[-1]} holds {why}")
        return api_key

    def _literal_key(self, at: tuple[str, ...], text: str) -> str:
        if is_readable_by_others(self._path):
            self._refuse(at, f"the file holds a key, and other users can read it. Run: chmod 600 {self._path}")
        return text.strip()

    def _key_in_file(self, at: tuple[str, ...], text: str) -> str:
        path = self._path.parent / text
        self._files.append(path)
        if is_readable_by_others(path):
            self._refuse(at, f"{at[-1]} names {path}, which other users can read. Run: chmod 600 {path}")
        if os.path.exists(path) and not path.is_file():  # noqa: PTH110 - Path.exists raises for a name that is too long
            self._refuse(at, f"{at[-1]} names {path}, which is not a regular file")
        try:
            return path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:  # never quote it: a key may be there instead of a name
            self._refuse(at, f"{at[-1]} names a file that cannot be read: {_reason(error)}")

    def _key_in_variable(self, at: tuple[str, ...], text: str) -> str:
        if not self._environ.get(text):
            # Never quote it: a key may be there instead of a name.
            self._refuse(at, "key_variable names a variable that is not set. Set it and restart, or use key_file")
        return self._environ[text].strip()

    def _certificates(self, at: tuple[str, ...], text: str) -> str:
        if not text:
            return ""
        path = self._path.parent / text
        self._files.append(path)
        try:
            ssl.create_default_context(cafile=str(path))
        except ssl.SSLError:
            self._refuse(at, f"ca_file names {path}, which holds no certificate in PEM form")
        except OSError as error:
            self._refuse(at, f"ca_file names {path}, which cannot be read: {_reason(error)}")
        return str(path)

    def _refuse(self, at: tuple[str, ...], why: str) -> NoReturn:
        of = f" [{'.'.join(at[:2])}]:" if at[0] == "providers" and len(at) > 1 else ""
        if at[0] == "defaults" and len(at) > 2:
            of = f' [defaults."{at[1]}"]:'
        raise Mistake(f"{self._path}, line {line_of(self._text, at)}:{of} {why}.", tuple(self._files))


def is_readable_by_others(path: Path) -> bool:
    """Whether users outside the file's group can read it; False for a mounted secret, and for a missing file."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH) and MOUNTED_SECRETS not in path.resolve().parents
    except OSError:
        return False


def fingerprint(paths: Iterable[Path]) -> tuple[object, ...]:
    """Return a value that changes with the content and the rights of these files, without reading them."""
    found: list[object] = []
    for path in paths:
        try:
            at = path.stat()
            found.append((at.st_mtime_ns, at.st_ctime_ns, at.st_size, at.st_ino))  # chmod and chown set the ctime
        except OSError as error:
            found.append(error.errno)
    return tuple(found)


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST_BYTES + 1)
        if len(data) > LARGEST_BYTES:
            raise SettingsError(f"{path} is larger than {LARGEST_BYTES // 1024} KB.")
        return data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read: {_reason(error)}.") from None


def _syntax(path: Path, text: str, message: str) -> str:
    found = _PLACE.fullmatch(message)
    what, line = (found["what"], found["line"]) if found else (message, None)
    if what.startswith("Cannot declare"):
        what = "this table is there twice. Join both, or rename one"
    elif what.startswith("Cannot overwrite"):
        what = "this key is there twice"
    return f"{path}, line {line or len(text.splitlines())}: {what}."


def _reason(error: OSError | UnicodeDecodeError) -> str:
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "it is not text"
