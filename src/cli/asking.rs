//! `portcullis audit`: events of the store by what they are, and as they come.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use ipnet::IpNet;

use crate::app::{self, Outcome};
use crate::audit::{Filter, Reader, Row};

use super::show::{aligned, csv, say};
use super::story::what;
use super::times::Zone;

/// Between two looks at the store while its events are followed.
const FOLLOW: Duration = Duration::from_millis(300);

/// Events before the end that following begins with.
const FOLLOW_FROM: i64 = 10;

/// Text that is printed in one go.
const CHUNK: usize = 64 * 1024;

/// The columns of the table; the last is as wide as it is.
const HEADS: [&str; 8] = [
    "TIME", "SESSION", "EVENT", "CLIENT", "USER", "RULE", "OUTCOME", "WHAT",
];
const WIDTHS: [usize; 7] = [29, 7, 14, 15, 10, 12, 9];

const CSV_HEADS: [&str; 17] = [
    "time",
    "session",
    "flow",
    "kind",
    "client",
    "server",
    "listener",
    "user",
    "rule",
    "rule_at",
    "verb",
    "path",
    "outcome",
    "code",
    "bytes",
    "packets",
    "duration_ms",
];

/// Where the store is, and how times are shown.
#[derive(Debug, clap::Args)]
pub struct Source {
    /// The configuration file, which names the store and the rules.
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "/etc/portcullis/portcullis.yaml"
    )]
    pub(super) config: PathBuf,
    /// The store, where it is not the one of the configuration.
    #[arg(long, value_name = "FILE")]
    pub(super) store: Option<PathBuf>,
    /// Times in UTC; otherwise as this machine has them, with their offset.
    #[arg(long)]
    utc: bool,
}

impl Source {
    pub(super) fn zone(&self) -> Zone {
        if self.utc { Zone::Utc } else { Zone::Local }
    }

    /// Opens the store; `None` where the configuration has problems, which were reported.
    pub(super) fn open(&self) -> anyhow::Result<Option<Reader>> {
        let path = match &self.store {
            Some(path) => path.clone(),
            None => match app::places(&self.config)? {
                Some(places) => self.store_of(&places.audit)?,
                None => return Ok(None),
            },
        };
        Ok(Some(Reader::open(&path)?))
    }
}

/// The arguments of `audit`.
#[derive(Debug, clap::Args)]
pub struct AuditArgs {
    #[command(flatten)]
    source: Source,
    /// From this time on: 2h or 30d before now, 2026-11-20, 2026-11-20T15:12:44, with or without offset.
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// The id of the rule.
    #[arg(long, value_name = "ID")]
    rule: Option<String>,
    /// A glob on the name given in USER.
    #[arg(long, value_name = "GLOB")]
    user: Option<String>,
    /// The address or network of the client.
    #[arg(long, value_name = "ADDRESS", value_parser = network)]
    client: Option<IpNet>,
    /// A glob on the path, as rules have it: `*` within a folder, `**` across folders.
    #[arg(long, value_name = "GLOB")]
    path: Option<String>,
    /// allow, deny; completed, failed, abandoned (transfers); or how a session or pinhole ended.
    #[arg(long, value_name = "WORD")]
    outcome: Option<String>,
    /// decision, transfer, session-start, session-end, violation and so on.
    #[arg(long, value_name = "EVENT")]
    kind: Option<String>,
    /// The whole story of one session: its number (the last one that had it) or its flow id.
    #[arg(long, value_name = "N")]
    session: Option<u64>,
    /// Only the last N of the events that fit, 1 to 100,000; printed oldest first all the same.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    last: Option<u32>,
    /// Print the EVE lines as they were written.
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Print CSV; a text that begins with = + - or @ gets ' in front.
    #[arg(long)]
    csv: bool,
    /// Go on with what comes; begins with the last 10 events unless --last, --since or --session says otherwise.
    #[arg(long, short)]
    follow: bool,
}

