"""The functions of the logging stack's setup script that run without Elastic's programs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy.embedded.processes import ROOT
from tests.patience import patient

SETUP = ROOT / "deploy" / "logging" / "setup.sh"
needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None and os.environ.get("NARU_TEST_STRICT") != "1", reason="no openssl here"
)


def run(*command: str, given: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command, input=given, capture_output=True, timeout=patient(20))


def function(call: str, *, given: bytes = b"", secrets: Path = Path("/nowhere")) -> subprocess.CompletedProcess[bytes]:
    """Call one function of the script."""
    return run("bash", "-c", f'source "$1"; SECRETS="$2"; {call}', "bash", str(SETUP), str(secrets), given=given)


@needs_openssl
@pytest.mark.parametrize("bits", [1024, 2048, 3072])
def test_converted_key_is_readable_by_logstash(bits: int) -> None:
    made = run("openssl", "genrsa", "-traditional", str(bits)).stdout
    assert b"BEGIN RSA PRIVATE KEY" in made
    wanted = run("openssl", "pkcs8", "-topk8", "-nocrypt", given=made).stdout
    assert function("pkcs8", given=made).stdout == wanted


@pytest.mark.parametrize(
    "bad", ["short", 'quote"0123456789abcdef', "line\n0123456789abcdef", "x" * 201, "sp ace0123456789abcd"]
)
def test_setup_rejects_secrets_that_break_json(tmp_path: Path, bad: str) -> None:
    (tmp_path / "elastic_password").write_text(bad)
    refused = function("secret elastic_password", secrets=tmp_path)
    assert refused.returncode == 1
    assert refused.stdout == b""
    assert b"must be 16 to 200" in refused.stderr
    assert bad.encode() not in refused.stderr


def test_script_reads_a_secret_and_names_a_missing_one(tmp_path: Path) -> None:
    (tmp_path / "elastic_password").write_text("0123456789abcdef-_\n")
    assert function("secret elastic_password", secrets=tmp_path).stdout == b"0123456789abcdef-_"
    missing = function("secret kibana_encryption_key", secrets=tmp_path)
    assert missing.returncode == 1
    assert b"kibana_encryption_key cannot be read" in missing.stderr


def test_setup_script_lists_its_commands() -> None:
    refused = run("bash", str(SETUP), "everything")
    assert (refused.returncode, b"certificates or users" in refused.stderr) == (1, True)
