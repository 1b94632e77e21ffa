//! The page in a browser: every view in both themes and two widths, by mouse and by keys, before a real gate.
//!
//! Pictures of every view are left in `target/page`. What is tried: `tests/page/check.mjs`.
#![expect(clippy::expect_used, reason = "what cannot be started fails the test")]

use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn the_page_shows_what_the_gate_does() {
    let run = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page/run");
    let output = Command::new(run)
        .env("PAGE_PORTCULLIS", env!("CARGO_BIN_EXE_portcullis"))
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
