"""Passwords are generated once, kept, and private."""

from pathlib import Path

from millrace.stack import dotenv, passwords


def test_passwords_are_generated_once(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    first = passwords.load_or_generate(file)
    assert set(first) == set(passwords.NAMES)
    assert len(set(first.values())) == len(first)
    assert passwords.load_or_generate(file) == first


def test_only_the_owner_may_read_them(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    passwords.load_or_generate(file)
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_new_name_joins_those_that_exist(tmp_path: Path) -> None:
    file = tmp_path / "secrets.env"
    file.write_text("MILLRACE_CDC_PASSWORD=kept\n")
    found = passwords.load_or_generate(file)
    assert found["MILLRACE_CDC_PASSWORD"] == "kept"
    assert set(found) == set(passwords.NAMES)


def test_what_is_rendered_is_what_is_parsed() -> None:
    values = {"A": "1", "B": "postgresql://u:p@h:1/d?x=y", "C": ""}
    assert dotenv.parse("# comment\n\n" + dotenv.render(values)) == values
