//! The pipe that bytes of one direction go through: `splice(2)` in and out, no copy into this process.

use std::io;
use std::os::fd::OwnedFd;

use rustix::pipe::{
    PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with, splice,
};
use tokio::io::Interest;
use tokio::net::TcpStream;

/// How much a pipe holds, bytes; less where the user's pipes together reach
/// `/proc/sys/fs/pipe-user-pages-soft` and CAP_SYS_RESOURCE is missing.
pub const PIPE_SIZE: usize = 1 << 20;

/// A pipe; both ends are given back when it is dropped.
#[derive(Debug)]
pub(super) struct Pipe {
    entry: OwnedFd,
    exit: OwnedFd,
    size: usize,
}

impl Pipe {
    /// Makes an empty pipe.
    ///
    /// # Errors
    /// Passes on what the kernel says where there is no room for two more files.
    pub(super) fn new() -> io::Result<Self> {
        let (exit, entry) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        let size = fcntl_setpipe_size(&entry, PIPE_SIZE).or_else(|_| fcntl_getpipe_size(&entry))?;
        Ok(Self { entry, exit, size })
    }

    /// Fills the empty pipe from `from` with what waits there, at most as much as `allowed` says when there
    /// is something. Gives how much it was; 0 at the end of the stream.
    ///
    /// # Errors
    /// Passes on what the kernel says, and what `allowed` does.
    pub(super) async fn fill(
        &self,
        from: &TcpStream,
        allowed: impl Fn() -> io::Result<usize>,
    ) -> io::Result<usize> {
        let take = || {
            let most = self.size.min(allowed()?);
            Ok(splice(from, None, &self.entry, None, most, flags())?)
        };
        from.async_io(Interest::READABLE, take).await
    }

    /// Hands up to `count` bytes of what the pipe holds to `to`; gives how many it took.
    ///
    /// # Errors
    /// Passes on what the kernel says.
    pub(super) async fn drain(&self, to: &TcpStream, count: usize) -> io::Result<usize> {
        let give = || Ok(splice(&self.exit, None, to, None, count, flags())?);
        to.async_io(Interest::WRITABLE, give).await
    }
}

fn flags() -> SpliceFlags {
    SpliceFlags::MOVE | SpliceFlags::NONBLOCK
}
