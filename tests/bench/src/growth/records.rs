//! How many records a second are kept, in the file and in the store, and that none is missing.

use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::ensure;
use portcullis::audit::{Audit, Entry, Session};
use portcullis::config::{AuditOutput, AuditSettings, StoreSettings};
use portcullis::ftp::Verb;
use portcullis::inspect::{Command, Event, Mode, Record, TransferOutcome, Transferred};
use portcullis::pinhole::{Counters, Pinhole, PinholeId};
use portcullis::rules::{Policy, Request};

use super::PORTCULLIS;
use crate::lab::{Lab, Places, System};
use crate::report::{Report, Sample};

pub(super) const NAME: &str = "growth-records";

/// Records of one measurement.
const COUNT: usize = 1_000_000;
/// The same where it has to be quick.
const QUICK: usize = 100_000;

pub(super) fn measure(places: &Places, quick: bool, report: &mut Report) -> anyhow::Result<()> {
    let count = if quick { QUICK } else { COUNT };
    // For its folder on a disk.
    let lab = Lab::new(places, System::Routing, None)?;
    let lines = lab.disk().join("eve.json");
    let settings = AuditSettings {
        store: Some(StoreSettings::at(lab.disk().join("audit.db"))),
        ..AuditSettings::to(AuditOutput::File(lines.clone()))
    };
    let records = records();
    let session = Arc::new(session());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let took = runtime.block_on(async {
        let audit = Audit::open(&settings)?;
        let began = Instant::now();
        for record in records.iter().cycle().take(count) {
            let entry = Entry {
                timestamp: SystemTime::now(),
                session: Arc::clone(&session),
                record: record.clone(),
            };
            audit.accept(entry).await?;
        }
        audit.finish().await?;
        let took = began.elapsed();
        ensure!(
            audit.written() == count as u64,
            "{} of {count} were written",
            audit.written()
        );
        anyhow::Ok(took)
    })?;
    let kept = BufReader::new(std::fs::File::open(&lines)?).lines().count();
    ensure!(kept == count, "{kept} of {count} lines are in the file");
    report.add(
        PORTCULLIS,
        &[Sample {
            figure: NAME,
            what: "kept",
            unit: "/s",
            at: None,
            value: count as f64 / took.as_secs_f64(),
        }],
    );
    report.note(format!(
        "{NAME}: {count} records of transfers from one thread, to a file and a store under target/bench; the file has \
         every one."
    ));
    Ok(())
}

fn session() -> Session {
    let at = |ip: [u8; 4], port| SocketAddr::from((ip, port));
    Session {
        id: 1,
        flow_id: 77,
        client: at([10, 60, 1, 2], 40_000),
        dialled: at([198, 51, 100, 20], 21),
        server: at([198, 51, 100, 20], 21),
        seen: Some(at([198, 51, 100, 1], 40_000)),
        listener: "lan".into(),
    }
}

/// What one passive transfer leaves on the record.
fn records() -> Vec<Record> {
    let policy = Policy::allow_all();
    let client: IpAddr = Ipv4Addr::new(10, 60, 1, 2).into();
    let server: IpAddr = Ipv4Addr::new(198, 51, 100, 20).into();
    let (id, pinhole) = (
        PinholeId(1),
        Pinhole {
            initiator: client,
            announced: (server, 40_001).into(),
            target: (server, 40_001).into(),
            source: Ipv4Addr::new(198, 51, 100, 1).into(),
            from_port_20: false,
        },
    );
    let command = |verb, argument: Option<&str>| Command {
        verb,
        argument: argument.map(Arc::from),
        path: argument.map(|name| format!("/pub/{name}").into()),
    };
    let verdict = |verb: &Verb| policy.decide(&Request::new("lan", client, server, verb));
    let rule = verdict(&Verb::Retr).rule;
    let decided = |verb: Verb, argument| Event::Decided {
        verdict: verdict(&verb),
        command: command(verb, argument),
    };
    let events = [
        decided(Verb::Pasv, None),
        Event::PinholeOpened {
            id,
            pinhole,
            mode: Mode::Passive,
            rule: Arc::clone(&rule),
        },
        decided(Verb::Retr, Some("a.bin")),
        Event::PinholeUsed {
            id,
            pinhole,
            after: Duration::from_micros(400),
        },
        Event::Replied {
            command: command(Verb::Retr, Some("a.bin")),
            code: 226,
            text: "Transfer complete.".to_owned(),
        },
        Event::Transferred(Transferred {
            command: command(Verb::Retr, Some("a.bin")),
            rule,
            mode: Mode::Passive,
            pinhole,
            id,
            announced: pinhole.announced,
            rewritten: pinhole.announced,
            counters: Some(Counters {
                packets_forth: 5,
                bytes_forth: 268,
                packets_back: 4,
                bytes_back: 222,
            }),
            duration: Some(Duration::from_micros(300)),
            code: Some(226),
            outcome: TransferOutcome::Completed,
        }),
    ];
    let record = |event| Record {
        user: Some("anonymous".into()),
        event,
    };
    events.map(record).to_vec()
}
