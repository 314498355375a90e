"""The conventions, executed: what this file does not check, nobody keeps."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from schemas import contract, topics

ROOT = Path(__file__).parent.parent
TRACKED = [
    ROOT / name
    for name in subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()
    if (ROOT / name).is_file()
]  # fmt: skip
PYTHON = [path for path in TRACKED if path.suffix == ".py"]
SOURCE = [path for path in PYTHON if path.relative_to(ROOT).parts[0] not in {"tests", "bench"}]
CAPTURED = [c.entity for c in contract.load_all()]
ENTITIES = [c.entity for c in contract.load_published()]
EMPTY_NAMES = {"utils", "util", "helpers", "helper", "common", "misc", "base", "core", "manager"}


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_no_file_is_too_long_to_read_at_once() -> None:
    long = {name(p): n for p in PYTHON if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_no_function_is_longer_than_70_lines() -> None:
    long = [
        f"{name(path)}:{node.lineno} {node.name}"
        for path in SOURCE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (node.end_lineno or 0) - node.lineno >= 70
    ]
    assert not long


def test_names_say_something() -> None:
    empty = [name(p) for p in TRACKED if EMPTY_NAMES & {part.split(".")[0] for part in p.parts}]
    assert not empty


def test_every_module_says_first_what_it_is_for() -> None:
    silent = [
        name(path)
        for path in PYTHON
        if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_dbt_is_no_python_package() -> None:
    assert not list((ROOT / "dbt").rglob("__init__.py"))


@pytest.mark.parametrize("entity", ENTITIES)
def test_one_stem_is_one_thing(entity: str) -> None:
    """Contract, topic, suite and staging model of an entity share its name."""
    assert contract.load(entity).topic in {topic.name for topic in topics.all_topics()}
    assert (ROOT / "expectations" / "silver" / f"{entity}.yaml").is_file()
    assert list((ROOT / "dbt" / "models").rglob(f"stg_silver__{entity}.sql"))


def test_every_contract_has_assets_as_far_as_it_is_carried() -> None:
    from orchestration.definitions import defs

    keys = {tuple(key.path) for key in defs.resolve_asset_graph().get_all_asset_keys()}
    assert {(layer, entity) for layer in ("bronze", "silver") for entity in CAPTURED} <= keys
    assert {("warehouse", entity) for entity in ENTITIES} <= keys


def test_every_model_has_its_documentation_beside_it() -> None:
    models = [p for p in TRACKED if p.suffix == ".sql" and "models" in p.parts]
    assert models
    assert not [name(p) for p in models if not p.with_suffix(".yml").is_file()]


def test_every_mart_has_an_enforced_contract() -> None:
    for path in (ROOT / "dbt" / "models" / "marts").rglob("*.yml"):
        for model in yaml.safe_load(path.read_text()).get("models", ()):
            config = model.get("config", {})
            assert config.get("contract", {}).get("enforced"), f"{name(path)}: {model['name']}"
            undocumented = [c["name"] for c in model["columns"] if not c.get("description")]
            assert not undocumented, f"{name(path)}: {undocumented}"


def test_every_agent_that_decides_has_a_policy_beside_it() -> None:
    agents = [p for p in SOURCE if p.name == "agent.py"]
    assert len(agents) >= 3
    filing_only = {"dead_letters"}  # keeps bytes as they are; there is nothing to decide
    for path in agents:
        assert path.parent.name in filing_only or (path.parent / "policy.py").is_file(), name(path)


def literals(path: Path, pattern: str) -> list[str]:
    """String constants of the code (docstrings aside) that match the pattern."""
    tree = ast.parse(path.read_text())
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    return [
        f"{name(path)}:{node.lineno} {node.value!r}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in docstrings
        and re.search(pattern, node.value)
    ]


def test_topic_names_live_in_one_file() -> None:
    pattern = r"^credit\.[a-z_]+\.[a-z_]+\.v\d|^oltp\.[a-z_]+\.[a-z_]+$|\.dlq$"
    found = [hit for path in SOURCE if name(path) != "schemas/topics.py"
             for hit in literals(path, pattern)]  # fmt: skip
    assert not found


def test_redis_keys_live_in_one_file() -> None:
    pattern = r"^(card|account|customer):|:(snapshot|velocity|velocity_meta|kyc)$"
    found = [hit for path in SOURCE if name(path) != "schemas/keys.py"
             for hit in literals(path, pattern)]  # fmt: skip
    assert not found


def settings_fields() -> dict[str, str]:
    """Environment variable -> where it is declared, over every settings class."""
    return {
        f"MILLRACE_{item.target.id.upper()}": name(path)
        for path in SOURCE
        if path.name == "settings.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and "Settings" in node.name
        for item in node.body
        if isinstance(item, ast.AnnAssign)
        and isinstance(item.target, ast.Name)
        and item.target.id != "model_config"
    }


def test_every_setting_is_documented() -> None:
    documented = set(re.findall(r"^#? ?(\w+)=", (ROOT / ".env.example").read_text(), re.M))
    fields = settings_fields()
    assert fields
    assert {k: v for k, v in fields.items() if k not in documented} == {}


def test_the_environment_is_read_in_settings_only() -> None:
    allowed = {"millrace", "settings.py"}
    found = [
        name(path)
        for path in SOURCE
        if re.search(r"\bos\.(environ|getenv)\b", path.read_text())
        and not allowed & {path.name, path.relative_to(ROOT).parts[0]}
    ]
    assert not found


def test_nothing_names_a_machine_a_registry_or_unfinished_work() -> None:
    me = Path(__file__).resolve()
    hosts = "|".join(
        ["py" + r"pi\.org", "python" + "hosted", r"repo1?\.ma" + "ven", "npm" + r"js\.org"]
    )
    patterns = {
        "registry host": re.compile(hosts),
        "machine path": re.compile(r"(?<![\w.])/(work|farm|root)/"),
        "unfinished": re.compile(r"\b(TO" + r"DO|FIX" + r"ME)\b|NotImplemented" + "Error"),
    }
    found = []
    for path in TRACKED:
        if path.resolve() == me or path.suffix in {".png", ".lock", ".svg"}:
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        found += [f"{name(path)}: {what}" for what, pattern in patterns.items()
                  if pattern.search(text)]  # fmt: skip
    assert not found
