//! What is fuzzed, one function a target: it takes bytes, and panics where something is wrong.
//!
//! The fuzz targets and `tests/corpora.rs` share these.

pub mod codec;
pub mod configuration;
pub mod eve;
pub mod http;
pub mod inspect;
pub mod netlink;
pub mod policy;

use std::path::PathBuf;

/// Runs one input.
pub type Body = fn(&[u8]);

/// Every target by name.
pub const TARGETS: [(&str, Body); 7] = [
    ("codec", codec::run),
    ("configuration", configuration::run),
    ("eve", eve::run),
    ("http", http::run),
    ("inspect", inspect::run),
    ("netlink", netlink::run),
    ("policy", policy::run),
];

/// A folder of this process; whoever starts it gives TMPDIR and takes it away.
fn folder(name: &str) -> PathBuf {
    let folder = format!("portcullis-fuzz-{}-{name}", std::process::id());
    let folder = std::env::temp_dir().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}
