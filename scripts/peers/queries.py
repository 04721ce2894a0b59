"""The three computations in the words of each peer, as fast as we know how to say them there.

Each function takes the Parquet files and a number of threads, and returns (seconds, rows). The clock starts with the
libraries loaded and ends when the whole result lies in memory, as a table that can be read row by row; the sums are taken
from it after that. The files are in the page cache.

`sessions` is the way anyone would write it: sort by user and time, mark the gaps, number the sessions; `unique_minutes`
keeps one event of an id and then counts. The fitted ones take more thought than most put in: sessions first gather each
user's events by half hours (two events of one half hour can never be a gap apart) and then do the same over a tenth of the
rows; distinct ids are counted within each user's minute, which is right because copies share user and time here.

Tried and slower, on 2 cores and 5 M events: Polars' in-memory engine (sessions 3.9 against 4.4 M events/s, minutes 8.1
against 17.4; distinct ids within the noise), and Polars' group_by with first() for the distinct ids.
"""

import time

GAP_MS = 30 * 60_000
MINUTE_MS = 60_000
TYPES = [("views", "view"), ("clicks", "click"), ("carts", "cart"), ("purchases", "purchase")]


# --- DuckDB ---------------------------------------------------------------------------------------------------------

DUCKDB_SESSIONS = f"""
WITH marked AS (
    SELECT user_id, ts_ms, event_type,
           ts_ms - lag(ts_ms, 1, -{1 << 62}) OVER (PARTITION BY user_id ORDER BY ts_ms) > {GAP_MS} AS begins
    FROM events),
numbered AS (
    SELECT user_id, ts_ms, event_type,
           sum(begins::INT) OVER (PARTITION BY user_id ORDER BY ts_ms ROWS UNBOUNDED PRECEDING) AS session
    FROM marked)
SELECT user_id, min(ts_ms) AS first_ms, max(ts_ms) AS last_ms, count(*) AS events,
       {", ".join(f"count(*) FILTER (event_type = '{kind}') AS {name}" for name, kind in TYPES)}
FROM numbered GROUP BY user_id, session
"""

DUCKDB_SESSIONS_FITTED = f"""
WITH halves AS (
    SELECT user_id, min(ts_ms) AS first_ms, max(ts_ms) AS last_ms, count(*) AS events,
           {", ".join(f"count(*) FILTER (event_type = '{kind}') AS {name}" for name, kind in TYPES)}
    FROM events GROUP BY user_id, ts_ms // {GAP_MS}),
marked AS (
    SELECT *, first_ms - lag(last_ms, 1, -{1 << 62}) OVER (PARTITION BY user_id ORDER BY first_ms) > {GAP_MS} AS begins
    FROM halves),
numbered AS (
    SELECT *, sum(begins::INT) OVER (PARTITION BY user_id ORDER BY first_ms ROWS UNBOUNDED PRECEDING) AS session
    FROM marked)
SELECT user_id, min(first_ms) AS first_ms, max(last_ms) AS last_ms, sum(events)::BIGINT AS events,
       {", ".join(f"sum({name})::BIGINT AS {name}" for name, _ in TYPES)}
FROM numbered GROUP BY user_id, session
"""

DUCKDB_MINUTES = f"""
SELECT user_id, ts_ms // {MINUTE_MS} * {MINUTE_MS} AS minute_ms, count(*) AS events
FROM events GROUP BY user_id, minute_ms
"""

DUCKDB_UNIQUE_MINUTES = f"""
WITH firsts AS (SELECT any_value(user_id) AS user_id, any_value(ts_ms) AS ts_ms FROM events GROUP BY event_id)
SELECT user_id, ts_ms // {MINUTE_MS} * {MINUTE_MS} AS minute_ms, count(*) AS events
FROM firsts GROUP BY user_id, minute_ms
"""

