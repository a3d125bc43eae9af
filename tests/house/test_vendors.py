"""The files that cannot import `shared/vendors.py` agree with it."""

from __future__ import annotations

import json
import re
from dataclasses import fields

import pytest

from deploy.embedded.processes import ROOT
from shared.redaction import redacted
from shared.settings import Settings, variable_of
from shared.vendors import VENDORS, WITH_KEY, Vendor
from tests.deploy.reading import compose
from tests.logs.test_pipeline import redact
from workers.providers.catalogue import size_of
from workers.providers.registry import ADAPTERS
from workers.simulator import text_for

SETTINGS = {variable_of(each.name): each for each in fields(Settings)}
SENTENCES = {
    "shared/words/en.json": json.loads((ROOT / "shared/words/en.json").read_text())["demo.line"],
    "shared/words/ko.json": json.loads((ROOT / "shared/words/ko.json").read_text())["demo.line"],
    "workers/simulator/text.py, English": text_for("Hello?"),
    "workers/simulator/text.py, Korean": text_for("안녕?"),
}

each_vendor = pytest.mark.parametrize("vendor", VENDORS, ids=lambda each: each.name)
each_with_key = pytest.mark.parametrize("vendor", WITH_KEY, ids=lambda each: each.name)


def test_each_vendor_has_an_adapter() -> None:
    assert list(ADAPTERS) == [vendor.name for vendor in VENDORS]


@each_vendor
def test_vendor_key_and_address_are_settings(vendor: Vendor) -> None:
    assert SETTINGS[vendor.address_variable].metadata["kind"] in {"http", "ollama"}
    if vendor.key_variable:
        key = SETTINGS[vendor.key_variable].metadata
        assert (key["kind"], key["secret"]) == ("key", True)


@each_vendor
def test_sizes_of_the_default_models_are_known(vendor: Vendor) -> None:
    assert all(size_of(model).context_tokens for model in vendor.default_models)


@each_vendor
def test_worker_container_gets_vendor_key_and_address(vendor: Vendor) -> None:
    worker = compose()["services"]["worker"]
    assert worker["environment"][vendor.address_variable] in {"", "off"}, "compose passes .env's address on"
    if vendor.key_variable:
        name = vendor.key_variable.lower()
        assert worker["environment"][f"{vendor.key_variable}_FILE"] == f"/run/secrets/{name}"
        assert name in worker["secrets"]


@each_with_key
def test_vendor_key_reaches_no_log(vendor: Vendor) -> None:
    key = f"{vendor.key_begins}A1b2C3d4E5f6"
    line = f"refused {key} at once"
    assert redacted(line) == "refused [redacted] at once"
    assert redact(line) == "refused [redacted] at once", "deploy/logging/pipeline.conf"


@each_with_key
@pytest.mark.parametrize("place", SENTENCES)
def test_each_sentence_about_keys_names_its_key(vendor: Vendor, place: str) -> None:
    assert vendor.key_variable in SENTENCES[place]


@each_with_key
def test_readme_names_the_vendor_key(vendor: Vendor) -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \|$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert (vendor.title, f"`{vendor.key_variable}`") in rows
    assert vendor.needs_key or any(f"`{vendor.address_variable}`" in how for _, how in rows)
