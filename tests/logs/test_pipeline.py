"""The logging stack's files, as far as they can be tested without Elastic's programs.

The redaction patterns come from the pipeline itself and run over planted secrets, in lines as our processes write
them. Logstash, Elasticsearch, Kibana and Filebeat do not run here.
"""

from __future__ import annotations

import json
import re

import pytest

from deploy.embedded.processes import ROOT
from tests.logs.planted import HARMLESS, SECRETS

LOGGING = ROOT / "deploy" / "logging"
PIPELINE = LOGGING / "pipeline.conf"
#: A comment, a string in either kind of quotes, a regular expression of a condition, or any other character.
TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)|'(?P<single>[^']*)'|"(?P<double>[^"]*)"|(?P<regex>/(?:\\.|[^/\n])+/)|(?P<other>.)""",
    re.DOTALL,
)
STREAM = "logs-chatbot-default"


def tokens() -> list[str]:
    """Return the pipeline's strings, each after a `"`, and single characters, without comments, regexes and blanks."""
    found: list[str] = []
    for each in TOKEN.finditer(PIPELINE.read_text()):
        if each["comment"] or each["regex"]:
            continue
        text = each["single"] if each["single"] is not None else each["double"]
        found.append(f'"{text}' if text is not None else each["other"])
    return [token for token in found if token.strip()]


def patterns() -> list[tuple[re.Pattern[str], str]]:
    """Return the redaction's patterns with their replacements."""
    whole = re.search(r"gsub => \[\n(.*?)\n    \]", PIPELINE.read_text(), re.DOTALL)
    assert whole, "the redaction is gone"
    without_comments = re.sub(r"^\s*#.*$", "", whole[1], flags=re.MULTILINE)
    found = [each["single"] for each in TOKEN.finditer(without_comments) if each["single"] is not None]
    assert len(found) % 3 == 0
    assert set(found[::3]) == {"message"}
    return [(re.compile(pattern), instead) for pattern, instead in zip(found[1::3], found[2::3], strict=True)]


def redact(line: str) -> str:
    """Redact a line as Logstash's gsub does."""
    for pattern, instead in patterns():
        line = pattern.sub(instead, line)
    return line


def written(message: str, **extra: object) -> str:
    """Return a log line in our format that the first filter has not redacted."""
    ours = {"time": "2026-11-25T02:10:00.123Z", "level": "INFO", "part": "web", "logger": "x", "message": message}
    return json.dumps({**ours, **extra}, ensure_ascii=False)


@pytest.mark.parametrize(("words", "secret"), SECRETS)
def test_pipeline_redacts_secrets_in_any_line(words: str, secret: str) -> None:
    assert secret not in redact(words), "a line that is not JSON"
    for line in (written(words), written("x", error=words), written("x", facts={"deep": [words, 1, None]})):
        assert secret in line
        assert secret not in redact(line)
        assert isinstance(json.loads(redact(line)), dict), "still JSON"


@pytest.mark.parametrize("words", HARMLESS)
def test_harmless_lines_are_unchanged(words: str) -> None:
    line = written(words, input_tokens=3, first_token_seconds=0.5, secret=None)
    assert redact(line) == line


def test_redaction_empties_a_private_field() -> None:
    line = json.loads(redact(written("x", prompt='why "so"?', content="a\\b", api_key="1", token="t", cookie="a; b")))
    assert {line[name] for name in ("prompt", "content", "api_key", "token", "cookie")} == {"[redacted]"}


def test_pipeline_is_balanced_and_in_order() -> None:
    text, depth = "".join(tokens()), {"{": 0, "[": 0}
    for token in tokens():
        for opening, closing in (("{", "}"), ("[", "]")):
            depth[opening] += (token == opening) - (token == closing)
        assert min(depth.values()) >= 0
    assert set(depth.values()) == {0}
    # The original event is dropped first, and the message is redacted before it is parsed.
    assert text.index('"[event][original]') < text.index("gsub") < text.index("json{") < text.index("elasticsearch{")
    assert text.index("fingerprint{") < text.index("gsub")


def test_log_stream_matches_template_and_roles() -> None:
    template = json.loads((LOGGING / "index-template.json").read_text())
    (pattern,) = template["index_patterns"]
    assert re.fullmatch(pattern.replace("*", ".*"), STREAM)
    assert f'"{STREAM}' in tokens()
    assert template["template"]["lifecycle"] == {"enabled": True, "data_retention": "30d"}
    setup = (LOGGING / "setup.sh").read_text()
    for role in LOGGING.glob("roles/*.json"):
        data = json.loads(role.read_text())
        assert {name for each in data["indices"] for name in each["names"]} == {pattern}
        assert set(data["cluster"]) <= {"monitor"}, "no rights to change the cluster"
        assert f"put_role {role.stem}\n" in setup
    assert '"logstash_internal' in tokens()


def test_no_file_holds_a_password() -> None:
    for file in LOGGING.rglob("*"):
        if file.is_file():
            given = re.findall(r"""(?i)password["']?\s*(?:=>|[:=])\s*["']?([^\s"']+)""", file.read_text())
            assert set(given) <= {"${LOGSTASH_INTERNAL_PASSWORD}", "%s", "$(secret", "…"}, file.name