DUCKDB_UNIQUE_MINUTES_FITTED = f"""
SELECT user_id, ts_ms // {MINUTE_MS} * {MINUTE_MS} AS minute_ms, count(DISTINCT event_id) AS events
FROM events GROUP BY user_id, minute_ms
"""


def duckdb(query):
    def run(files, threads):
        import duckdb

        base = duckdb.connect(config={"threads": threads, "preserve_insertion_order": False})
        names = ", ".join(f"'{file}'" for file in files)
        base.execute(f"CREATE VIEW events AS SELECT * FROM read_parquet([{names}])")
        began = time.perf_counter()
        base.execute(f"CREATE TABLE result AS {query}")
        seconds = time.perf_counter() - began
        sums = base.execute(SUMS["last_ms" in query].format(table="result")).fetchone()
        return seconds, sums

    return run


# By whether the rows are sessions.
SUMS = {
    True: "SELECT count(*), sum(events)::BIGINT, sum(last_ms - first_ms)::BIGINT FROM {table}",
    False: "SELECT count(*), sum(events)::BIGINT, max(events)::BIGINT FROM {table}",
}


# --- Polars ---------------------------------------------------------------------------------------------------------


def polars(query, engine):
    def run(files, threads):
        import os

        os.environ["POLARS_MAX_THREADS"] = str(threads)
        import polars as pl

        began = time.perf_counter()
        result = query(pl, pl.scan_parquet(files)).collect(engine=engine)
        seconds = time.perf_counter() - began
        if "last_ms" in result.columns:
            third = (result["last_ms"] - result["first_ms"]).sum()
        else:
            third = result["events"].max()
        return seconds, (result.height, int(result["events"].sum()), int(third))

    return run


def polars_sessions(pl, events):
    kinds = [(pl.col("event_type") == kind).sum().alias(name) for name, kind in TYPES]
    begins = (pl.col("ts_ms").diff() > GAP_MS) | (pl.col("user_id") != pl.col("user_id").shift())
    return (
        events.select("user_id", "ts_ms", "event_type")
        .sort("user_id", "ts_ms")
        .with_columns(session=begins.fill_null(True).cum_sum())
        .group_by("session")
        .agg(
            pl.col("user_id").first(),
            pl.col("ts_ms").min().alias("first_ms"),
            pl.col("ts_ms").max().alias("last_ms"),
            pl.len().alias("events"),
            *kinds,
        )
    )


def polars_sessions_fitted(pl, events):
    kinds = [(pl.col("event_type") == kind).sum().alias(name) for name, kind in TYPES]
    begins = (pl.col("first_ms") - pl.col("last_ms").shift() > GAP_MS) | (pl.col("user_id") != pl.col("user_id").shift())
    return (
        events.group_by("user_id", pl.col("ts_ms") // GAP_MS)
        .agg(pl.col("ts_ms").min().alias("first_ms"), pl.col("ts_ms").max().alias("last_ms"), pl.len().alias("events"), *kinds)
        .sort("user_id", "first_ms")
        .with_columns(session=begins.fill_null(True).cum_sum())
        .group_by("session")
        .agg(
            pl.col("user_id").first(),
            pl.col("first_ms").min(),
            pl.col("last_ms").max(),
            pl.col("events", *(name for name, _ in TYPES)).sum(),
        )
    )


def polars_minutes(pl, events):
    minute = (pl.col("ts_ms") // MINUTE_MS * MINUTE_MS).alias("minute_ms")
    return events.group_by("user_id", minute).agg(pl.len().alias("events"))


def polars_unique_minutes(pl, events):
    return polars_minutes(pl, events.select("event_id", "user_id", "ts_ms").unique(subset="event_id"))


def polars_unique_minutes_fitted(pl, events):
    minute = (pl.col("ts_ms") // MINUTE_MS * MINUTE_MS).alias("minute_ms")
    return events.group_by("user_id", minute).agg(pl.col("event_id").n_unique().alias("events"))
