//! Event generators, the pipelines they feed, and each pipeline's expected output.
