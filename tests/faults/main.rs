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
    let whole = has_the_whole_machine();
    let tests = tests.into_iter().flatten().map(|test| {
        let ignored = !whole && NEED_ROOT.contains(&test.name());
        test.with_ignored_flag(ignored)
    });
    lab::enter(tests.collect(), Some(AT_A_TIME))
}

/// What only root of the machine itself may do to it; listed as ignored for others.
const NEED_ROOT: [&str; 3] = [
    "a_start_on_a_read_only_disk_says_so",
    "a_full_table_of_connections_lets_nothing_new_through_and_passes",
    "transfers_wait_while_another_program_holds_the_ruleset",
];

/// Whether root here is root of the machine (user_namespaces(7)): all ids are mapped to themselves.
fn has_the_whole_machine() -> bool {
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let ids: Vec<&str> = map.split_whitespace().collect();
    ids == ["0", "0", "4294967295"]
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
