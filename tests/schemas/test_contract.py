"""Contracts load whole, and a contract that is wrong says where."""

from pathlib import Path

import pytest

from schemas import contract, topics

GOOD = """
entity: things
description: Things.
grain: one row per thing
source: credit.things
key: [thing_id]
event_time: updated_at
owner: servicing
columns:
  thing_id:     {type: uuid, description: The thing.}
  amount_minor: {type: long, unit: minor, description: Money.}
  currency:     {type: string, description: ISO 4217.}
  status:       {type: code, codes: payment_status, description: State.}
  updated_at:   {type: timestamp, description: Changed.}
money: [amount_minor]
checks:
  - {name: always, expect: "true"}
"""


def written(folder: Path, text: str, name: str = "things.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_a_good_contract_gives_its_topic_and_codes(tmp_path: Path) -> None:
    things = contract.parse(written(tmp_path, GOOD))
    assert things.topic == "oltp.credit.things"
    assert things.column("status").allowed == ("SCHEDULED", "PARTIAL", "PAID", "CANCELLED")
    assert things.money == ("amount_minor",)


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("key: [thing_id]", "key: [id]", "key names 'id'"),
        ("event_time: updated_at", "event_time: at", "event_time names 'at'"),
        ("money: [amount_minor]", "money: [total]", "money names 'total'"),
        ("type: uuid", "type: uid", "unknown type 'uid'"),
        ("codes: payment_status", "codes: moods", "no code list 'moods'"),
        ("type: long, unit", "type: long, units", "units"),
        ('expect: "true"', 'expect: "true", severity: fatal', "severity is 'fatal'"),
        ("entity: things", "entity: other", "name the file after it"),
        ("  currency:     {type: string, description: ISO 4217.}\n", "", "needs a currency"),
        ("owner: servicing\n", "", "owner"),
        ("owner: servicing\n", "owner: s\npublished: gold\n", "published is 'gold'"),
        ("owner: servicing\n", "owner: s\nreplica_identity: full\n", "goes with `full`"),
        ("owner: servicing\n", "owner: s\nuntracked: [seen_at]\n", "untracked names 'seen_at'"),
        ("owner: servicing\n", "owner: s\nuntracked: [thing_id]\n", "part of the key"),
        ("owner: servicing\n", "owner: s\ndeleted_when: gone\n", "it names no column"),
        ("type: uuid,", "type: uuid, declared: false,", "what is in a contract is declared"),
        ("type: string, description: ISO", "type: code, description: ISO", "`codes` goes with"),
    ],
)
def test_a_wrong_contract_names_file_and_fault(
    tmp_path: Path, old: str, new: str, says: str
) -> None:
    assert old in GOOD
    with pytest.raises(contract.ContractError, match=r"things\.yaml") as caught:
        contract.parse(written(tmp_path, GOOD.replace(old, new)))
    assert says in str(caught.value)


def test_what_changes_with_every_change_makes_no_version_of_its_own(tmp_path: Path) -> None:
    things = contract.parse(written(tmp_path, GOOD))
    assert things.untracked == ("updated_at",)
    assert things.tracked == ("amount_minor", "currency", "status")
    tracked = GOOD.replace("owner: servicing\n", "owner: servicing\nuntracked: []\n")
    assert "updated_at" in contract.parse(written(tmp_path, tracked)).tracked


def test_a_row_may_say_itself_that_it_is_deleted(tmp_path: Path) -> None:
    soft = GOOD.replace("owner: servicing\n", "owner: s\ndeleted_when: status = 'CANCELLED'\n")
    assert contract.parse(written(tmp_path, soft)).deleted_when == "status = 'CANCELLED'"
    assert contract.parse(written(tmp_path, GOOD)).deleted_when is None


def test_a_reference_to_nothing_is_refused(tmp_path: Path) -> None:
    written(tmp_path, GOOD.replace("type: uuid,", "type: uuid, references: others.other_id,"))
    with pytest.raises(contract.ContractError, match=r"others\.other_id"):
        contract.load_all(tmp_path)


def test_an_unknown_entity_names_the_known_ones() -> None:
    with pytest.raises(KeyError, match="payments"):
        contract.load("paymentz")


def test_what_is_not_published_is_captured_and_no_more(tmp_path: Path) -> None:
    written(tmp_path, GOOD)
    kept = GOOD.replace("entity: things", "entity: notes\npublished: false").replace(
        "credit.things", "credit.notes"
    )
    written(tmp_path, kept, "notes.yaml")
    assert [c.entity for c in contract.load_all(tmp_path)] == ["notes", "things"]
    assert [c.entity for c in contract.load_published(tmp_path)] == ["things"]


def test_every_contract_has_a_topic_of_its_own() -> None:
    names = [topic.name for topic in topics.all_topics()]
    assert len(names) == len(set(names))
    assert {c.topic for c in contract.load_all()} <= set(names)
