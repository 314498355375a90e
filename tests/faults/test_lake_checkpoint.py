"""F25: bronze's checkpoint deleted, damaged, set back or ahead: refused by name, then made anew."""

import shutil

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from pipelines import bronze, checking, delta, lake, recovering
from tests.faults.lakes import EVENT, FORGOTTEN, is_whole, produce, rows_of

pytestmark = [pytest.mark.spark, pytest.mark.stack]


@pytest.fixture(scope="module")
def filled(spark, broker, tmp_path_factory):
    """A lake with two batches, as it was after each."""
    folder = tmp_path_factory.mktemp("filled")
    keys = produce(broker, 1, 400)
    bronze.ingest(spark, folder, broker)
    shutil.copytree(folder / "checkpoints", folder.with_name("early"))
    keys |= produce(broker, 2, 300)
    bronze.ingest(spark, folder, broker)
    return folder, keys


@pytest.fixture
def lake_of_two(filled, tmp_path):
    """A copy of it to break."""
    folder, keys = filled
    shutil.copytree(folder, tmp_path / "lake")
    return tmp_path / "lake", keys


def _deleted(folder, early):
    shutil.rmtree(lake.bronze_checkpoint(folder))


def _without_metadata(folder, early):
    (lake.bronze_checkpoint(folder) / "metadata").unlink()


def _truncated(folder, early):
    plan = lake.bronze_checkpoint(folder) / "offsets" / "1"
    plan.write_text(plan.read_text()[:40])


def _changed(folder, early):
    """A position further on would leave records out for good."""
    plan = lake.bronze_checkpoint(folder) / "offsets" / "1"
    head, tail = plan.read_text().rsplit(":", 1)
    plan.write_text(f"{head}:7{tail}")


def _set_back(folder, early):
    _deleted(folder, early)
    shutil.copytree(early / "bronze", lake.bronze_checkpoint(folder))


def _ahead(folder, early):
    """The table lost its last commit, and its checkpoint does not know."""
    log = lake.bronze(folder) / "_delta_log"
    for name in ("json", "crc"):
        (log / f"{1:020}.{name}").unlink()


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        pytest.param(_deleted, "is gone", marks=pytest.mark.long),
        pytest.param(_without_metadata, "is gone", marks=pytest.mark.long),
        pytest.param(_truncated, "cannot be read", marks=pytest.mark.long),
        pytest.param(_changed, "another plan of batch 1", marks=pytest.mark.long),
        (_set_back, "is older than the table"),
        pytest.param(_ahead, "lost commits", marks=pytest.mark.long),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_made_anew(
    spark, broker, filled, lake_of_two, broken, said
) -> None:
    folder, keys = lake_of_two
    broken(folder, filled[0].with_name("early"))
    before = delta.last_version(lake.bronze(folder))
    with pytest.raises(bronze.BronzeError, match=f"{said}.*millrace lake recover"):
        bronze.ingest(spark, folder, broker)
    assert delta.last_version(lake.bronze(folder)) == before

    name = bronze.source(filled[0])
    done = recovering.recover(spark, folder)
    assert said in done.reason
    assert bronze.source(folder) == name, "silver would have to start over"
    fresh = produce(broker, 3, 50)
    result = bronze.ingest(spark, folder, broker)
    assert result.last_batch_id == done.next_batch
    is_whole(rows_of(spark, folder), keys | fresh)
    assert bronze.ingest(spark, folder, broker).rows == {}
    assert not recovering.recover(spark, folder).was_needed


@pytest.mark.long
def test_what_kafka_lost_before_it_was_read_is_given_up_only_by_word(
    spark, broker, lake_of_two
) -> None:
    folder, keys = lake_of_two
    kept = produce(broker, 4, 30, to=(FORGOTTEN,))
    bronze.ingest(spark, folder, broker)
    produce(broker, 5, 60, to=(FORGOTTEN,))
    ends = recovering.next_offsets(delta.read(spark, lake.bronze(folder)))[FORGOTTEN]
    gone = {int(number): at + 5 for number, at in ends.items()}
    admin = AdminClient({"bootstrap.servers": broker})
    places = [TopicPartition(FORGOTTEN, number, at) for number, at in gone.items()]
    for future in admin.delete_records(places).values():
        future.result()
    with pytest.raises(bronze.BronzeError, match="recover --give-up"):
        bronze.ingest(spark, folder, broker)
    assert not recovering.recover(spark, folder).was_needed
    done = recovering.recover(spark, folder, gone_from=broker)
    assert {number: end for _, number, _, end in done.lost} == gone
    assert bronze.ingest(spark, folder, broker).rows["payments"] == 60 - 5 * len(gone)
    assert keys | kept <= {bytes(r["key"]) for r in rows_of(spark, folder)}
    assert checking.check(folder) == []


def test_events_are_kept_too_and_start_no_tick(filled) -> None:
    from schemas import topics

    folder, _ = filled
    assert (lake.bronze(folder) / f"entity={EVENT.rpartition('.v')[0]}").is_dir()
    assert EVENT not in topics.captured()
