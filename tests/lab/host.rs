//! One host of the lab: a network namespace, commands in it, sockets in it.

use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// A network namespace, kept by a process that does nothing; it ends when this is dropped.
pub(crate) struct Host {
    name: &'static str,
    keeper: Child,
}

impl Host {
    /// Makes an empty network namespace.
    pub(super) fn new(name: &'static str) -> Self {
        // `cat` ends by itself when the pipe to its input closes, however this process ends.
        let mut keeper = Command::new("unshare")
            .args(["-n", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare is there");
        let mut line = String::new();
        let read = BufReader::new(keeper.stdout.take().expect("it is piped")).read_line(&mut line);
        assert_eq!(
            read.ok(),
            Some(1),
            "unshare -n made no network namespace for the {name}"
        );
        Self { name, keeper }
    }

    /// What it is called in the lab.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// The process that names the namespace.
    pub(crate) fn pid(&self) -> String {
        self.keeper.id().to_string()
    }

    /// A program that will run on this host.
    pub(crate) fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/proc/{}/ns/net", self.pid()))
            .arg(program);
        command.stdin(Stdio::null());
        command
    }

    /// Runs a shell command on this host, whatever comes of it.
    pub(crate) fn sh(&self, command: &str) -> Output {
        self.command("sh")
            .args(["-c", command])
            .output()
            .expect("there is a shell")
    }

    /// Runs `action` on a thread that stands in this host's network: sockets it makes stay there.
    pub(crate) fn within<T: Send>(&self, action: impl FnOnce() -> T + Send) -> T {
        let namespace =
            std::fs::File::open(format!("/proc/{}/ns/net", self.pid())).expect("the host lives");
        let name = self.name;
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
                    .unwrap_or_else(|error| panic!("entering the network of the {name}: {error}"));
                action()
            });
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Connects from this host, within [`PATIENCE`].
    pub(crate) fn connect(&self, to: &str) -> io::Result<TcpStream> {
        self.connect_within(to, PATIENCE)
    }

    /// Connects from this host; a refused or dropped attempt is the error.
    pub(crate) fn connect_within(&self, to: &str, timeout: Duration) -> io::Result<TcpStream> {
        let to = address(to);
        self.within(|| TcpStream::connect_timeout(&to, timeout))
    }

    /// Connects from one of this host's addresses; a refused or dropped attempt is the error.
    pub(crate) fn connect_from(
        &self,
        from: &str,
        to: &str,
        timeout: Duration,
    ) -> io::Result<TcpStream> {
        let (from, to) = (address(from), address(to));
        self.within(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.bind(&from.into())?;
            socket.connect_timeout(&to.into(), timeout)?;
            Ok(socket.into())
        })
    }

    /// Listens on this host.
    pub(crate) fn listen(&self, at: &str) -> TcpListener {
        let at = address(at);
        self.within(|| TcpListener::bind(at))
            .unwrap_or_else(|error| panic!("listening on {at} of the {}: {error}", self.name))
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.keeper.kill());
        drop(self.keeper.wait());
    }
}

fn address(text: &str) -> SocketAddr {
    text.parse()
        .unwrap_or_else(|error| panic!("'{text}' is no address with a port: {error}"))
}