/// Prints the events that fit.
///
/// # Errors
/// Says what cannot be read or printed.
pub(super) fn run(args: &AuditArgs) -> anyhow::Result<Outcome> {
    let Some(reader) = args.source.open()? else {
        return Ok(Outcome::Problems);
    };
    let filter = filter(args, &reader)?;
    let from_end = args.follow && filter.since.is_none() && filter.flow.is_none();
    if !say(&head(args))? {
        return Ok(Outcome::Good);
    }
    let mut at = match args.last {
        Some(count) => {
            let (rows, at) = last(&reader, &filter, count)?;
            let text: String = rows.iter().map(|row| shown(args, row)).collect();
            if !say(&text)? || !args.follow {
                return Ok(Outcome::Good);
            }
            at
        }
        None if from_end => reader.before_last(FOLLOW_FROM)?,
        None => 0,
    };
    loop {
        let (mut text, mut result) = (String::new(), Ok(true));
        at = reader.events(&filter, at, |row| {
            text.push_str(&shown(args, &row));
            if text.len() > CHUNK {
                result = say(&text);
                text.clear();
            }
            match result {
                Ok(true) => ControlFlow::Continue(()),
                Ok(false) | Err(_) => ControlFlow::Break(()),
            }
        })?;
        if !result? || (!text.is_empty() && !say(&text)?) || !args.follow {
            return Ok(Outcome::Good);
        }
        thread::sleep(FOLLOW);
    }
}

/// The last events that fit, oldest first, and the place behind which others follow.
fn last(reader: &Reader, filter: &Filter, count: u32) -> anyhow::Result<(Vec<Row>, i64)> {
    let count = usize::try_from(count)?;
    let newest = reader.newest()?;
    let (mut rows, mut before) = (Vec::new(), Some(newest.saturating_add(1)));
    while let Some(place) = before
        && rows.len() < count
    {
        let found = reader.latest(filter, Some(place), count - rows.len())?;
        rows.extend(found.rows);
        before = found.next;
    }
    rows.reverse();
    // 0 would begin at the first event again.
    Ok((rows, newest))
}

fn filter(args: &AuditArgs, reader: &Reader) -> anyhow::Result<Filter> {
    let (zone, now) = (args.source.zone(), SystemTime::now());
    let time = |text: &Option<String>, name: &str| {
        let read = text.as_deref().map(|text| zone.read(text, now)).transpose();
        read.map_err(|fault| anyhow!("{name}: {fault}"))
    };
    let flow = args
        .session
        .map(|number| {
            let found = reader.session(number)?;
            found.with_context(|| format!("the store has no session {number}"))
        })
        .transpose()?;
    Ok(Filter {
        since: time(&args.since, "--since")?,
        until: time(&args.until, "--until")?,
        rule: args.rule.clone(),
        user: args.user.clone(),
        client: args.client,
        path: args.path.clone(),
        outcome: args.outcome.clone(),
        kind: args.kind.clone(),
        flow,
    })
}

fn head(args: &AuditArgs) -> String {
    if args.json {
        String::new()
    } else if args.csv {
        csv(&CSV_HEADS.map(str::to_owned))
    } else {
        aligned(&HEADS.map(str::to_owned), &WIDTHS)
    }
}

fn shown(args: &AuditArgs, row: &Row) -> String {
    if args.json {
        return format!("{}\n", row.line);
    }
    let zone = args.source.zone();
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
    if args.csv {
        return csv(&[
            zone.show(row.time),
            row.session.to_string(),
            row.flow.to_string(),
            row.kind.clone(),
            row.client.clone(),
            row.server.clone(),
            row.listener.clone(),
            text(&row.user),
            text(&row.rule),
            text(&row.rule_at),
            text(&row.verb),
            text(&row.path),
            text(&row.outcome),
            row.code.map(|code| code.to_string()).unwrap_or_default(),
            number(row.bytes),
            number(row.packets),
            number(row.duration_ms),
        ]);
    }
    let cells = [
        zone.show(row.time),
        row.session.to_string(),
        row.kind.clone(),
        row.client.clone(),
        text(&row.user),
        text(&row.rule),
        text(&row.outcome),
        what(row),
    ];
    aligned(&cells, &WIDTHS)
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<std::net::IpAddr>().map(IpNet::from);
    let read = address.or_else(|_| text.parse::<IpNet>().map_err(drop));
    read.map_err(|()| format!("`{text}` is neither an address nor a network such as 10.0.0.0/8"))
}
