"""Packed records become Parquet, partitioned by user: what the peers read.

    records.py RECORDS.bin DIRECTORY PARTITIONS

In: 32 bytes a record in arrival order, as `segno dataset` writes them. Out: `part-0.parquet` and so on, zstd, each in
arrival order, with event_id as 16 hexadecimal digits, user_id, product_id, event_type as a word, ts_ms. A user is in the
partition splitmix64(user_id) % PARTITIONS.
"""

import os
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

RECORD = np.dtype(
    [("event_id", "<u8"), ("ts_ms", "<i8"), ("user_id", "<u4"), ("product_id", "<u4"), ("type", "u1"), ("pad", "u1", 7)]
)
SCHEMA = pa.schema(
    [
        ("event_id", pa.string()),
        ("user_id", pa.int64()),
        ("product_id", pa.int64()),
        ("event_type", pa.string()),
        ("ts_ms", pa.int64()),
    ]
)
TYPES = pa.array(["view", "click", "cart", "purchase"])
AT_ONCE = 1_000_000


def splitmix64(x):
    u = np.uint64
    with np.errstate(over="ignore"):
        z = x + u(0x9E3779B97F4A7C15)
        z = (z ^ (z >> u(30))) * u(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> u(27))) * u(0x94D049BB133111EB)
        return z ^ (z >> u(31))


def hexadecimal(ids):
    """The ids as strings of 16 digits, without a Python string each."""
    digits = pa.py_buffer(ids.byteswap().tobytes().hex().encode())
    ends = pa.py_buffer(np.arange(0, 16 * (len(ids) + 1), 16, dtype=np.int32))
    return pa.StringArray.from_buffers(len(ids), ends, digits)


def main():
    source, target, partitions = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.makedirs(target, exist_ok=True)
    paths = [os.path.join(target, f"part-{partition}.parquet") for partition in range(partitions)]
    writers = [pq.ParquetWriter(path, SCHEMA, compression="zstd") for path in paths]
    records = np.memmap(source, dtype=RECORD, mode="r")
    for start in range(0, len(records), AT_ONCE):
        some = np.asarray(records[start : start + AT_ONCE])
        home = splitmix64(some["user_id"].astype(np.uint64)) % np.uint64(partitions)
        for partition, writer in enumerate(writers):
            own = some[home == partition]
            columns = [
                hexadecimal(own["event_id"]),
                pa.array(own["user_id"].astype(np.int64)),
                pa.array(own["product_id"].astype(np.int64)),
                TYPES.take(pa.array(own["type"])),
                pa.array(own["ts_ms"]),
            ]
            writer.write_table(pa.table(columns, schema=SCHEMA))
    for writer in writers:
        writer.close()


main()
