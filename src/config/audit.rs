//! The section `audit`: where the record goes, how long the store keeps it, and what follows where it cannot be kept.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::yaml::{Map, Node, Report, quoted};

use super::{AuditOutput, keys};

/// A day, the unit of keeping.
const DAY: Duration = Duration::from_secs(86_400);

/// Events that may wait for the writer where the file does not say.
const DEFAULT_QUEUE: usize = 4096;

/// The store keeps at least this, 10 MB: under it nothing of use would stay.
const MIN_KEEP_SIZE: u64 = 10_000_000;

/// Events that may wait for the writer at least, and at most: each takes up to some kilobytes.
pub(super) const MIN_QUEUE: u64 = 16;
pub(super) const MAX_QUEUE: u64 = 1_000_000;

/// Where the record goes, and what follows where it cannot be kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// The EVE lines.
    pub output: AuditOutput,
    /// The database that `hits` and `audit` ask; `None` where there is none.
    pub store: Option<StoreSettings>,
    /// What follows where the record cannot be kept. Default: deny.
    pub on_failure: OnFailure,
    /// Events that may wait for the writer; at that number sessions wait for it too. 16 to 1,000,000.
    /// Default: 4,096.
    pub queue: usize,
    /// A syslog peer that gets a copy of the lines.
    pub syslog: Option<SyslogPeer>,
    /// Whether the journal gets a copy of the lines. Default: no.
    pub journald: bool,
}

impl AuditSettings {
    /// Lines to one output and nothing else.
    pub fn to(output: AuditOutput) -> Self {
        Self {
            output,
            store: None,
            on_failure: OnFailure::Deny,
            queue: DEFAULT_QUEUE,
            syslog: None,
            journald: false,
        }
    }
}

/// The database of the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreSettings {
    /// The file, absolute; SQLite puts `-wal` and `-shm` beside it.
    pub path: PathBuf,
    /// How long events stay. 1 h to 36,500 d. Default: 90 d.
    pub keep: Duration,
    /// Bytes that events may take, at least 10 MB; the oldest go first. Default: 2 GB.
    pub keep_size: u64,
    /// What follows where the file cannot be used. Default: refuse.
    pub on_unusable: OnUnusable,
}

impl StoreSettings {
    /// A store with the default limits.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            keep: 90 * DAY,
            keep_size: 2_000_000_000,
            on_unusable: OnUnusable::Refuse,
        }
    }
}

/// What follows where the start finds a store that is damaged, of a later program or of another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnUnusable {
    /// The start fails.
    #[default]
    Refuse,
    /// A fresh store begins beside it.
    Fresh,
}

/// What follows where the record cannot be kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Sessions end and none begins.
    #[default]
    Deny,
    /// Sessions go on; what was not recorded is counted, and the count goes on the record.
    Allow,
}

/// Where syslog messages go (RFC 5424).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SyslogPeer {
    /// One datagram a message (RFC 5426); host and port as `host:port`.
    Udp(String),
    /// Octet counting (RFC 6587 §3.4.1); host and port as `host:port`.
    Tcp(String),
    /// A datagram socket of this machine.
    Unix(PathBuf),
}

/// Reads `audit`.
pub(super) fn read(node: &Node, report: &mut Report) -> Option<AuditSettings> {
    let mut map = report.section(node, "`audit`", &keys::AUDIT)?;
    let output = map.required("output", report);
    let output = output.and_then(|node| output_of(node, report));
    let store = store(&mut map, report);
    let on_failure = map.optional("on-failure").and_then(|node| {
        let words = [("deny", OnFailure::Deny), ("allow", OnFailure::Allow)];
        report.choice(node, "`on-failure`", &words)
    });
    let queue = map.integer("queue", report);
    let queue = queue.and_then(|number| usize::try_from(number).ok());
    let syslog = map.optional("syslog");
    let syslog = syslog.and_then(|node| syslog_peer(node, report));
    let journald = map.optional("journald");
    let journald = journald.and_then(|node| report.boolean(node, "`journald`"));
    if let (Some(AuditOutput::File(lines)), Some(store)) = (&output, &store)
        && *lines == store.path
    {
        let help = "give the lines and the database a file each";
        let message = "`output` and `store` are the same file";
        report.error(map.head(), message, help);
    }
    map.finish(report);
    Some(AuditSettings {
        output: output?,
        store,
        on_failure: on_failure.unwrap_or_default(),
        queue: queue.unwrap_or(DEFAULT_QUEUE),
        syslog,
        journald: journald.unwrap_or(false),
    })
}

