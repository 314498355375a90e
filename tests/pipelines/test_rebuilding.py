"""Silver again from bronze: a range replayed, all of it rebuilt, damage found and healed, care."""

import json
import shutil

import pytest
from pyarrow import parquet

from pipelines import care, checking, delta, delta_log, healing, lake, rebuilding
from pipelines.checking import Kind
from pipelines.refresh import build_silver
from schemas import contract as contracts

pytestmark = pytest.mark.spark


@pytest.fixture(scope="module")
def built(make_source, everything):
    """An entity built in three steps: made, changed, removed, quarantined."""
    s = make_source("addresses")
    s.land(*(s.change("c", s.row(n), 100 + n, 90) for n in range(20)))
    build_silver(s.spark, s.folder, s.contract, everything, s.schemas.get)
    s.land(
        *(s.change("u", s.row(n, country="DE"), 200 + n, 190) for n in range(10)),
        s.change("d", s.row(3), 300, 290),
        s.change("c", s.row(40, country="nowhere"), 310, 300),
    )
    build_silver(s.spark, s.folder, s.contract, everything, s.schemas.get)
    s.land(s.change("u", s.row(5, country="AT"), 400, 390))
    build_silver(s.spark, s.folder, s.contract, everything, s.schemas.get)
    return s


@pytest.fixture
def source(built, tmp_path):
    """The same, in a copy to break."""
    from dataclasses import replace

    shutil.copytree(built.folder, tmp_path / "lake")
    return replace(built, folder=tmp_path / "lake")


def damage(folder) -> list[checking.Damage]:
    """What is wrong with the files; records made by hand come from no checkpoint."""
    return [d for d in checking.check(folder) if d.kind != Kind.CHECKPOINT]


def rebuilt(s, everything):
    return rebuilding.rebuild(s.spark, s.folder, s.contract, everything, s.schemas.get)


def test_a_rebuild_says_what_increments_said(source, everything) -> None:
    """I13; and it notices when they do not."""
    done = rebuilt(source, everything)
    assert (done.is_equal, done.result.rows_in) == (True, 33)
    table = lake.current(source.folder, source.contract)
    wrong = delta.read(source.spark, table).where("country = 'AT'")
    assert wrong.count() == 1
    delta.upsert(wrong.selectExpr("* except (country)", "'FR' as country"), table,
                 source.contract.key)  # fmt: skip
    assert rebuilt(source, everything).is_equal is False
    assert rebuilt(source, everything).is_equal is True


def test_a_failed_rebuild_leaves_silver_as_it_was(source, everything, monkeypatch) -> None:
    before = rebuilding.checksum(source.spark, source.folder, source.contract)
    real = rebuilding.build_silver
    calls = []

    def fails_second(*arguments, **more):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError("no space left")
        return real(*arguments, **more)

    monkeypatch.setattr(rebuilding, "build_silver", fails_second)
    with pytest.raises(OSError, match="no space"):
        rebuilt(source, everything)
    assert rebuilding.checksum(source.spark, source.folder, source.contract) == before


def test_a_replay_changes_nothing_that_is_right_and_brings_what_is_not(source, everything) -> None:
    s = source
    args = (s.spark, s.folder, s.contract, everything, s.schemas.get)
    before = rebuilding.checksum(s.spark, s.folder, s.contract)
    again = rebuilding.replay(*args, "batch_id between 0 and 1")
    assert (again.rows_in, again.changed) == (32, 0)
    assert rebuilding.checksum(s.spark, s.folder, s.contract) == before
    # The watermark has not moved: what comes next is taken in its turn.
    s.land(s.change("u", s.row(6, country="PL"), 500, 490))
    assert rebuilding.replay(*args, "offset > 30").changed == 1
    assert build_silver(*args).rows_in == 1


@pytest.mark.parametrize(
    ("layer", "how"),
    [
        ("history", "data gone"),
        ("current", "data flipped"),
        ("history", "log gone"),
    ],
)
def test_damaged_silver_is_named_and_built_anew(source, everything, layer, how) -> None:
    s = source
    table = getattr(lake, layer)(s.folder, s.contract)
    before = rebuilding.checksum(s.spark, s.folder, s.contract)
    file = table / next(iter(delta_log.read(table).files))
    if how == "log gone":
        file = table / "_delta_log" / f"{1:020}.json"
    if how == "data flipped":
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        file.unlink()
    found = damage(s.folder)
    assert [(d.table, d.file) for d in found] == [(table, file)]
    healing.heal_silver(s.folder, found, lambda entity: rebuilt(s, everything))
    assert damage(s.folder) == []
    assert rebuilding.checksum(s.spark, s.folder, s.contract) == before


