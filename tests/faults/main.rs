//! Faults of the machine below portcullis: killed processes, a kernel that says no, edited tables, full disks,
//! locked stores, stepped clocks, interfaces that go. Each says what the client sees, what the log says, that
//! nothing stays open, and that it recovers.
//!
//! The table in `tests/RESULTS.md` is what is asserted here.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "a panic is a failed test"
)]

use std::process::ExitCode;

#[expect(dead_code, reason = "shared with the tests at the edge")]
#[path = "../lab/mod.rs"]
mod lab;

mod clock;
mod ground;
mod killed;
mod netlink;
mod network;
mod record;
mod table;
mod tracking;

/// Faults at a time: they mostly wait.
const AT_A_TIME: usize = 8;

fn main() -> ExitCode {
    let tests = [
        record::tests(),
        tracking::tests(),
        killed::tests(),
        netlink::tests(),
        table::tests(),
        network::tests(),
        clock::tests(),
    ];
    lab::enter(tests.into_iter().flatten().collect(), Some(AT_A_TIME))
}

/// A test that has the name of its function.
macro_rules! claims {
    ($($name:ident),+ $(,)?) => {
        /// The claims of this file.
        pub(crate) fn tests() -> Vec<libtest_mimic::Trial> {
            vec![$(libtest_mimic::Trial::test(stringify!($name), || { $name(); Ok(()) })),+]
        }
    };
}
pub(crate) use claims;
