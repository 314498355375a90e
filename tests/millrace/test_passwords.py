"""Passwords are generated once, kept, and private."""

from pathlib import Path

from pydantic import SecretStr

from millrace.stack import commands, dotenv, environment, passwords
from millrace.stack.layout import Layout
from millrace.stack.parts import PORT_NAMES
from oltp.privacy import Vault
from oltp.settings import Settings


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


def test_keys_of_personal_data_are_generated_as_the_vault_reads_them(tmp_path: Path) -> None:
    found = passwords.load_or_generate(tmp_path / "secrets.env")
    settings = Settings(
        oltp_dsn="",
        pii_keys=SecretStr(found["MILLRACE_PII_KEYS"]),
        pii_index_key=SecretStr(found["MILLRACE_PII_INDEX_KEY"]),
    )
    assert Vault.from_settings(settings).versions == (1,)


def test_no_part_is_given_keys_of_personal_data_and_only_the_sealer_those_of_the_audit(
    tmp_path: Path,
) -> None:
    layout = Layout(tmp_path)
    layout.make()
    ports = dict.fromkeys(PORT_NAMES, 1)
    secret = passwords.load_or_generate(layout.secrets_file)
    variables = environment.variables(layout, ports, secret, tmp_path, "local")
    privileged = environment.privileged(layout, ports, secret)
    site = commands.Site(layout, ports, secret, variables, privileged, tmp_path, "java")
    for part, command in commands.commands(site).items():
        given = " ".join((*command.words, *command.environment.values()))
        known = {name for name in passwords.NAMES if secret[name] in given}
        assert not {name for name in known if "PII" in name}, part
        audit = {name for name in known if "AUDIT" in name}
        sealer = {"MILLRACE_AUDIT_SEALER_PASSWORD", "MILLRACE_AUDIT_KEY"}
        assert audit == (sealer if part == "audit-sealer" else set()), part


def test_what_is_rendered_is_what_is_parsed() -> None:
    values = {"A": "1", "B": "postgresql://u:p@h:1/d?x=y", "C": ""}
    assert dotenv.parse("# comment\n\n" + dotenv.render(values)) == values
