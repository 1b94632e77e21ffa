//! How long one decision takes, by how many rules there are.

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use portcullis::ftp::Verb;
use portcullis::rules::{Policy, Request};

use super::{PORTCULLIS, rules};
use crate::lab::Places;
use crate::report::{Report, Sample};

pub(super) const NAME: &str = "growth-decisions";

/// How many rules.
const COUNTS: [u64; 3] = [10, 10_000, 100_000];
/// How long each is asked over and over, and how often that is repeated.
const ASKING: Duration = Duration::from_millis(200);
const REPEATS: usize = 5;

pub(super) fn measure(_: &Places, _: bool, report: &mut Report) -> anyhow::Result<()> {
    for count in COUNTS {
        let text = rules::policy(count);
        let policy =
            Policy::parse("bench.yaml", &text).map_err(|problems| anyhow!("{problems}"))?;
        let users: Vec<String> = (0..64)
            .map(|n| format!("partner-{}", n * count / 64))
            .collect();
        let paths: Vec<String> = (0..64)
            .map(|n| format!("/archive/{}/a.bin", n * count / 64))
            .collect();
        let clients: Vec<std::net::IpAddr> = (0..64)
            .map(|n| rules::network(n * count / 64))
            .filter_map(|network| network.split('/').next()?.parse().ok())
            .collect();
        let asked: Vec<Request<'_>> = (0..64)
            .map(|n| Request {
                user: Some(&users[n]),
                path: Some(paths[n].as_bytes()),
                ..Request::new("lan", clients[n], [198, 51, 100, 20].into(), verb(n))
            })
            .collect();
        for _ in 0..REPEATS {
            let nanoseconds = time(&policy, &asked);
            report.add(
                PORTCULLIS,
                &[Sample {
                    figure: NAME,
                    what: "one",
                    unit: "ns",
                    at: Some(count),
                    value: nanoseconds,
                }],
            );
        }
    }
    Ok(())
}

fn verb(number: usize) -> &'static Verb {
    match number % 2 {
        0 => &Verb::Retr,
        _ => &Verb::Stor,
    }
}

/// Nanoseconds of one decision, over all requests in turn.
fn time(policy: &Policy, asked: &[Request<'_>]) -> f64 {
    let began = Instant::now();
    let mut decisions = 0u32;
    while began.elapsed() < ASKING {
        for request in asked {
            black_box(policy.decide(black_box(request)));
            decisions += 1;
        }
    }
    began.elapsed().as_nanos() as f64 / f64::from(decisions)
}
