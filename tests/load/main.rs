//! What holds under load: every limit with its reply and its count, thousands of connections that trickle,
//! and a machine that gives no more files, all on loopback; honest clients among hostile ones, in namespaces.
//!
//! Brings its own harness because the FTP server is this program as well, in a process of its own: its
//! sockets and those of the clients do not fit under one limit on open files.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::string_slice,
    clippy::indexing_slicing,
    clippy::expect_used,
    reason = "a panic is a failed test"
)]

use std::process::ExitCode;

use libtest_mimic::Arguments;

#[expect(dead_code, reason = "shared with the tests at the edge")]
#[path = "../lab/mod.rs"]
mod lab;

#[expect(dead_code, reason = "shared with the simulation")]
#[path = "../simulation/chance.rs"]
mod chance;

mod client;
mod files;
mod ground;
mod limits;
mod mix;
mod scrape;
mod server;
mod trickle;

fn main() -> ExitCode {
    ground::raise_file_limit();
    if let Some(address) = std::env::var_os(server::ADDRESS) {
        return server::serve(&address.into_string().unwrap());
    }
    if let Some(seconds) = std::env::var_os(mix::SECONDS) {
        return mix::inside(&seconds.into_string().unwrap());
    }
    let mut arguments = Arguments::from_args();
    // One at a time: each has the processors to itself.
    arguments.test_threads = Some(1);
    let tests = [
        limits::tests(),
        files::tests(),
        trickle::tests(),
        mix::tests(),
    ];
    libtest_mimic::run(&arguments, tests.into_iter().flatten().collect()).exit_code()
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
