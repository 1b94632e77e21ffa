//! Three network namespaces in a row: client, edge, server.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use portcullis::config::Kernel;
use portcullis::firewall::{Intercept, Settings};
use portcullis::pinhole::Pinhole;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use socket2::{Domain, Socket, Type};

/// Shorter than the second after which Linux sends a SYN again.
pub(crate) const ONE_SYN: Duration = Duration::from_millis(600);
/// How long things may take that should happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(8);

/// The addresses of the lab in one family.
#[derive(Clone, Copy)]
pub(crate) struct Addresses {
    pub(crate) client: IpAddr,
    pub(crate) other_client: IpAddr,
    pub(crate) edge_inside: IpAddr,
    pub(crate) edge_outside: IpAddr,
    pub(crate) server: IpAddr,
}

pub(crate) fn v4() -> Addresses {
    Addresses {
        client: ip("10.60.1.2"),
        other_client: ip("10.60.1.3"),
        edge_inside: ip("10.60.1.1"),
        edge_outside: ip("198.51.100.1"),
        server: ip("198.51.100.20"),
    }
}

pub(crate) fn v6() -> Addresses {
    Addresses {
        client: ip("fd60::2"),
        other_client: ip("fd60::3"),
        edge_inside: ip("fd60::1"),
        edge_outside: ip("2001:db8:1::1"),
        server: ip("2001:db8:1::20"),
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

pub(crate) fn at(ip: IpAddr, port: u16) -> SocketAddr {
    SocketAddr::new(ip, port)
}

/// A pinhole without any translation.
pub(crate) fn plain(initiator: IpAddr, announced: SocketAddr) -> Pinhole {
    Pinhole {
        initiator,
        announced,
        target: announced,
        source: initiator,
        from_port_20: false,
    }
}

/// The namespaces; gone when dropped.
pub(crate) struct Lab {
    pub(crate) client: Namespace,
    pub(crate) edge: Namespace,
    pub(crate) server: Namespace,
}

impl Lab {
    /// Builds the three, with an edge that forwards what carries our connection mark and nothing else.
    pub(crate) fn new() -> Self {
        let lab = Self {
            client: Namespace::new(),
            edge: Namespace::new(),
            server: Namespace::new(),
        };
        join(&lab.edge, "lan0", &lab.client, "c0");
        join(&lab.edge, "wan0", &lab.server, "s0");
        lab.client.sh(
            "ip addr add 10.60.1.2/24 dev c0; ip addr add 10.60.1.3/24 dev c0
             ip addr add fd60::2/64 dev c0 nodad; ip addr add fd60::3/64 dev c0 nodad preferred_lft 0
             ip route add default via 10.60.1.1; ip route add default via fd60::1",
        );
        lab.server.sh(
            "ip addr add 198.51.100.20/24 dev s0; ip addr add 2001:db8:1::20/64 dev s0 nodad
             ip route add default via 198.51.100.1; ip route add default via 2001:db8:1::1",
        );
        lab.edge.sh(
            "ip addr add 10.60.1.1/24 dev lan0; ip addr add fd60::1/64 dev lan0 nodad
             ip addr add 198.51.100.1/24 dev wan0; ip addr add 2001:db8:1::1/64 dev wan0 nodad
             echo 1 > /proc/sys/net/ipv4/ip_forward
             echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
        );
        lab.edge.nft(
            "table inet site {
                chain forward {
                    type filter hook forward priority filter; policy drop;
                    icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
                    ct mark & 0xff00 == 0x2100 accept
                }
            }",
        );
        lab
    }
}

fn join(left: &Namespace, left_name: &str, right: &Namespace, right_name: &str) {
    left.sh(&format!(
        "ip link add {left_name} type veth peer name {right_name} netns {}; ip link set {left_name} up",
        right.holder.id()
    ));
    right.sh(&format!("ip link set {right_name} up"));
}

/// One network namespace, held by a process that does nothing.
pub(crate) struct Namespace {
    holder: Child,
    file: File,
}

impl Namespace {
    fn new() -> Self {
        let own = fs::read_link("/proc/self/ns/net").unwrap();
        let holder = Command::new("unshare")
            .args(["--net", "sleep", "1000"])
            .spawn()
            .unwrap();
        let path = format!("/proc/{}/ns/net", holder.id());
        eventually("the namespace", || {
            fs::read_link(&path).is_ok_and(|link| link != own)
        });
        let namespace = Self {
            file: File::open(path).unwrap(),
            holder,
        };
        // Without these, the first second of IPv6 on a link goes to looking for duplicate addresses.
        namespace.sh("ip link set lo up
             echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
             echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad");
        namespace
    }

    /// Runs `work` on a thread inside; threads and processes it starts are inside as well.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            scope
                .spawn(|| {
                    move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network))
                        .unwrap();
                    work()
                })
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `work` inside, on a tokio runtime.
    pub(crate) fn run_async<T: Send>(&self, work: impl AsyncFnOnce() -> T + Send) -> T {
        self.run(|| {
            tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap()
                .block_on(work())
        })
    }

    /// Runs a shell script inside, and fails if any part of it does.
    pub(crate) fn sh(&self, script: &str) -> String {
        self.run(|| {
            let output = Command::new("sh")
                .args(["-e", "-c", script])
                .output()
                .unwrap();
            let stderr = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{script}: {stderr}");
            String::from_utf8(output.stdout).unwrap()
        })
    }

    /// Feeds a ruleset to nft inside.
    pub(crate) fn nft(&self, ruleset: &str) {
        self.run(|| nft(&["-f", "-"], ruleset));
    }

    /// Listens inside and tells the peer of each connection; sends `payload` to it and closes.
    pub(crate) fn serve(&self, address: SocketAddr, payload: Vec<u8>) -> Receiver<SocketAddr> {
        let listener = self.run(|| TcpListener::bind(address).unwrap());
        let (sender, receiver) = channel();
        thread::spawn(move || {
            while let Ok((mut stream, peer)) = listener.accept() {
                // The listener lives until the test process ends; later checks are in other namespaces.
                if sender.send(peer).is_err() {
                    return;
                }
                let _ = stream.write_all(&payload);
            }
        });
        receiver
    }

    /// Dials from `source` inside and reads until the end.
    pub(crate) fn dial(
        &self,
        source: SocketAddr,
        to: SocketAddr,
        timeout: Duration,
    ) -> io::Result<usize> {
        let mut stream = self.connect(source, to, timeout)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)
    }

    /// Dials from `source` inside.
    pub(crate) fn connect(
        &self,
        source: SocketAddr,
        to: SocketAddr,
        timeout: Duration,
    ) -> io::Result<TcpStream> {
        self.run(|| {
            let socket = Socket::new(Domain::for_address(to), Type::STREAM, None)?;
            socket.set_reuse_address(true)?;
            socket.bind(&source.into())?;
            socket.connect_timeout(&to.into(), timeout)?;
            Ok(socket.into())
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Runs nft with `input` on its standard input, in the namespace of this thread.
pub(crate) fn nft(arguments: &[&str], input: &str) {
    let mut child = Command::new("nft")
        .args(arguments)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}\n{input}");
}

/// Waits until `condition` holds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    for _ in 0..400 {
        if condition() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("{what} did not come");
}

/// Settings with room for `capacity` pinholes and one transparent listener on the inside.
pub(crate) fn settings(capacity: usize) -> Settings {
    Settings {
        kernel: Kernel {
            data_ports: 1024..=65_535,
            ..Kernel::default()
        },
        intercepts: vec![Intercept {
            interfaces: vec!["lan0".to_owned()],
            ports: vec![21, 2121],
            bind_port: 2121,
        }],
        windows: Vec::new(),
        capacity,
        pinhole_lifetime: Duration::from_secs(3600),
        servers: BTreeSet::new(),
    }
}
