//! `portcullis hits`: what each rule has done, and which rules did nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use serde_json::json;

use crate::app::{self, Outcome};
use crate::audit::{Hits, Reader, micros};
use crate::config::{AuditSettings, Config};

use super::asking::Source;
use super::show::{Table, say, size};
use super::times::{self, Zone};

/// Clients named for each rule.
const TOP_CLIENTS: u32 = 3;

/// The arguments of `hits`.
#[derive(Debug, clap::Args)]
pub struct HitsArgs {
    #[command(flatten)]
    source: Source,
    /// List the rules of the configuration that decided nothing in this span of time, such as 30d.
    #[arg(long, value_name = "SPAN", value_parser = times::span)]
    unused: Option<Duration>,
    /// One JSON object a line; times in microseconds since 1970.
    #[arg(long)]
    json: bool,
}

/// Prints the hits of all rules, or the rules without.
///
/// # Errors
/// Says what cannot be read or printed.
pub(super) fn run(args: &HitsArgs) -> anyhow::Result<Outcome> {
    let zone = args.source.zone();
    let Some(span) = args.unused else {
        let Some(reader) = args.source.open()? else {
            return Ok(Outcome::Problems);
        };
        let hits = reader.hits(TOP_CLIENTS)?;
        let text = if args.json {
            hits.iter().map(|hits| as_json(hits) + "\n").collect()
        } else {
            table(&hits, zone).text()
        };
        say(&text)?;
        return Ok(Outcome::Good);
    };
    // The rules stand in the configuration, whichever store is asked.
    let Some(config) = app::load(&args.source.config)? else {
        return Ok(Outcome::Problems);
    };
    let path = args.source.store_of(&config.audit)?;
    let reader = Reader::open(&path)?;
    let from = SystemTime::now().checked_sub(span).map_or(0, micros);
    let begun = reader.begun()?;
    if begun.is_none_or(|begun| begun > from) {
        let begun = begun.map_or_else(|| "nothing".to_owned(), |begun| zone.show(begun));
        tracing::warn!("the store knows {begun} and later: what happened before is not counted");
    }
    let unused = unused(&config, &reader.hits(0)?, from);
    let text = if args.json {
        let line = |(id, at, last): &Unused| {
            format!("{}\n", json!({ "rule": id, "at": at, "last_use": last }))
        };
        unused.iter().map(line).collect()
    } else {
        let mut table = Table::new(&["UNUSED RULE", "LAST USE", "WHERE"]);
        for (id, at, last) in unused {
            let last = last.map_or_else(|| "never".to_owned(), |last| zone.show(last));
            table.push(vec![id, last, at]);
        }
        table.text()
    };
    say(&text)?;
    Ok(Outcome::Good)
}

/// A rule's id, where it is written, and when it was used last.
type Unused = (String, String, Option<i64>);

fn unused(config: &Config, hits: &[Hits], from: i64) -> Vec<Unused> {
    let mut last: BTreeMap<(PathBuf, &str), i64> = BTreeMap::new();
    for hit in hits.iter().filter(|hit| hit.hits > 0) {
        last.insert((real(&hit.file), &hit.rule), hit.last_use);
    }
    let mut unused: Vec<Unused> = Vec::new();
    let policies = config.listeners.iter().flat_map(|l| l.policies());
    for name in policies.flat_map(|policy| policy.rule_names()) {
        let file = name.at.rsplit_once(':').map_or("", |(file, _line)| file);
        let last = last.get(&(real(file), name.id.as_str())).copied();
        let entry = (name.id.clone(), name.at.clone(), last);
        // Listeners may share a policy.
        if last.is_none_or(|last| last < from) && !unused.contains(&entry) {
            unused.push(entry);
        }
    }
    unused
}

/// One form of a file's name: the service and the operator may have named it from different folders.
fn real(file: &str) -> PathBuf {
    let path = Path::new(file);
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

fn table(hits: &[Hits], zone: Zone) -> Table {
    let heads = [
        "RULE",
        "HITS",
        "BYTES",
        "FIRST USE",
        "LAST USE",
        "WHERE",
        "TOP CLIENTS",
    ];
    let mut table = Table::new(&heads);
    for hit in hits {
        let clients: Vec<String> = hit
            .clients
            .iter()
            .map(|(client, hits)| format!("{client} ({hits})"))
            .collect();
        table.push(vec![
            hit.rule.clone(),
            hit.hits.to_string(),
            size(hit.bytes),
            zone.show(hit.first_use),
            zone.show(hit.last_use),
            hit.at.clone(),
            clients.join(", "),
        ]);
    }
    table
}

fn as_json(hits: &Hits) -> String {
    let clients: Vec<_> = hits
        .clients
        .iter()
        .map(|(client, hits)| json!({ "client": client, "hits": hits }))
        .collect();
    json!({
        "rule": hits.rule,
        "file": hits.file,
        "at": hits.at,
        "hits": hits.hits,
        "bytes": hits.bytes,
        "first_use": hits.first_use,
        "last_use": hits.last_use,
        "clients": clients,
    })
    .to_string()
}

impl Source {
    /// The store that is asked for, or the one of the configuration.
    ///
    /// # Errors
    /// Tells that the configuration has none.
    pub(super) fn store_of(&self, audit: &AuditSettings) -> anyhow::Result<PathBuf> {
        if let Some(path) = &self.store {
            return Ok(path.clone());
        }
        let store = audit.store.as_ref().map(|store| store.path.clone());
        let config = self.config.display();
        store.with_context(|| {
            format!("{config} has no `audit: {{ store: … }}`; add it, or name a file by --store")
        })
    }
}