fn output_of(node: &Node, report: &mut Report) -> Option<AuditOutput> {
    match report.text(node, "`output`")? {
        "stdout" => Some(AuditOutput::Stdout),
        path if Path::new(path).is_absolute() => Some(AuditOutput::File(path.into())),
        path => {
            let message = format!("the audit output `{path}` is no absolute path");
            let help = "write `stdout`, or a path that begins with /";
            report.error(node.span.clone(), message, help);
            None
        }
    }
}

fn store(map: &mut Map<'_>, report: &mut Report) -> Option<StoreSettings> {
    let place = map.optional("store");
    let keep = map.keyed("keep");
    let keep_size = map.keyed("keep-size");
    let on_unusable = map.keyed("on-unusable-store");
    if place.is_none() {
        for (key, _) in [keep, keep_size, on_unusable].into_iter().flatten() {
            let help = "add `store: /var/lib/portcullis/audit.db`, or leave the key out";
            let message = "there is no store whose record could be kept";
            report.error(key.span.clone(), message, help);
        }
        return None;
    }
    let path = place.and_then(|node| {
        let text = report.text(node, "`store`")?;
        if Path::new(text).is_absolute() {
            return Some(text);
        }
        let message = format!("the audit store {} is no absolute path", quoted(text));
        let help = "write a path that begins with /, such as /var/lib/portcullis/audit.db";
        report.error(node.span.clone(), message, help);
        None
    });
    let keep = keep.and_then(|(_, node)| {
        let range = Duration::from_secs(3600)..=36_500 * DAY;
        report.duration(node, "`keep`", range)
    });
    let keep_size = keep_size.and_then(|(_, node)| {
        let size = report.size(node, "`keep-size`")?;
        if size >= MIN_KEEP_SIZE {
            return Some(size);
        }
        let message = format!("`keep-size` is {size} bytes, which is out of range");
        report.error(node.span.clone(), message, "write a size from 10MB up");
        None
    });
    let on_unusable = on_unusable.and_then(|(_, node)| {
        let words = [("refuse", OnUnusable::Refuse), ("fresh", OnUnusable::Fresh)];
        report.choice(node, "`on-unusable-store`", &words)
    });
    let mut settings = StoreSettings::at(path?);
    settings.on_unusable = on_unusable.unwrap_or_default();
    settings.keep = keep.unwrap_or(settings.keep);
    settings.keep_size = keep_size.unwrap_or(settings.keep_size);
    Some(settings)
}

fn syslog_peer(node: &Node, report: &mut Report) -> Option<SyslogPeer> {
    let text = report.text(node, "`syslog`")?;
    let peer = if let Some(place) = text.strip_prefix("udp://") {
        is_host_and_port(place).then(|| SyslogPeer::Udp(place.to_owned()))
    } else if let Some(place) = text.strip_prefix("tcp://") {
        is_host_and_port(place).then(|| SyslogPeer::Tcp(place.to_owned()))
    } else {
        let path = text.strip_prefix("unix:").map(Path::new);
        let path = path.filter(|path| path.is_absolute());
        path.map(|path| SyslogPeer::Unix(path.to_owned()))
    };
    if peer.is_none() {
        let message = format!("`syslog` is {}, not a place for syslog", quoted(text));
        let help = "write udp://host:514, tcp://host:601 or unix:/dev/log; an IPv6 address stands in brackets";
        report.error(node.span.clone(), message, help);
    }
    peer
}

fn is_host_and_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']'));
        let host = match bare {
            Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
            None => {
                let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'.';
                !host.is_empty() && host.bytes().all(fits)
            }
        };
        host && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}
