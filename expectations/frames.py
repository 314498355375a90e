"""Tables as pandas frames whose types survive nulls: whole numbers stay whole, decimals exact."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    import pyarrow as pa

DELETED = "_is_deleted"


def live_rows(table: pa.Table | pd.DataFrame) -> pd.DataFrame:
    """The rows that are not deletes: of a deleted row there is nothing left to judge."""
    frame = table if isinstance(table, pd.DataFrame) else _from_arrow(table)
    if DELETED in frame.columns:
        frame = frame[~frame[DELETED].fillna(False).astype(bool)]
    return frame.reset_index(drop=True)


def _from_arrow(table: pa.Table) -> pd.DataFrame:
    import pyarrow as pa

    # Plain pandas would turn a nullable bigint into floats, and money must not pass through one.
    exact = {
        pa.int64(): pd.Int64Dtype(),
        pa.int32(): pd.Int32Dtype(),
        pa.bool_(): pd.BooleanDtype(),
    }
    return table.to_pandas(types_mapper=exact.get, date_as_object=True)
