//! The ingest and replay benchmark.
