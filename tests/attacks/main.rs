//! Attacks on gates that read FTP, each over real connections: portcullis has to resist all of them, and to say so
//! on its record.
//!
//! `tests/attacks/run` runs them against the kernel's own helper (nf_conntrack_ftp, nf_nat_ftp) as well, and writes
//! what was measured on both sides into `tests/RESULTS.md`.
#![expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "a panic is a failed test"
)]

use std::process::ExitCode;

#[expect(
    dead_code,
    unused_imports,
    reason = "shared with the tests at the edge"
)]
#[path = "../lab/mod.rs"]
mod lab;

mod active;
mod arena;
mod attack;
mod foreign;
mod holes;
mod passive;
mod published;
mod raw;
mod relayed;
mod session;
mod stream;
mod table;

use arena::Side;
use attack::Attack;
use libtest_mimic::{Failed, Trial};

/// Attacks that run at a time: they mostly wait for connections that must not come about.
const AT_A_TIME: usize = 16;

fn main() -> ExitCode {
    let attacks: Vec<Attack> = [
        published::ATTACKS,
        stream::ATTACKS,
        active::ATTACKS,
        passive::ATTACKS,
        holes::ATTACKS,
        foreign::ATTACKS,
        relayed::ATTACKS,
    ]
    .concat();
    if table::is_wanted() {
        let write = Trial::test("table", move || {
            table::write(&attacks).map_err(Failed::from)
        });
        return lab::enter(vec![write], None);
    }
    let trials = attacks.into_iter().zip(arena::FIRST..);
    let trials = trials.map(|(attack, number)| {
        Trial::test(attack.name, move || {
            let outcome = attack.run(Side::Portcullis, number);
            attack.judge(&outcome).map_err(Failed::from)
        })
    });
    lab::enter(trials.collect(), Some(AT_A_TIME))
}
