//! The shape of a line: Suricata's EVE JSON with a section `portcullis`; the order of fields is the order of keys.
//!
//! Names and types of the fields outside `portcullis` are those of Suricata's EVE output
//! (event types `ftp`, `ftp_data`, `alert` and `flow`).

use std::net::IpAddr;

use serde::Serialize;

use crate::pinhole::Counters;

#[derive(Serialize)]
pub(super) struct Line<'a> {
    pub(super) timestamp: String,
    pub(super) flow_id: u64,
    pub(super) event_type: &'static str,
    pub(super) src_ip: IpAddr,
    pub(super) src_port: u16,
    pub(super) dest_ip: IpAddr,
    pub(super) dest_port: u16,
    pub(super) proto: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ftp: Option<Ftp<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ftp_data: Option<FtpData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) alert: Option<Alert>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) flow: Option<Flow>,
    pub(super) portcullis: Facts<'a>,
}

#[derive(Default, Serialize)]
pub(super) struct Ftp<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) command_data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply: Option<[&'a str; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) completion_code: Option<[String; 1]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) dynamic_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reply_received: Option<&'static str>,
}

#[derive(Serialize)]
pub(super) struct FtpData<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) filename: Option<&'a str>,
    pub(super) command: &'a str,
}

#[derive(Serialize)]
pub(super) struct Alert {
    pub(super) action: &'static str,
    pub(super) gid: u32,
    pub(super) signature_id: u32,
    pub(super) rev: u32,
    pub(super) signature: String,
    pub(super) category: &'static str,
    pub(super) severity: u8,
}

#[derive(Serialize)]
pub(super) struct Flow {
    pub(super) bytes_toserver: u64,
    pub(super) bytes_toclient: u64,
    pub(super) start: String,
    pub(super) end: String,
    pub(super) age: u64,
    pub(super) state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'static str>,
}

#[derive(Default, Serialize)]
pub(super) struct Facts<'a> {
    pub(super) event: &'static str,
    pub(super) session: u64,
    pub(super) listener: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<&'a str>,
    pub(super) server: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) seen: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rule_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) action: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) limit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) transfer: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mode: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) announced: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rewritten: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) direction: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) before: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) after: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pinhole: Option<Hole>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) packets: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_forth: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) bytes_back: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) packets_forth: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) packets_back: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) duration_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) count: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<&'a str>,
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

#[derive(Serialize)]
pub(super) struct Hole {
    pub(super) initiator: IpAddr,
    pub(super) announced: String,
    pub(super) target: String,
    pub(super) source: IpAddr,
}
