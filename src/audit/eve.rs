//! The shape of a line: Suricata's EVE JSON with a section `portcullis`; the order of fields is the order of keys.
//!
//! Names and types of the fields outside `portcullis` are those of Suricata's EVE output
//! (event types `ftp`, `ftp_data`, `alert` and `flow`).

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use crate::pinhole::Counters;

use super::json::{Value, section};

section! {
    pub(super) struct Line<'a> {
        pub(super) timestamp: SystemTime,
        pub(super) flow_id: u64,
        pub(super) event_type: &'static str,
        pub(super) src_ip: IpAddr,
        pub(super) src_port: u16,
        pub(super) dest_ip: IpAddr,
        pub(super) dest_port: u16,
        pub(super) proto: &'static str,
        pub(super) ftp: Option<Ftp<'a>>,
        pub(super) ftp_data: Option<FtpData<'a>>,
        pub(super) alert: Option<Alert<'a>>,
        pub(super) flow: Option<Flow>,
        pub(super) portcullis: Facts<'a>,
    }
}

section! {
    #[derive(Default)]
    pub(super) struct Ftp<'a> {
        pub(super) command: Option<&'a str>,
        pub(super) command_data: Option<&'a str>,
        pub(super) reply: Option<[&'a str; 1]>,
        pub(super) completion_code: Option<[Code<'a>; 1]>,
        pub(super) dynamic_port: Option<u16>,
        pub(super) mode: Option<&'static str>,
        pub(super) reply_received: Option<&'static str>,
    }
}

section! {
    pub(super) struct FtpData<'a> {
        pub(super) filename: Option<&'a str>,
        pub(super) command: &'a str,
    }
}

section! {
    pub(super) struct Alert<'a> {
        pub(super) action: &'static str,
        pub(super) gid: u32,
        pub(super) signature_id: u32,
        pub(super) rev: u32,
        pub(super) signature: [Cow<'a, str>; 4],
        pub(super) category: &'static str,
        pub(super) severity: u8,
    }
}

section! {
    pub(super) struct Flow {
        pub(super) bytes_toserver: u64,
        pub(super) bytes_toclient: u64,
        pub(super) start: SystemTime,
        pub(super) end: SystemTime,
        pub(super) age: u64,
        pub(super) state: &'static str,
        pub(super) reason: Option<&'static str>,
    }
}

section! {
    #[derive(Default)]
    pub(super) struct Facts<'a> {
        pub(super) event: &'static str,
        pub(super) session: u64,
        pub(super) listener: &'a str,
        pub(super) user: Option<&'a str>,
        pub(super) server: Option<SocketAddr>,
        pub(super) seen: Option<SocketAddr>,
        pub(super) rule: Option<&'a str>,
        pub(super) rule_at: Option<&'a str>,
        pub(super) action: Option<&'static str>,
        pub(super) limit: Option<String>,
        pub(super) path: Option<&'a str>,
        pub(super) transfer: Option<u64>,
        pub(super) mode: Option<&'static str>,
        pub(super) announced: Option<SocketAddr>,
        pub(super) rewritten: Option<SocketAddr>,
        pub(super) direction: Option<&'static str>,
        pub(super) before: Option<&'a str>,
        pub(super) after: Option<&'a str>,
        pub(super) pinhole: Option<Hole>,
        pub(super) bytes: Option<u64>,
        pub(super) packets: Option<u64>,
        pub(super) bytes_forth: Option<u64>,
        pub(super) bytes_back: Option<u64>,
        pub(super) packets_forth: Option<u64>,
        pub(super) packets_back: Option<u64>,
        pub(super) duration_ms: Option<u64>,
        pub(super) outcome: Option<&'static str>,
        pub(super) count: Option<u64>,
        pub(super) reason: Option<Cow<'a, str>>,
        pub(super) by: Option<&'static str>,
        pub(super) line: Option<&'a str>,
    }
}

section! {
    pub(super) struct Hole {
        pub(super) initiator: IpAddr,
        pub(super) announced: SocketAddr,
        pub(super) target: SocketAddr,
        pub(super) source: IpAddr,
    }
}

/// A reply code, which is text in a line.
pub(super) enum Code<'a> {
    /// As the server gave it.
    Number(u16),
    /// As a rule has it.
    Text(&'a str),
}

impl Code<'_> {
    /// The number that it is.
    pub(super) fn number(&self) -> Option<u16> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.parse().ok(),
        }
    }
}

impl Value for Code<'_> {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Number(number) => {
                out.push(b'"');
                number.write(out);
                out.push(b'"');
            }
            Self::Text(text) => text.write(out),
        }
    }
}

impl Facts<'_> {
    /// Puts in what was counted, each direction and both together.
    pub(super) fn measured(&mut self, counters: Option<&Counters>) {
        let Some(counters) = counters else { return };
        self.bytes = Some(counters.bytes_forth.saturating_add(counters.bytes_back));
        self.packets = Some(counters.packets_forth.saturating_add(counters.packets_back));
        self.bytes_forth = Some(counters.bytes_forth);
        self.bytes_back = Some(counters.bytes_back);
        self.packets_forth = Some(counters.packets_forth);
        self.packets_back = Some(counters.packets_back);
    }
}
