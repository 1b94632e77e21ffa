//! What is measured, as values: sessions played through the inspector, policies of any size, requests and records.
//!
//! The benches measure these in time, `tests/bench/callgrind` in instructions.
#![allow(
    dead_code,
    reason = "each program that includes this takes what it measures"
)]

pub mod audit;
pub mod pinholes;
pub mod policies;
pub mod sessions;

/// A folder of this process, taken away when it is dropped.
pub struct Folder(std::path::PathBuf);

impl Folder {
    /// Makes one below the system's folder for temporary files.
    pub fn new(name: &str) -> Self {
        let name = format!("portcullis-bench-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// The path of a file in it.
    pub fn file(&self, name: &str) -> std::path::PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder that stays is no fault of what was measured.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
