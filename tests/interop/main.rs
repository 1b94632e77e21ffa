//! The core of the interoperability matrix: real clients and servers move files through portcullis.
//!
//! Needs no root. What is tried, and the whole matrix: `tests/interop/run`.
#![expect(clippy::expect_used, reason = "what cannot be started fails the test")]

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn every_client_and_every_server_works_through_portcullis() {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/run");
    let output = Command::new(run)
        .arg("--core")
        .env("INTEROP_PORTCULLIS", env!("CARGO_BIN_EXE_portcullis"))
        .env(
            "INTEROP_REPORTS",
            concat!(env!("CARGO_TARGET_TMPDIR"), "/interop-reports"),
        )
        .stdin(Stdio::null())
        .output()
        .expect("there is a shell");
    assert!(
        output.status.success(),
        "{}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout),
    );
}
