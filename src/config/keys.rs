//! The keys of configuration files: what the reader takes and the schema tells.

use std::sync::LazyLock;

use crate::rules::{DataPath, FIRST_PORT};
use crate::yaml::{Key, Section, Shape};

use super::admin::MAX_CONNECTIONS;
use super::audit::{MAX_QUEUE, MIN_QUEUE};
use super::settings::MAX_COUNT;

/// A mark: value/mask, decimal or hexadecimal.
const MARK: &str = "^(0x[0-9a-fA-F]+|[0-9]+)/(0x[0-9a-fA-F]+|[0-9]+)$";

/// A rate: a number from 1, a stroke and a unit of time.
const RATE: &str = "^[1-9][0-9]*/(s|min|h|day)$";

/// The whole file.
pub(super) static CONFIGURATION: LazyLock<Section> = LazyLock::new(|| {
    Section::new(vec![
        Key::required(
            "listeners",
            Shape::List(Box::new(Shape::Map(&LISTENER))),
            "Where sessions come from.",
        ),
        Key::optional(
            "limits",
            Shape::Map(&LIMITS),
            "Bounds on everything that grows.",
        ),
        Key::required("audit", Shape::Map(&AUDIT), "Where the record goes."),
        Key::optional(
            "admin",
            Shape::Map(&ADMIN),
            "How it is asked while it runs.",
        ),
        Key::optional(
            "kernel",
            Shape::Map(&KERNEL),
            "What portcullis calls its own in the kernel.",
        ),
        Key::optional(
            "sandbox",
            Shape::Boolean,
            "Whether it gives up what serving does not need.",
        ),
    ])
});

/// One listener.
pub(super) static LISTENER: LazyLock<Section> = LazyLock::new(|| {
    let keys = vec![
        Key::required("name", Shape::NameBut(""), "Its name in rules and records."),
        Key::optional(
            "transparent",
            Shape::Map(&TRANSPARENT),
            "Connections that cross the edge are taken on their way.",
        ),
        Key::optional(
            "published",
            Shape::Map(&PUBLISHED),
            "Clients dial the edge, which stands for one server.",
        ),
        Key::required(
            "server-sees",
            Shape::many(Shape::Text),
            "The address that the server sees: edge, client, or addresses of the edge.",
        ),
        Key::required(
            "rules",
            Shape::Text,
            "The policy file, from the folder of this file.",
        ),
        Key::optional(
            "data",
            Shape::words(&DataPath::NAMED),
            "Who carries the data.",
        ),
        Key::optional(
            "convert",
            Shape::Boolean,
            "Ask servers in the form they know.",
        ),
        Key::optional(
            "nat64",
            Shape::Text,
            "The prefix whose addresses stand for IPv4 servers.",
        ),
        Key::optional(
            "hosts",
            Shape::Named(Box::new(Shape::Text)),
            "Policies of the virtual hosts that HOST names.",
        ),
    ];
    Section {
        keys,
        one_of: &["transparent", "published"],
        ..Section::default()
    }
});

/// `transparent`.
pub(super) static TRANSPARENT: LazyLock<Section> = LazyLock::new(|| {
    Section::new(vec![
        Key::required(
            "interfaces",
            Shape::many(Shape::Text),
            "Interfaces that clients come in by.",
        ),
        Key::optional(
            "ports",
            Shape::many(Shape::Port(1)),
            "Destination ports that are taken.",
        ),
        Key::optional(
            "bind-port",
            Shape::Port(1),
            "The local port that they are handed to.",
        ),
    ])
});

/// `published`.
pub(super) static PUBLISHED: LazyLock<Section> = LazyLock::new(|| {
    Section::new(vec![
        Key::required("listen", Shape::many(Shape::Text), "Addresses of the edge."),
        Key::required(
            "server",
            Shape::many(Shape::Text),
            "The server, once for each family.",
        ),
    ])
});

