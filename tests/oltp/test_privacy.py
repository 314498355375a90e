"""Personal values: sealed per subject and field, masked for people, found by keyed indexes."""

from __future__ import annotations

import base64
import re
from datetime import date
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from oltp.privacy import KeyMissingError, PrivacyError, SealError, Vault, mask, sealed_person
from oltp.settings import Settings

ADA, BOB = UUID(int=1), UUID(int=2)
KEYS = {1: bytes(range(32))}
INDEX_KEY = bytes(range(32, 64))
VAULT = Vault(KEYS, INDEX_KEY)
# What customer.sealed in 0002 accepts.
SEALED = re.compile(r"^enc:[0-9]+:[A-Za-z0-9_-]{22,}={0,2}$")


@given(st.text(min_size=1).filter(lambda text: text.strip()))
def test_what_is_sealed_opens_again_whatever_its_letters(value):
    subject = VAULT.new_subject(ADA)
    token = subject.seal("full_name", value)
    assert SEALED.match(token)
    assert subject.open("full_name", token) == value


def test_sealing_twice_gives_the_same_token_and_another_person_never_the_same():
    ada, bob = VAULT.new_subject(ADA), VAULT.new_subject(BOB)
    assert ada.seal("email", "a@b.c") == ada.seal("email", "a@b.c")
    assert ada.seal("email", "a@b.c") != ada.seal("full_name", "a@b.c")
    assert ada.seal("email", "a@b.c") != bob.seal("email", "a@b.c")


def test_even_under_one_key_tokens_differ_between_subjects():
    ada, bob = VAULT.new_subject(ADA, bytes(64)), VAULT.new_subject(BOB, bytes(64))
    assert ada.seal("email", "a@b.c") != bob.seal("email", "a@b.c")
    with pytest.raises(SealError, match="another subject"):
        bob.open("email", ada.seal("email", "a@b.c"))


def test_a_token_moved_to_another_field_or_altered_does_not_open():
    ada = VAULT.new_subject(ADA)
    token = ada.seal("email", "a@b.c")
    altered = token[:-1] + ("A" if token[-1] != "A" else "B")
    for field, given_token in (("phone", token), ("email", altered), ("email", "a@b.c")):
        with pytest.raises(SealError) as refused:
            ada.open(field, given_token)
        assert "a@b.c" not in str(refused.value)
    with pytest.raises(SealError, match="unknown format 9"):
        ada.open("email", "enc:9:" + token.rpartition(":")[2])


def test_blank_values_are_null_not_sealed():
    ada = VAULT.new_subject(ADA)
    with pytest.raises(PrivacyError, match="blank"):
        ada.seal("email", "  ")
    row = sealed_person(VAULT, ada, full_name=" ", email="", birth_date="")
    assert set(row.values()) == {None}


def test_a_data_key_comes_back_from_its_row():
    ada = VAULT.new_subject(ADA)
    row = ada.key_row()
    again = VAULT.open_subject(row["customer_id"], row["wrapped_key"], row["kek_version"])
    assert again.open("email", ada.seal("email", "a@b.c")) == "a@b.c"
    assert "a@b.c" not in repr(ada)
    with pytest.raises(SealError):
        VAULT.open_subject(BOB, row["wrapped_key"], row["kek_version"])


def test_a_wrong_or_missing_wrapping_key_is_refused_and_named():
    row = VAULT.new_subject(ADA).key_row()
    with pytest.raises(SealError, match=r"version 1 of MILLRACE_PII_KEYS is not the key"):
        Vault({1: bytes(32)}, INDEX_KEY).open_subject(*row.values())
    with pytest.raises(KeyMissingError, match="wrapped by version 1; MILLRACE_PII_KEYS holds 2"):
        Vault({2: bytes(32)}, INDEX_KEY).open_subject(*row.values())


def test_rewrapping_keeps_the_data_key_and_needs_the_old_key_no_more():
    old = VAULT.new_subject(ADA)
    both = Vault({**KEYS, 2: bytes(32)}, INDEX_KEY)
    wrapped, version = both.rewrapped(*old.key_row().values())
    assert version == 2
    alone = Vault({2: bytes(32)}, INDEX_KEY).open_subject(ADA, wrapped, version)
    assert alone.open("email", old.seal("email", "a@b.c")) == "a@b.c"


def test_reproducible_subjects_are_the_same_bytes_each_time():
    key = VAULT.derived_data_key("simulator:7:customer:1")
    assert len(key) == 64
    first, second = (VAULT.new_subject(ADA, key) for _ in range(2))
    assert first.key_row() == second.key_row()
    assert VAULT.derived_data_key("simulator:8:customer:1") != key


