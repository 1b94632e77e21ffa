//! Benchmarks of portcullis beside its peers; `tests/bench/run` runs them.
//!
//! Here is what the programs of this package share: the control connection of [`control`], whose two
//! ends are `load` (the client) and `ftpd` (the server).

pub mod clock;
pub mod control;
pub mod figures;
pub mod growth;
pub mod lab;
pub mod load;
pub mod report;