def test_damaged_quarantine_is_judged_again(source, everything) -> None:
    s = source
    table = lake.quarantine(s.folder)
    (file,) = delta_log.read(table).files
    (table / file).unlink()
    (found,) = damage(s.folder)
    assert found.kind == Kind.DATA
    (done,) = healing.heal_quarantine(s.spark, s.folder, [found])
    again = done.again[s.contract.entity]
    rebuilding.replay(s.spark, s.folder, s.contract, everything, s.schemas.get, again)
    assert delta.read(s.spark, table).select("op", "lsn").collect() == [("c", 310)]


def test_a_damaged_read_model_is_put_aside_to_be_made_anew(source) -> None:
    s = source
    table = lake.projection(s.folder, "some")
    delta.append(s.spark.range(3), table)
    (table / next(iter(delta_log.read(table).files))).unlink()
    healing.heal_projections(s.folder, damage(s.folder))
    assert damage(s.folder) == []
    assert not delta.exists(table)


def test_spark_refuses_a_flipped_page_even_without_sums_beside_it(source) -> None:
    """A changed byte is an error, never another value."""
    table = lake.current(source.folder, source.contract)
    file = table / next(iter(delta_log.read(table).files))
    group = parquet.ParquetFile(file).metadata.row_group(0)
    columns = [group.column(n) for n in range(group.num_columns)]
    (country,) = [c for c in columns if c.path_in_schema == "country"]
    begin = min(filter(None, (country.dictionary_page_offset, country.data_page_offset)))
    data = bytearray(file.read_bytes())
    data[begin + country.total_compressed_size - 1] ^= 1
    file.write_bytes(data)
    file.with_name(f".{file.name}.crc").unlink()
    with pytest.raises(Exception, match=r"(?i)checksum|crc"):
        delta.read(source.spark, table).collect()


def test_care_leaves_few_files_and_the_same_rows(source) -> None:
    s = source
    table = lake.bronze(s.folder)

    def rows() -> list[str]:
        return sorted(map(str, delta.read(s.spark, table).select("topic", "offset").collect()))

    before = rows()
    done = care.care(s.spark, s.folder, table)
    assert (done.files_before, done.files_after) == (3, 1)
    assert (
        sorted(map(str, delta.read(s.spark, table).select("topic", "offset").collect())) == before
    )
    assert list((table / "_delta_log").glob("*.checkpoint.parquet"))
    state = delta_log.read(table)
    assert (state.rows, state.partitioned_by) == (33, ("entity",))
    assert state.marks["bronze:test"] == 2
    assert damage(s.folder) == []
    stored = {row.name: row for row in care.storage(s.folder)}
    assert stored["bronze"].rows == 33
    assert stored["silver/addresses/current"].rows == 20
    # Old versions are still there for those who read them.
    assert len(list(table.rglob("*.parquet"))) > 2
    # Silver goes on over the commit of the compaction.
    assert delta.added_since(table, "bronze:test", 1)[0].rows == 1


def test_no_bounds_of_personal_columns_are_in_any_log(source) -> None:
    personal = {
        c.name for c in source.contract.columns if c.classification in ("pii", "restricted")
    }
    assert personal
    seen = 0
    for table in delta_log.tables(source.folder):
        for commit in (table / "_delta_log").glob("*.json"):
            for line in commit.read_text().splitlines():
                statistics = json.loads(json.loads(line).get("add", {}).get("stats") or "{}")
                seen += bool(statistics)
                for bounds in ("minValues", "maxValues", "nullCount"):
                    assert not personal & set(statistics.get(bounds, {})), commit
                assert "key" not in statistics.get("minValues", {})
    assert seen > 5


def test_no_personal_column_is_in_a_key_whose_bounds_are_kept() -> None:
    for contract in contracts.load_all():
        assert all(contract.column(n).classification == "internal" for n in contract.key)
