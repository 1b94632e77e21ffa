//! Rules files: every text compiles or is refused with problems that can be shown, and what compiles decides.

use std::net::IpAddr;
use std::sync::Arc;

use portcullis::ftp::Verb;
use portcullis::rules::{Channel, Decision, Policy, Request, explain, written_rule};
use portcullis::yaml::{Problems, Source};

/// Reads the bytes as a rules file; where it compiles, asks it about a few commands.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let source = Arc::new(Source::new("fuzz.yaml", text));
    match Policy::read(&source, None) {
        Ok((policy, warnings)) => {
            assert!(!warnings.has_errors());
            shown(&warnings);
            decide(&policy);
        }
        Err(problems) => {
            assert!(problems.has_errors(), "refused without a reason");
            shown(&problems);
        }
    }
}

/// Shows problems as `check` does.
pub(super) fn shown(problems: &Problems) {
    let _ = (problems.render(true), problems.to_string());
}

fn decide(policy: &Policy) {
    let address = |text: &str| text.parse::<IpAddr>().unwrap();
    let clients = [address("10.0.0.5"), address("2001:db8::5")];
    let server = address("192.0.2.20");
    for (round, verb) in Verb::KNOWN.iter().enumerate() {
        let client = if round % 2 == 0 {
            clients[0]
        } else {
            clients[1]
        };
        let path = verb.takes_path().then_some(b"/pub/a.txt".as_slice());
        let bare = Request::new("lan", client, server, verb);
        let full = Request {
            user: Some("ann"),
            site: (*verb == Verb::Site).then_some("CHMOD"),
            foreign: matches!(verb, Verb::Port | Verb::Eprt).then_some(server),
            path,
            channel: Channel::Cleared,
            host: Some("ftp.example.org"),
            at: "2026-11-20T12:00:00Z".parse().ok(),
            ..bare
        };
        for request in [bare, full] {
            let verdict = policy.decide(&request);
            if let Decision::Deny(reply) = &verdict.decision {
                let code = reply.get(..3).and_then(|code| code.parse::<u16>().ok());
                assert!(
                    code.is_some_and(|code| (400..600).contains(&code)),
                    "{reply}"
                );
                assert!(
                    !reply.contains(['\r', '\n', '\0']),
                    "{reply:?} is more than a line"
                );
            }
            let told = explain(policy, &request);
            assert_eq!(
                told.verdict.rule, verdict.rule,
                "explained otherwise than decided"
            );
        }
    }
    for name in policy.rule_names() {
        assert!(written_rule(policy, &name.id).is_some());
    }
    for window in policy.windows() {
        assert!(1024 <= window.first && window.first <= window.last);
    }
    let _ = (policy.bounded_without_relay(), policy.protocol());
}
