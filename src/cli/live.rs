//! `portcullis sessions`, `pinholes` and `reload`: asks the gate that runs.

use std::path::PathBuf;

use anyhow::{Context, anyhow};
use serde_json::Value;

use crate::admin::Client;
use crate::app::{self, Outcome};

use super::show::{Table, say, size};
use super::times::Zone;

/// Which running gate is asked.
#[derive(Debug, clap::Args)]
pub struct Running {
    /// The configuration file, which names the socket.
    #[arg(
        long,
        short,
        value_name = "FILE",
        default_value = "/etc/portcullis/portcullis.yaml"
    )]
    config: PathBuf,
    /// The admin socket, where it is not the one of the configuration.
    #[arg(long, value_name = "FILE")]
    socket: Option<PathBuf>,
}

/// The arguments of `sessions` and `pinholes`.
#[derive(Debug, clap::Args)]
pub struct LiveArgs {
    #[command(flatten)]
    running: Running,
    /// One JSON object a line; times in microseconds since 1970.
    #[arg(long)]
    json: bool,
    /// Times in UTC; otherwise as this machine has them, with their offset.
    #[arg(long)]
    utc: bool,
}

impl Running {
    /// The socket's client; `None` where the configuration has problems, which were reported.
    pub(super) fn client(&self) -> anyhow::Result<Option<Client>> {
        let path = match &self.socket {
            Some(path) => path.clone(),
            None => {
                let Some(places) = app::places(&self.config)? else {
                    return Ok(None);
                };
                let socket = places.admin.socket.with_context(|| {
                    format!(
                        "{} has no `admin: {{ socket: … }}`; add it and restart portcullis, or name a socket by --socket",
                        self.config.display()
                    )
                })?;
                socket.path
            }
        };
        Ok(Some(Client::new(&path).context("asking portcullis")?))
    }
}

/// Prints the sessions at this moment.
///
/// # Errors
/// Says why nobody answers, or what cannot be printed.
pub(super) fn sessions(args: &LiveArgs) -> anyhow::Result<Outcome> {
    let heads = [
        "SESSION",
        "STARTED",
        "CLIENT",
        "SERVER",
        "USER",
        "STATE",
        "LAST",
        "RULE",
        "TRANSFERS",
        "BYTES",
        "DENIED",
        "PINHOLE",
    ];
    print(args, "sessions", &heads, session)
}

/// Prints the pinholes at this moment.
///
/// # Errors
/// Says why nobody answers, or what cannot be printed.
pub(super) fn pinholes(args: &LiveArgs) -> anyhow::Result<Outcome> {
    let heads = [
        "SESSION", "OPENED", "FROM", "TO", "TARGET", "MODE", "STATE", "USER", "RULE", "FOR",
    ];
    print(args, "pinholes", &heads, pinhole)
}

/// Has the rules read again, and prints how that went.
///
/// # Errors
/// Says why nobody answers, or what cannot be printed.
pub(super) fn reload(running: &Running) -> anyhow::Result<Outcome> {
    let Some(client) = running.client()? else {
        return Ok(Outcome::Problems);
    };
    let (done, answer) = client.post("/api/reload")?;
    let said = |key| answer.get(key).and_then(Value::as_str);
    let text = said("text").or_else(|| said("error"));
    let text = text.ok_or_else(|| anyhow!("portcullis did not say how it went"))?;
    say(&format!("{}\n", text.trim_end()))?;
    Ok(if done {
        Outcome::Good
    } else {
        Outcome::Problems
    })
}

fn print(
    args: &LiveArgs,
    what: &str,
    heads: &[&str],
    cells: fn(&Value, Zone) -> Vec<String>,
) -> anyhow::Result<Outcome> {
    let Some(client) = args.running.client()? else {
        return Ok(Outcome::Problems);
    };
    let answer = client.get(&format!("/api/{what}"))?;
    let items = list(&answer, what);
    let zone = if args.utc { Zone::Utc } else { Zone::Local };
    let text = match args.json {
        true => items.iter().map(|item| format!("{item}\n")).collect(),
        false => {
            let mut table = Table::new(heads);
            for item in items {
                table.push(cells(item, zone));
            }
            table.text()
        }
    };
    say(&text)?;
    Ok(Outcome::Good)
}

pub(super) fn session(session: &Value, zone: Zone) -> Vec<String> {
    let hole = session.get("pinhole").filter(|hole| !hole.is_null());
    let hole = hole.map(|hole| format!("{} → {}", word(hole, "from"), word(hole, "to")));
    vec![
        count(session, "session").to_string(),
        time(session, "started", zone),
        word(session, "client"),
        word(session, "server"),
        word(session, "user"),
        word(session, "state"),
        last(session),
        word(session, "rule"),
        count(session, "transfers").to_string(),
        size(count(session, "bytes")),
        count(session, "denied").to_string(),
        hole.unwrap_or_default(),
    ]
}

pub(super) fn pinhole(hole: &Value, zone: Zone) -> Vec<String> {
    vec![
        count(hole, "session").to_string(),
        time(hole, "opened", zone),
        word(hole, "from"),
        word(hole, "to"),
        word(hole, "target"),
        word(hole, "mode"),
        word(hole, "state"),
        word(hole, "user"),
        word(hole, "rule"),
        last(hole),
    ]
}

/// The last command and its path.
fn last(item: &Value) -> String {
    let text = format!("{} {}", word(item, "command"), word(item, "path"));
    text.trim_end().to_owned()
}

/// A list of an answer; empty where there is none.
pub(super) fn list<'a>(answer: &'a Value, key: &str) -> &'a [Value] {
    let items = answer.get(key).and_then(Value::as_array);
    items.map(Vec::as_slice).unwrap_or_default()
}

/// A text of an answer; empty where there is none.
pub(super) fn word(item: &Value, key: &str) -> String {
    let text = item.get(key).and_then(Value::as_str);
    text.unwrap_or_default().to_owned()
}

/// A number of an answer.
pub(super) fn count(item: &Value, key: &str) -> u64 {
    item.get(key).and_then(Value::as_u64).unwrap_or(0)
}

fn time(item: &Value, key: &str, zone: Zone) -> String {
    let at = item.get(key).and_then(Value::as_i64);
    at.map(|at| zone.show(at)).unwrap_or_default()
}
