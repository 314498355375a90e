-- An incremental snapshot reads a table in chunks beside the stream. Debezium marks a chunk's window by
-- a row in ops.signal and takes the row away again to close it, so the table does not grow.
-- depends: 0019.stand_in

grant delete on ops.signal to cdc;
