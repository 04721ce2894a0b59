"""One run of one peer, in a process of its own.

    peer.py ENGINE COMPUTATION THREADS FILE...

Out, on stdout: JSON with the seconds, the sums of the result, the most memory held.
"""

import json
import resource
import sys

import queries

RUNS = {
    "duckdb": {
        "sessions": queries.duckdb(queries.DUCKDB_SESSIONS),
        "minutes": queries.duckdb(queries.DUCKDB_MINUTES),
        "unique-minutes": queries.duckdb(queries.DUCKDB_UNIQUE_MINUTES),
    },
    "duckdb-fitted": {
        "sessions": queries.duckdb(queries.DUCKDB_SESSIONS_FITTED),
        "unique-minutes": queries.duckdb(queries.DUCKDB_UNIQUE_MINUTES_FITTED),
    },
    "polars": {
        "sessions": queries.polars(queries.polars_sessions, "streaming"),
        "minutes": queries.polars(queries.polars_minutes, "streaming"),
        "unique-minutes": queries.polars(queries.polars_unique_minutes, "streaming"),
    },
    "polars-fitted": {
        "sessions": queries.polars(queries.polars_sessions_fitted, "streaming"),
        "unique-minutes": queries.polars(queries.polars_unique_minutes_fitted, "streaming"),
    },
}

if __name__ == "__main__":
    engine, computation, threads, *files = sys.argv[1:]
    seconds, sums = RUNS[engine][computation](files, int(threads))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"seconds": seconds, "sums": list(sums), "peak_rss_bytes": peak}))