@pytest.mark.parametrize(
    ("field", "one", "other"),
    [
        ("email", "Ada@X.io", "  ada@x.io "),
        ("email", "STRASSE@x.io", "straße@x.io"),
        ("phone", "+420 (601) 123-456", "00420601123456"),
        ("national_id", "123-45-6789", "123 45 6789"),
        ("national_id", "ab-12/3", "AB123"),
    ],
)
def test_an_index_finds_a_value_however_it_is_written(field, one, other):
    assert VAULT.blind_index(field, one) == VAULT.blind_index(field, other)
    assert re.fullmatch("[0-9a-f]{64}", VAULT.blind_index(field, one))


def test_an_index_tells_fields_values_and_keys_apart():
    index = VAULT.blind_index("national_id", "123456789")
    assert index != VAULT.blind_index("phone", "123456789")
    assert index != VAULT.blind_index("national_id", "123456788")
    assert index != Vault(KEYS, bytes(32)).blind_index("national_id", "123456789")


@pytest.mark.parametrize(("field", "value"), [("national_id", "--"), ("phone", "+"), ("email", "")])
def test_blanks_are_not_indexed_as_one_person(field, value):
    with pytest.raises(PrivacyError, match="blank"):
        VAULT.blind_index(field, value)


def test_only_fields_with_a_spelling_are_searchable():
    with pytest.raises(PrivacyError, match="full_name is not searchable"):
        VAULT.blind_index("full_name", "Ada")


@pytest.mark.parametrize(
    ("field", "value", "masked"),
    [
        ("email", "ada@example.com", "ad***@example.com"),
        ("email", "a@x.io", "***@x.io"),
        ("email", "ab@x.io", "***@x.io"),
        ("email", "žofie.nováková@příklad.cz", "žo***@příklad.cz"),
        ("email", "日本語@例え.jp", "日本***@例え.jp"),
        ("email", '"a@b"@x.io', '"a***@x.io'),
        ("email", "no address", "***"),
        ("phone", "+420 601 123 456", "*****56"),
        ("phone", "12345", "*****"),
        ("phone", "call me", "*****"),
        ("national_id", "123-45-6789", "***89"),
        ("national_id", "12", "***"),
        ("email", None, None),
        ("phone", "  ", None),
    ],
)
def test_a_mask_shows_enough_to_recognise_and_no_more(field, value, masked):
    assert mask(field, value) == masked


def test_a_person_becomes_sealed_masked_and_indexed_columns():
    ada = VAULT.new_subject(ADA)
    row = sealed_person(
        VAULT,
        ada,
        full_name="Ada Lovelace",
        email="ada@x.io",
        phone="+44 20 7946 0018",
        national_id="QQ 12 34 56 C",
        birth_date=date(1985, 12, 10),
    )
    assert row["email_masked"] == "ad***@x.io"
    assert row["phone_masked"] == "*****18"
    assert row["birth_year"] == 1985
    assert row["national_id_index"] == VAULT.blind_index("national_id", "qq123456c")
    assert ada.open("birth_date", row["birth_date"]) == "1985-12-10"
    assert "Lovelace" not in str(row)


def settings(keys: str, index: str = base64.b64encode(INDEX_KEY).decode()) -> Settings:
    return Settings(oltp_dsn="x", pii_keys=SecretStr(keys), pii_index_key=SecretStr(index))


ONE = base64.b64encode(bytes(32)).decode()


def test_keys_come_from_the_settings_and_the_last_is_current():
    vault = Vault.from_settings(settings(f"3:{ONE}, 7:{ONE}"))
    assert (vault.versions, vault.current_version) == ((3, 7), 7)
    assert ONE not in repr(settings(f"3:{ONE}"))


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("", "MILLRACE_PII_KEYS is not set"),
        (ONE, "VERSION:BASE64"),
        (f"0:{ONE}", "VERSION:BASE64"),
        (f"1:{ONE},1:{ONE}", "version 1 is there twice"),
        ("1:QUJD", "has 3 bytes; 32 are wanted"),
        ("1:?", "is not base64"),
    ],
)
def test_malformed_keys_are_refused_by_name_and_never_printed(keys, message):
    with pytest.raises(KeyMissingError, match=message) as refused:
        Vault.from_settings(settings(keys))
    assert ONE not in str(refused.value)


def test_a_missing_index_key_is_refused_by_name():
    with pytest.raises(KeyMissingError, match="MILLRACE_PII_INDEX_KEY is not set"):
        Vault.from_settings(settings(f"1:{ONE}", ""))
