"""The sanctions list: every entry, alias and address, with the version and digest of the list."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from oltp.importing import location
from tests.imports import bring, digests

DATA = location.find(
    "ofac", Path(os.environ["MILLRACE_DATA"]) if "MILLRACE_DATA" in os.environ else None
)
real = pytest.mark.skipif(
    DATA is None, reason="no OFAC files: set MILLRACE_DATA or put shared/data beside the checkout"
)
NONE = ",-0- " * 8


@pytest.fixture
def small(tmp_path) -> Path:
    (tmp_path / "sdn.csv").write_text(
        f'1,"SMITH, José","individual","SDGT"{NONE}\n2,"ACME ""BANK"" CO.",-0- ,"CUBA"{NONE}\n\x1a'
    )
    (tmp_path / "alt.csv").write_text('1,7,"aka","JOE THE SMITH",-0- \n9,8,"aka","NOBODY",-0- \n')
    (tmp_path / "add.csv").write_text('2,5,"Main St, 1","Havana","Cuba",-0- \n2,6,-0- ,-0- ,"Cu')
    return tmp_path


def test_a_small_list_has_names_folded_nothing_as_null_and_its_digest(empty_migrated, small):
    report = bring(empty_migrated, "ofac", small)
    said = [str(one) for one in report.rejections]
    assert said == [
        "add.csv:2:country: the row has 5 of 6 columns: the file ends within it [cut]",
        "alt.csv:2:ent_num: there is no ent_num 9 [reference]",
    ]
    digest = hashlib.sha256((small / "sdn.csv").read_bytes()).hexdigest()
    assert empty_migrated.one("select name, version, content_sha256 from kyc.watchlists") == (
        "OFAC SDN",
        f"sha256:{digest}",
        digest,
    )
    assert empty_migrated.one(
        "select array_agg((entry_ref, entry_type, folded_name, title)::text order by entry_ref)"
        " from kyc.watchlist_entries"
    ) == (['(1,INDIVIDUAL,"smith jose",)', '(2,ENTITY,"acme bank co",)'],)


def test_the_next_version_of_a_list_is_a_list_of_its_own(empty_migrated, small):
    bring(empty_migrated, "ofac", small)
    with (small / "sdn.csv").open("a") as out:
        out.write(f'\n3,"NEW ONE",-0- ,"CUBA"{NONE}\n')
    bring(empty_migrated, "ofac", small)
    assert empty_migrated.one("select count(*) from kyc.watchlists") == (2,)
    assert empty_migrated.one("select count(*) from kyc.watchlist_entries") == (5,)


@real
def test_the_real_list_is_taken_whole_but_for_its_one_cut_row(database):
    report = bring(database, "ofac", DATA)
    assert [str(one) for one in report.rejections] == [
        "add.csv:11696:remarks: '-0' the file ends within the row [cut]"
    ]
    found = [
        database.one(f"select count(*) from kyc.watchlist_{what}")[0]
        for what in ("entries", "aliases", "addresses")
    ]
    # The files have 7,378, 9,681 and 11,695 line ends, and a last row after the last of each.
    assert found == [7_379, 9_682, 11_695]
    assert database.one(
        "select count(*) from kyc.watchlist_entries where entry_type = 'INDIVIDUAL'"
    ) == (3_845,)
    before = digests(database)
    assert set(bring(database, "ofac", DATA).added.values()) == {0}
    assert digests(database) == before
