//! What holds at a real edge: kernel, servers and clients are real, the hosts are network namespaces.
//!
//! Needs no root: the program starts itself again inside namespaces of its own. See `tests/lab`.
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

#[expect(dead_code, reason = "shared with attacks, faults and load")]
mod lab;

#[path = "edge/control.rs"]
mod control;
#[path = "edge/conversion.rs"]
mod conversion;
#[path = "edge/families.rs"]
mod families;
#[path = "edge/ground.rs"]
mod ground;
#[path = "edge/limits.rs"]
mod limits;
#[path = "edge/operation.rs"]
mod operation;
#[path = "edge/pinholes.rs"]
mod pinholes;
#[path = "edge/policy.rs"]
mod policy;
#[path = "edge/privileges.rs"]
mod privileges;
#[path = "edge/record.rs"]
mod record;
#[path = "edge/relay.rs"]
mod relay;
#[path = "edge/tls.rs"]
mod tls;
#[path = "edge/transfers.rs"]
mod transfers;
#[path = "edge/urgent.rs"]
mod urgent;

fn main() -> ExitCode {
    let tests = [
        ground::tests(),
        transfers::tests(),
        pinholes::tests(),
        control::tests(),
        operation::tests(),
        tls::tests(),
        families::tests(),
        relay::tests(),
        limits::tests(),
        urgent::tests(),
        conversion::tests(),
        policy::tests(),
        privileges::tests(),
        record::tests(),
    ];
    lab::enter(tests.into_iter().flatten().collect(), None)
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
