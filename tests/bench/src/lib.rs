//! Benchmarks of portcullis beside its peers; `tests/bench/run` runs them.