/// `limits`.
pub(super) static LIMITS: LazyLock<Section> = LazyLock::new(|| {
    let count = |name, about| Key::optional(name, Shape::Integer(1, MAX_COUNT), about);
    let rate = |name, about| Key::optional(name, Shape::Pattern(RATE), about);
    Section::new(vec![
        count("sessions", "Sessions at one time."),
        count("sessions-per-client", "Sessions at one time of one client."),
        rate("session-rate", "Sessions that may begin in so long."),
        rate(
            "session-rate-per-client",
            "Sessions of one client that may begin in so long.",
        ),
        count("pinholes", "Pinholes open at one time."),
        count(
            "pinholes-per-client",
            "Pinholes open at one time for one client.",
        ),
        Key::optional(
            "pinhole-lifetime",
            Shape::Duration,
            "How long an unused pinhole stays.",
        ),
        Key::optional(
            "connect-timeout",
            Shape::Duration,
            "How long connecting may take.",
        ),
        Key::optional(
            "login-timeout",
            Shape::Duration,
            "How long a client may take to log in.",
        ),
        Key::optional(
            "idle-timeout",
            Shape::Duration,
            "How long both sides may be silent.",
        ),
    ])
});

/// `audit`.
pub(super) static AUDIT: LazyLock<Section> = LazyLock::new(|| {
    Section::new(vec![
        Key::required(
            "output",
            Shape::Pattern("^(stdout$|/)"),
            "stdout, or a file.",
        ),
        Key::optional(
            "store",
            Shape::Pattern("^/"),
            "The database that `hits` and `audit` ask.",
        ),
        Key::optional("keep", Shape::Duration, "How long events stay in it."),
        Key::optional(
            "keep-size",
            Shape::Pattern("^[1-9][0-9]*(B|kB|KB|MB|GB|KiB|MiB|GiB)$"),
            "Bytes that events may take in it.",
        ),
        Key::optional(
            "on-unusable-store",
            Shape::Words(vec!["refuse", "fresh"]),
            "What follows where the store cannot be used at the start.",
        ),
        Key::optional(
            "on-failure",
            Shape::Words(vec!["deny", "allow"]),
            "What follows where the record cannot be kept.",
        ),
        Key::optional(
            "queue",
            Shape::Integer(MIN_QUEUE, MAX_QUEUE),
            "Events that may wait for the writer.",
        ),
        Key::optional(
            "syslog",
            Shape::Pattern("^(udp://|tcp://|unix:/)."),
            "A syslog peer that gets a copy: udp://, tcp:// or unix:.",
        ),
        Key::optional(
            "journald",
            Shape::Boolean,
            "Whether the journal gets a copy.",
        ),
    ])
});

/// `admin`.
pub(super) static ADMIN: LazyLock<Section> = LazyLock::new(|| {
    Section::new(vec![
        Key::optional(
            "socket",
            Shape::Pattern("^/"),
            "The unix socket that sessions, pinholes, top and reload ask.",
        ),
        Key::optional(
            "group",
            Shape::Pattern("^."),
            "The group that may use the socket as well.",
        ),
        Key::optional(
            "page",
            Shape::Pattern("^(127\\.|\\[).*:[0-9]+$"),
            "The loopback address and port of the page and the metrics.",
        ),
        Key::optional(
            "token-file",
            Shape::Pattern("^/"),
            "The file with the token that opens the page.",
        ),
        Key::optional(
            "connections",
            Shape::Integer(1, MAX_CONNECTIONS),
            "Connections at one time, to socket and page each.",
        ),
    ])
});

/// `kernel`.
pub(super) static KERNEL: LazyLock<Section> = LazyLock::new(|| {
    Section::new(vec![
        Key::optional(
            "table",
            Shape::Pattern("^[A-Za-z][A-Za-z0-9_-]{0,254}$"),
            "The nftables table.",
        ),
        Key::optional(
            "packet-mark",
            Shape::Pattern(MARK),
            "Packets for a local socket.",
        ),
        Key::optional(
            "connection-mark",
            Shape::Pattern(MARK),
            "Admitted data connections.",
        ),
        Key::optional(
            "routing-table",
            Shape::Integer(1, 0xffff_ffff),
            "Delivers marked packets.",
        ),
        Key::optional(
            "data-ports",
            Shape::Ports(FIRST_PORT),
            "Ports announced for others.",
        ),
    ])
});
