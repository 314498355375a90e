"""The declared lineage of the agents, as events."""

from openlineage.client.event_v2 import RunState

from schemas import contract
from streams.flows import flows
from streams.lineage import Places, event

RUN = "0b6f2a4e-6f52-4d0e-9f8e-2f0b8f5f1a10"
PLACES = Places("127.0.0.1:9092", "redis://127.0.0.1:6379/0", "postgresql://u:secret@h:5433/oltp")


def test_no_password_becomes_part_of_a_dataset_name() -> None:
    assert all("secret" not in str(event(RunState.START, RUN, f)) for f in flows(PLACES))


def test_every_column_an_agent_takes_from_a_captured_table_is_in_its_contract() -> None:
    columns = {c.topic: {column.name for column in c.columns} for c in contract.load_all()}
    taken = {
        (source.name, column)
        for flow in flows(PLACES)
        for output in flow.outputs
        for sources in output.columns.values()
        for source, column in sources
        if source.name in columns
    }
    assert taken
    assert all(column in columns[topic] for topic, column in taken)
