//! vsftpd on one of the hosts.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use super::{Host, enter, script, wait_until};

/// A running vsftpd; ends when dropped.
pub(crate) struct Vsftpd {
    process: Child,
    dir: PathBuf,
}

impl Vsftpd {
    /// Starts it and waits until it listens.
    pub(super) fn start(host: &Host, dir: &Path, port: u16, options: &[&str]) -> Self {
        std::fs::create_dir(dir).expect("one server per directory");
        let mut process = host
            .command(script("vsftpd"))
            .arg(enter::vsftpd())
            .arg(dir)
            .arg(port.to_string())
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .expect("there is a shell");
        wait_until("vsftpd to listen", || {
            assert_eq!(process.try_wait().ok(), Some(None), "vsftpd ended at once");
            host.connect(&format!("127.0.0.1:{port}")).ok()
        });
        Self {
            process,
            dir: dir.to_owned(),
        }
    }

    /// The path of a file that its users see.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.join("pub").join(name)
    }

    /// Everything it logged: commands, replies, addresses.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("vsftpd.log")).unwrap_or_default()
    }
}

impl Drop for Vsftpd {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
