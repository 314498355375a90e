"""F26: files of bronze missing or damaged: found by name, and brought back from Kafka."""

import random
import shutil

import pytest

from pipelines import bronze, care, checking, delta_log, healing, lake, rebuilding, recovering
from pipelines.checking import Kind
from tests.faults.lakes import is_whole, produce, rows_of

pytestmark = [pytest.mark.spark, pytest.mark.stack]


@pytest.fixture(scope="module")
def filled(spark, broker, tmp_path_factory):
    """A lake of three batches."""
    folder = tmp_path_factory.mktemp("filled")
    keys = set()
    for batch in range(3):
        keys |= produce(broker, 10 + batch, 300)
        bronze.ingest(spark, folder, broker)
    return folder, keys


@pytest.fixture
def damaged(filled, tmp_path, seed):
    """A copy of it, keys, and chance."""
    shutil.copytree(filled[0], tmp_path / "lake")
    return tmp_path / "lake", filled[1], random.Random(seed)


def live(folder):
    table = lake.bronze(folder)
    return [table / name for name in sorted(delta_log.read(table).files)]


def _missing(folder, chance):
    file = chance.choice(live(folder))
    file.unlink()
    return file


def _flipped(folder, chance):
    file = chance.choice(live(folder))
    data = bytearray(file.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)
    return file


def _flipped_without_sums(folder, chance):
    """The sums beside the file are gone: its pages still have their own."""
    file = chance.choice(live(folder))
    data = bytearray(file.read_bytes())
    data[len(data) // 3] ^= 4
    file.write_bytes(data)
    file.with_name(f".{file.name}.crc").unlink()
    return file


def _cut_short(folder, chance):
    file = chance.choice(live(folder))
    file.write_bytes(file.read_bytes()[:-100])
    return file


def _sums_flipped(folder, chance):
    sums = live(folder)[0].with_name(f".{live(folder)[0].name}.crc")
    data = bytearray(sums.read_bytes())
    data[9] ^= 1
    sums.write_bytes(data)
    return live(folder)[0]


def _commit_missing(folder, chance):
    file = lake.bronze(folder) / "_delta_log" / f"{1:020}.json"
    file.unlink()
    return file


def _commit_flipped(folder, chance):
    file = lake.bronze(folder) / "_delta_log" / f"{2:020}.json"
    data = bytearray(file.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)
    return file


def _last_commit_missing(folder, chance):
    """The sums that were beside it tell."""
    file = lake.bronze(folder) / "_delta_log" / f"{2:020}.json"
    file.unlink()
    return file


def _last_commit_gone_without_trace(folder, chance):
    """Only the checkpoint knows that there was more."""
    for file in (lake.bronze(folder) / "_delta_log").glob(f"*{2:020}*"):
        file.unlink()
    return lake.bronze_checkpoint(folder)


@pytest.mark.parametrize(
    ("damage", "kind"),
    [
        pytest.param(_missing, Kind.DATA, marks=pytest.mark.long),
        (_flipped, Kind.DATA),
        pytest.param(_flipped_without_sums, Kind.DATA, marks=pytest.mark.long),
        pytest.param(_cut_short, Kind.DATA, marks=pytest.mark.long),
        pytest.param(_sums_flipped, Kind.SUMS, marks=pytest.mark.long),
        pytest.param(_commit_missing, Kind.LOG, marks=pytest.mark.long),
        pytest.param(_commit_flipped, Kind.LOG, marks=pytest.mark.long),
        pytest.param(_last_commit_missing, Kind.LOG, marks=pytest.mark.long),
        pytest.param(_last_commit_gone_without_trace, Kind.CHECKPOINT, marks=pytest.mark.long),
    ],
)
def test_damage_is_named_and_healed_from_kafka(spark, broker, damaged, damage, kind) -> None:
    folder, keys, chance = damaged
    assert checking.check(folder) == []
    file = damage(folder, chance)
    found = checking.check(folder)
    assert (file, kind) in [(d.file, d.kind) for d in found], found
    print(*found, sep="\n")

    print(*healing.heal_bronze(spark, folder, broker, found), sep="\n")
    print(recovering.recover(spark, folder))
    fresh = produce(broker, 99, 20)
    bronze.ingest(spark, folder, broker)
    assert checking.check(folder) == []
    rows = rows_of(spark, folder)
    is_whole(rows, keys | fresh)
    assert {r["batch_id"] for r in rows} <= {0, 1, 2, 3, 4}


@pytest.mark.long
def test_a_damaged_sum_of_the_log_is_made_good_from_its_commits(spark, broker, damaged) -> None:
    folder, keys, chance = damaged
    care.tidy(spark, lake.bronze(folder))
    (file,) = (lake.bronze(folder) / "_delta_log").glob("*.checkpoint.parquet")
    data = bytearray(file.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)
    rebuilding.forget(spark)
    found = checking.check(folder)
    assert [(d.file, d.kind) for d in found] == [(file, Kind.LOG)]
    (done,) = healing.heal_bronze(spark, folder, broker, found)
    assert "from its commits" in done.how
    assert checking.check(folder) == []
    is_whole(rows_of(spark, folder), keys)
    bronze.ingest(spark, folder, broker)


def test_what_kafka_has_not_any_more_is_not_healed_in_silence(
    spark, broker, damaged, monkeypatch
) -> None:
    folder, _, chance = damaged
    file = _missing(folder, chance)
    nothing = spark.read.format("delta").load(str(lake.bronze(folder))).limit(0)
    shaped = nothing.selectExpr("*", "kafka_timestamp as timestamp")
    monkeypatch.setattr(healing, "refetch", lambda *_: shaped)
    with pytest.raises(healing.HealError, match="Kafka has only 0"):
        healing.heal_bronze(spark, folder, broker, checking.check(folder))
    assert file in [d.file for d in checking.check(folder)]
