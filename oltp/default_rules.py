"""Writes schemas/rules/default.yaml into its migration: `python -m oltp.default_rules`.

A migration does the same on every machine and day, so it carries the document, not its file.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

SOURCE = Path(__file__).parents[1] / "schemas" / "rules" / "default.yaml"
MIGRATION = Path(__file__).parent / "migrations" / "0018.rules.sql"
BEGIN, END = "-- default rules begin\n", "-- default rules end\n"
INSERT = """\
do $do$
begin
    perform card.draft_rules('{version}', $rules$
{document}
$rules$, 'migration', 'the rules of a new installation');
    perform card.shadow_rules('{version}', 'migration', 'the rules of a new installation');
    perform card.promote_rules('{version}', 'migration', 'the rules of a new installation');
end
$do$;
"""


def written(migration: str) -> str:
    """The migration's text with the default rules of today in it."""
    before, _, rest = migration.partition(BEGIN)
    _, _, after = rest.partition(END)
    document = yaml.safe_load(SOURCE.read_text(encoding="utf-8"))
    insert = INSERT.format(
        version=document["version"], document=json.dumps(document, indent=2, ensure_ascii=False)
    )
    return f"{before}{BEGIN}{insert}{END}{after}"


if __name__ == "__main__":
    MIGRATION.write_text(written(MIGRATION.read_text(encoding="utf-8")), encoding="utf-8")
