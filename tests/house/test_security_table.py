"""The table in docs/security.md has every requirement, and each test that it names exists."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache

from deploy.embedded.processes import ROOT

PAPER = ROOT / "docs" / "security.md"
#: How many requirements of level 1 and 2 each section of ASVS 5.0 has; they are numbered from 1.
REQUIREMENTS = {
    "1.1": 2, "1.2": 9, "1.3": 11, "1.4": 3, "1.5": 2,
    "2.1": 3, "2.2": 3, "2.3": 4, "2.4": 1,
    "3.3": 4, "3.4": 6, "3.5": 5,
    "6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5, "6.6": 3, "6.8": 4,
    "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 2, "7.6": 2,
    "8.1": 2, "8.2": 3, "8.3": 1, "8.4": 1,
    "9.1": 3, "9.2": 4,
    "10.1": 2, "10.2": 2, "10.3": 4, "10.4": 11, "10.5": 5, "10.6": 2, "10.7": 3,
    "16.1": 1, "16.2": 5, "16.3": 4, "16.4": 3, "16.5": 3,
}  # fmt: skip
STATES = {"met", "partly", "gap", "not applicable"}
_ROW = re.compile(r"^\| (\d+\.\d+)\.(\d+)(?:–\1\.(\d+))? \| (.+?) \| (.+?) \| (.+) \|$", re.MULTILINE)
_TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")

#: Tests of branches that are not merged yet, by branch. Each merge removes its lines.
OF_BRANCHES: dict[str, tuple[str, ...]] = {
    "oidc": (
        "tests/web/people/test_company.py::test_clock_too_far_off_is_refused",
        "tests/web/people/test_company.py::test_document_of_another_issuer_yields_a_sentence",
        "tests/web/people/test_company.py::test_new_keys_are_fetched_at_most_every_few_seconds",
        "tests/web/people/test_company.py::test_old_attempt_is_refused",
        "tests/web/people/test_company.py::test_provider_that_is_away_yields_a_sentence",
        "tests/web/people/test_company.py::test_replayed_answer_is_refused",
        "tests/web/people/test_company.py::test_request_to_the_provider_is_complete",
        "tests/web/people/test_company.py::test_state_of_another_browser_is_refused",
        "tests/web/people/test_company.py::test_tampered_state_is_refused",
        "tests/web/people/test_company.py::test_tampered_token_is_refused",
        "tests/web/people/test_company_people.py::test_identity_is_never_an_address",
        "tests/web/people/test_company_people.py::test_issuer_that_changed_makes_no_second_account",
        "tests/web/people/test_company_sessions.py::test_id_token_is_no_logout_token",
        "tests/web/people/test_company_sessions.py::test_logout_at_the_company_closes_page_and_stream",
        "tests/web/people/test_company_sessions.py::test_logout_token_works_once",
        "tests/web/people/test_company_sessions.py::test_pages_of_passwords_are_closed_without_them",
        "tests/web/people/test_company_sessions.py::test_same_address_opens_no_other_account",
        "tests/web/people/test_company_sessions.py::test_tampered_logout_token_ends_nothing",
        "tests/web/people/test_company_sessions.py::test_unsigned_logout_token_ends_nothing",
    ),
    "audit": (
        "tests/shared/test_audit.py::test_database_refuses_changes",
        "tests/shared/test_audit.py::test_record_keeps_who_what_and_where",
        "tests/shared/test_audit.py::test_record_leaves_with_its_transaction",
        "tests/shared/test_audit.py::test_strange_texts_keep_the_chain",
        "tests/shared/test_audit.py::test_verify_names_the_first_wrong_event",
        "tests/web/people/test_access.py::test_record_needs_a_role",
        "tests/web/people/test_audit.py::test_events_reach_syslog",
        "tests/web/people/test_audit.py::test_refused_sign_ins_are_counted",
        "tests/web/people/test_audit.py::test_sign_up_and_sign_in_are_recorded",
    ),
    "factor": (
        "tests/launcher/test_people.py::test_second_factor_is_reset",
        "tests/web/people/test_mail.py::test_forgotten_password_is_replaced_by_mail",
        "tests/web/people/test_mail.py::test_malformed_address_is_refused",
        "tests/web/people/test_second_factor.py::test_begun_factor_changes_nothing",
        "tests/web/people/test_second_factor.py::test_code_works_once",
        "tests/web/people/test_second_factor.py::test_codes_of_the_steps_beside_are_accepted",
        "tests/web/people/test_second_factor.py::test_guesses_at_codes_are_limited",
        "tests/web/people/test_second_factor.py::test_half_a_sign_in_ends_with_the_password",
        "tests/web/people/test_second_factor.py::test_half_a_sign_in_is_bound_to_its_browser",
        "tests/web/people/test_second_factor.py::test_needed_factor_is_set_up_at_the_sign_in",
        "tests/web/people/test_second_factor.py::test_new_recovery_codes_replace_the_old",
        "tests/web/people/test_second_factor.py::test_recovery_codes_work_once_each",
        "tests/web/people/test_second_factor.py::test_sign_in_needs_the_code",
        "tests/web/people/test_second_factor.py::test_switching_on_and_off_ends_other_sessions",
    ),
    "admin": (
        "tests/web/people/test_administration.py::test_forged_click_of_a_user_does_nothing",
        "tests/web/people/test_administration.py::test_other_roles_see_a_sentence",
        "tests/web/people/test_administration.py::test_page_has_no_words_of_chats",
    ),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    numbers: tuple[str, ...]
    state: str
    proof: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        """The file and the name of each test."""
        return _TEST.findall(self.proof)


def rows() -> list[Row]:
    """Return the lines of the table. A line may stand for several numbers: `10.3.1–10.3.4`."""
    found = []
    for section, first, last, _, state, proof in _ROW.findall(PAPER.read_text()):
        numbers = tuple(f"{section}.{number}" for number in range(int(first), int(last or first) + 1))
        found.append(Row(numbers, state, proof))
    return found


@cache
def exists(path: str, name: str) -> bool:
    """Whether the file has a test function of this name."""
    if not (ROOT / path).is_file():
        return False
    nodes = ast.parse((ROOT / path).read_text()).body
    return any(isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name for node in nodes)


def awaited() -> set[tuple[str, str]]:
    """Return the tests of the branches."""
    pairs = [test.split("::") for tests in OF_BRANCHES.values() for test in tests]
    return {(path, name) for path, name in pairs}


def test_table_has_each_requirement_once() -> None:
    wanted = [f"{section}.{number}" for section, last in REQUIREMENTS.items() for number in range(1, last + 1)]
    assert sorted(number for row in rows() for number in row.numbers) == sorted(wanted)


def test_each_named_test_exists() -> None:
    named = {test for row in rows() for test in row.tests}
    assert len(named) > 100
    assert {test for test in named if not exists(*test)} - awaited() == set()


def test_awaited_tests_are_named_and_missing() -> None:
    named = {test for row in rows() for test in row.tests}
    assert {test for test in awaited() if exists(*test)} == set(), "merged: remove it from OF_BRANCHES"
    assert awaited() - named == set()


def test_each_state_has_its_proof_or_its_gap() -> None:
    for row in rows():
        assert row.state in STATES, row
        if row.state == "met":
            assert row.tests or "](" in row.proof, f"{row.numbers}: name a test, or the document"
        else:
            words = re.sub(r"[\W\d_]+", " ", _TEST.sub("", row.proof)).split()
            assert len(words) >= 2, f"{row.numbers}: say what is missing, or why it does not apply"
