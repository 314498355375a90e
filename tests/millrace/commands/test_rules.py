"""`millrace rules`: a rule change is drafted, shown in shadow, promoted and rolled back."""

from __future__ import annotations

import json

import pytest

from streams.authorization.ruleset_source import from_file
from tests.millrace.commands.conftest import Office
from tests.oltp.conftest import Database

DEFAULT = from_file().version


def test_a_change_is_drafted_shown_in_shadow_promoted_and_rolled_back(office):
    file = office.draft("strict-1")
    drafted = office.run("rules", "draft", file)
    assert drafted.exit_code == 0, drafted.stderr
    assert f"{DEFAULT} -> strict-1: 1 changes" in drafted.stdout
    assert "~ rules.attempts_in_a_minute.when.>=: 120 -> 3" in drafted.stdout

    assert office.run("rules", "shadow", "strict-1").exit_code == 0
    office.decide(from_file(), from_file(file))
    report = json.loads(office.run("rules", "report", "strict-1", "--json").stdout)
    assert (report["judged"], report["changed"]["decisions"]) == (6, 3)
    assert report["by_reason"] == [
        {"was": "APPROVED", "would_be": "VELOCITY_EXCEEDED", "decisions": 3,
         "amounts_minor": {"USD": 3_000}}
    ]  # fmt: skip
    assert report["examples"][0]["explanation"].startswith("3 attempts within a minute")

    kept = office.run("rules", "promote", "strict-1", "--reason", "fewer", answer="n\n")
    assert kept.exit_code == 1
    assert "VELOCITY_EXCEEDED" in kept.stdout
    assert json.loads(office.run("rules", "list", "--json").stdout)[0]["version"] == DEFAULT

    promoted = office.run("rules", "promote", "strict-1", "-r", "fewer", "--by", "ada", "--yes")
    assert f"strict-1 decides in place of {DEFAULT}" in promoted.stdout
    first = json.loads(office.run("rules", "list", "--json").stdout)[0]
    assert (first["version"], first["status"]) == ("strict-1", "ACTIVE")
    assert (first["changed_by"], first["reason"]) == ("ada", "fewer")

    back = office.run("rules", "rollback", "-r", "too strict")
    assert f"{DEFAULT} decides again, in place of strict-1" in back.stdout
    assert "~ rules.attempts_in_a_minute.when.>=: 3 -> 120" in back.stdout
    life = office.run("rules", "show", "strict-1").stdout
    assert "version: strict-1" in life
    for word in ("DRAFT", "SHADOW", "ACTIVE", "RETIRED", "too strict"):
        assert word in life


def test_tables_say_what_decides_and_what_would_change(office):
    office.run("rules", "draft", office.draft("shown-1"))
    listed = office.run("rules", "list").stdout
    assert "ACTIVE" in listed
    assert "shown-1" in listed
    office.run("rules", "shadow", "shown-1")
    empty = office.run("rules", "report", "shown-1").stdout
    assert "shown-1 in shadow" in empty
    office.decide(from_file(), from_file(office.folder / "shown-1.yaml"))
    report = office.run("rules", "report", "shown-1").stdout
    for said in ("50.00 %", "VELOCITY_EXCEEDED", "3,000 USD", "3 attempts within a minute"):
        assert said in report


def test_a_difference_is_told_between_versions_and_files(office):
    file = office.draft("other-1", description="otherwise")
    told = office.run("rules", "diff", file, "--json")
    assert told.exit_code == 1
    assert len(json.loads(told.stdout)["changes"]) == 2
    same = office.run("rules", "diff", DEFAULT)
    assert (same.exit_code, "no changes" in same.stdout) == (0, True)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rules", "shadow", "nowhere"), "no version of the rules is called 'nowhere'"),
        (("rules", "promote", DEFAULT, "-r", "again", "-y"), "cannot be promoted while ACTIVE"),
        (("rules", "retire", DEFAULT, "-r", "away"), "cannot be retired while ACTIVE"),
        (("rules", "rollback", "-r", "why", "nowhere"), "never decided"),
        (("rules", "report", "nowhere"), "no version of the rules is called"),
    ],
)
def test_what_is_not_possible_is_said_in_one_line(office, words, said):
    refused = office.run(*words)
    assert refused.exit_code == 1
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rules": [{"id": "x"}]}, "rules[0]"),
        ({"health": {}}, "health"),
        ({"nonsense": 1}, "nonsense"),
        ({"risk": {"decline_at": "many", "points": []}}, "risk.decline_at"),
    ],
)
def test_a_document_that_does_not_parse_is_refused_with_the_place(office, change, said):
    refused = office.run("rules", "draft", office.draft("bad-1", **change))
    assert refused.exit_code == 1
    assert said in refused.stderr
    assert "Traceback" not in refused.stderr
    assert "bad-1" not in office.run("rules", "list").stdout


def test_a_database_that_is_away_is_said(office):
    nowhere = Database("", "postgresql://app_rw@127.0.0.1:1/oltp")
    away = Office(nowhere, office.folder).run("rules", "list")
    assert away.exit_code == 1
    assert "Connection refused" in away.stderr
    assert "Traceback" not in away.stderr
