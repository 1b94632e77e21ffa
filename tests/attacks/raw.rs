//! A TCP client of its own making, for segments that no kernel would send.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use pnet::packet::tcp::{MutableTcpPacket, TcpFlags, TcpPacket, ipv4_checksum};
use pnet::packet::{Packet, PacketSize, ipv4::Ipv4Packet};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::arena::Stage;
use crate::lab::PATIENCE;

/// The address that these clients have; the kernel of their host knows it, but must not answer for it.
pub(crate) const OWN: Ipv4Addr = Ipv4Addr::new(10, 60, 1, 4);

/// Bytes of a TCP header without options.
const HEADER: usize = 20;

/// A connection in the hands of the test.
pub(crate) struct Raw {
    socket: Socket,
    from: SocketAddrV4,
    to: SocketAddrV4,
    /// The sequence number of the next byte.
    pub(crate) next: u32,
    acknowledged: u32,
    heard: Vec<u8>,
}

impl Raw {
    /// Connects to the stage's server and logs in.
    pub(crate) fn log_in(stage: Stage) -> Self {
        let silence = format!(
            "nft 'add table ip silent; add chain ip silent out {{ type filter hook output priority 0; }}; \
             add rule ip silent out ip saddr {OWN} tcp flags & rst == rst drop'"
        );
        assert!(
            stage.client_host().sh(&silence).status.success(),
            "{silence}"
        );
        let socket = stage.client_host().within(|| {
            let socket = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
            socket.bind(&SockAddr::from(std::net::SocketAddr::from((OWN, 0))))?;
            socket.set_read_timeout(Some(Duration::from_millis(50)))?;
            Ok::<_, std::io::Error>(socket)
        });
        let mut raw = Self {
            socket: socket.expect("a raw socket"),
            from: SocketAddrV4::new(OWN, stage.port(9)),
            to: SocketAddrV4::new(stage.dialled(), 21),
            next: 1_000_000,
            acknowledged: 0,
            heard: Vec::new(),
        };
        raw.send(TcpFlags::SYN, raw.next, b"", true);
        raw.next += 1;
        let started = Instant::now();
        while raw.acknowledged == 0 {
            assert!(started.elapsed() < PATIENCE, "no SYN with ACK came");
            raw.receive();
        }
        for (line, answer) in [
            ("", "220"),
            ("USER anonymous\r\n", "331"),
            ("PASS guest\r\n", "230"),
        ] {
            raw.say(line);
            assert!(raw.hear(answer), "no {answer} came");
        }
        raw
    }

    /// Sends the next bytes of the stream.
    pub(crate) fn say(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        self.send(
            TcpFlags::PSH | TcpFlags::ACK,
            self.next,
            text.as_bytes(),
            true,
        );
        self.next += u32::try_from(text.len()).expect("it is short");
    }

    /// Sends these bytes as if they stood at `at` in the stream; `sound` says whether the checksum is right.
    pub(crate) fn place(&mut self, at: u32, text: &str, sound: bool) {
        self.send(TcpFlags::PSH | TcpFlags::ACK, at, text.as_bytes(), sound);
    }

    /// Waits until this has come; false where it does not.
    pub(crate) fn hear(&mut self, part: &str) -> bool {
        let started = Instant::now();
        while !String::from_utf8_lossy(&self.heard).contains(part) {
            if started.elapsed() > Duration::from_secs(3) {
                return false;
            }
            self.receive();
        }
        true
    }

    fn send(&self, flags: u8, sequence: u32, text: &[u8], sound: bool) {
        let mut bytes = vec![0; HEADER + text.len()];
        let mut packet = MutableTcpPacket::new(&mut bytes).expect("there is room");
        packet.set_source(self.from.port());
        packet.set_destination(self.to.port());
        packet.set_sequence(sequence);
        packet.set_acknowledgement(self.acknowledged);
        packet.set_data_offset(5);
        packet.set_flags(flags);
        packet.set_window(60_000);
        packet.set_payload(text);
        let sum = ipv4_checksum(&packet.to_immutable(), self.from.ip(), self.to.ip());
        packet.set_checksum(if sound { sum } else { sum ^ 0x5555 });
        self.socket
            .send_to(&bytes, &SockAddr::from(self.to))
            .expect("raw packets go out");
    }

    /// Takes one packet, if one comes, and acknowledges it.
    fn receive(&mut self) {
        let mut room = [0; 4096];
        let Ok(len) = (&self.socket).read(&mut room) else {
            return;
        };
        let Some(whole) = Ipv4Packet::new(&room[..len]) else {
            return;
        };
        let Some(packet) = TcpPacket::new(whole.payload()) else {
            return;
        };
        if packet.get_destination() != self.from.port() || whole.get_source() != *self.to.ip() {
            return;
        }
        let text = &packet.packet()[packet.packet_size().min(packet.packet().len())..];
        let first = packet.get_flags() & TcpFlags::SYN != 0;
        if first {
            self.acknowledged = packet.get_sequence().wrapping_add(1);
        } else if packet.get_sequence() == self.acknowledged {
            self.heard.extend_from_slice(text);
            let len = u32::try_from(text.len()).expect("it is a packet");
            self.acknowledged = self.acknowledged.wrapping_add(len);
        }
        if first || !text.is_empty() {
            self.send(TcpFlags::ACK, self.next, b"", true);
        }
    }
}
