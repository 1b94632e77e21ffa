//! What `why` tells and what a session does agree, for any policy and any command.

use std::sync::Arc;

use jiff::Timestamp;
use portcullis::ftp::Verb;
use portcullis::inspect::{self, Event};
use portcullis::rules::{Policy, Request, Verdict, explain};
use proptest::prelude::*;
use proptest::sample::select;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use crate::dialogue::{BEHIND_NAT, Dialogue};

/// Pairs of a policy and a command that are decided by both.
const PAIRS: u32 = 10_000;

const CONDITIONS: &[&str] = &[
    "client: 10.0.0.0/8",
    "client: [10.0.0.5, 203.0.113.0/24]",
    "client: 203.0.113.9",
    "server: 192.0.2.20",
    "server: 198.51.100.0/24",
    "listener: lan",
    "listener: [wan, dmz]",
    "host: '*.example'",
    "host: b.example",
    "user: ann",
    "user: ['a*', carol]",
    "user: '@staff'",
    "command: read",
    "command: [write, delete]",
    "command: [list, session, navigate]",
    "command: [login, data]",
    "command: admin",
    "command: [SITE CHMOD, AUTH]",
    "command: [security, unknown]",
    "command: [USER, HOST, MLSD, PORT]",
    "mode: active",
    "mode: passive",
    "channel: plain",
    "channel: cleared",
    "path: /pub/**",
    "path: ['*.exe', /in/*]",
    "path: a.txt",
    "when: { days: mon-fri, from: '08:00', to: '18:00', zone: Europe/Berlin }",
    "when: { days: sat-sun }",
];

const ACTIONS: &[&str] = &[
    "allow: true",
    "allow: true",
    "allow: true",
    "allow: true, audit: quiet",
    "allow: true, audit: alert",
    "allow: true, tls: pass",
    "allow: true, command: FEAT, hide-features: [MLST, SIZE]",
    "allow: true, command: [FEAT, PORT, SIZE], hide-features: [EPSV]",
    "allow: true, fxp: 192.0.2.0/24",
    "deny: true",
    "deny: true, audit: quiet",
    "deny: 553 Not this",
];

const COMMANDS: &[&str] = &[
    "USER ann",
    "USER bob",
    "PASS x",
    "ACCT y",
    "HOST c.example",
    "CWD /pub",
    "CWD",
    "CDUP",
    "PWD",
    "RETR /pub/a.txt",
    "RETR a.txt",
    "RETR",
    "STOR /in/b.exe",
    "STOU",
    "APPE ../c",
    "DELE /pub/x.exe",
    "RNFR a",
    "MKD /in",
    "LIST",
    "LIST -la /pub",
    "NLST /in/a",
    "MLSD",
    "MLSD /pub",
    "MLST a.txt",
    "SIZE a.txt",
    "MDTM 20261120 a",
    "MFMT 20261120000000 /in/a",
    "STAT",
    "STAT /pub",
    "SITE CHMOD 600 a",
    "SITE exec ls",
    "SITE",
    "AUTH TLS",
    "AUTH GSSAPI",
    "PBSZ 0",
    "CCC",
    "FEAT",
    "OPTS UTF8 ON",
    "NOOP",
    "TYPE I",
    "PASV",
    "EPSV",
    "EPSV ALL",
    "PORT 10,0,0,5,4,1",
    "PORT 192,0,2,77,4,1",
    "EPRT |1|10.0.0.5|2000|",
    "ABOR",
    "QUIT",
    "REIN",
    "XFOO bar",
    "ALGS STATUS64",
];

/// Some are wrong as they are put together, and no case.
fn any_policy() -> impl Strategy<Value = String> {
    let conditions = prop::collection::vec(select(CONDITIONS), 0..3);
    let rules = prop::collection::vec((select(ACTIONS), conditions), 1..7);
    rules.prop_map(|rules| {
        let mut text = "user-groups: { staff: [bob, 'x-*'] }\n\
             protocol: { transfers-before-login: accept, unknown-commands: accept }\nrules:\n"
            .to_owned();
        for (number, (action, conditions)) in rules.iter().enumerate() {
            let mut parts = vec![format!("id: r{number}"), (*action).to_owned()];
            parts.extend(conditions.iter().map(|text| (*text).to_owned()));
            text.push_str(&format!("  - {{ {} }}\n", parts.join(", ")));
        }
        text
    })
}

#[derive(Clone, Debug)]
struct Asked {
    host: Option<&'static str>,
    user: Option<&'static str>,
    at: &'static str,
    line: &'static str,
}

fn any_command() -> impl Strategy<Value = Asked> {
    let host = select(&[None, Some("a.example"), Some("b.example")][..]);
    let user = select(&[None, Some("ann"), Some("bob"), Some("carol")][..]);
    let at = [
        "2026-11-20T12:00:00Z",
        "2026-11-20T17:30:00Z",
        "2026-11-21T12:00:00Z",
    ];
    (host, user, select(at.to_vec()), select(COMMANDS)).prop_map(|(host, user, at, line)| Asked {
        host,
        user,
        at,
        line,
    })
}

/// Says a line that the server takes, if the rules let it pass; tells whether they did.
fn passes(dialogue: &mut Dialogue, line: &str, reply: &str) -> bool {
    dialogue.take_heard();
    dialogue.client(line);
    let passed = dialogue.take_heard().contains(&format!("S< {line}"));
    if passed {
        dialogue.server(reply);
    }
    passed
}

/// What a session decides (`None` where the protocol does), and the host and the user that it has by then.
fn lived(
    policy: &str,
    asked: &Asked,
    at: Timestamp,
) -> (Option<Verdict>, [Option<&'static str>; 2]) {
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue.inspector.handle_clock(at, dialogue.now);
    dialogue.server("220 ready");
    let taken = |host: &&str| passes(&mut dialogue, &format!("HOST {host}"), "220 host");
    let host = asked.host.filter(taken);
    // Who is refused is nobody.
    let taken = |user: &&str| passes(&mut dialogue, &format!("USER {user}"), "331 more");
    let user = asked.user.filter(taken);
    dialogue.records.clear();
    dialogue.client(asked.line);
    let decided = dialogue.records.into_iter().find_map(|event| {
        let Event::Decided { verdict, .. } = event else {
            return None;
        };
        Some(verdict)
    });
    (decided, [host, user])
}

#[test]
fn why_tells_what_a_session_decides_in_ten_thousand_cases() {
    let mut runner = TestRunner::new(Config {
        cases: PAIRS,
        max_global_rejects: 10 * PAIRS,
        failure_persistence: None,
        ..Config::default()
    });
    let all = runner.run(&(any_policy(), any_command()), |(text, asked)| {
        let Ok(policy) = Policy::parse("test.yaml", &text) else {
            return Err(TestCaseError::reject("no policy"));
        };
        let at: Timestamp = asked.at.parse().expect("a time");
        let (Some(decided), [host, user]) = lived(&text, &asked, at) else {
            return Err(TestCaseError::reject("the protocol decides"));
        };
        let [client, _, server, _] = BEHIND_NAT.map(|ip| ip.parse().expect("an address"));
        let asking = Request {
            user,
            host,
            at: Some(at),
            ..Request::new("lan", client, server, &Verb::Noop)
        };
        let told = inspect::ask(&Arc::new(policy), asked.line, &asking).expect("a command");
        prop_assert_eq!(told.verdict, decided, "{}", text);
        Ok(())
    });
    if let Err(failure) = all {
        panic!("{failure}");
    }
}

#[test]
fn the_index_finds_the_rule_that_going_through_all_finds_in_ten_thousand_cases() {
    let verbs = select(Verb::KNOWN);
    let channel = select(&portcullis::rules::Channel::NAMED[..]);
    let paths = [
        None,
        Some("/pub/a"),
        Some("/in/x.exe"),
        Some("**/a.txt"),
        Some("b.exe"),
    ];
    let facts = (
        verbs,
        channel,
        select(paths.to_vec()),
        any::<bool>(),
        any::<bool>(),
    );
    let mut runner = TestRunner::new(Config {
        cases: PAIRS,
        max_global_rejects: 10 * PAIRS,
        failure_persistence: None,
        ..Config::default()
    });
    let all = runner.run(
        &(any_policy(), any_command(), facts),
        |(text, asked, facts)| {
            let Ok(policy) = Policy::parse("test.yaml", &text) else {
                return Err(TestCaseError::reject("no policy"));
            };
            let (verb, (_, channel), path, foreign, timed) = facts;
            let [client, _, server, _] = BEHIND_NAT.map(|ip| ip.parse().expect("an address"));
            let request = Request {
                user: asked.user,
                host: asked.host,
                site: (verb == Verb::Site).then_some("CHMOD"),
                foreign: foreign.then_some([192, 0, 2, 77].into()),
                path: path.map(str::as_bytes),
                channel,
                at: timed.then(|| asked.at.parse().expect("a time")),
                ..Request::new("lan", client, server, &verb)
            };
            prop_assert_eq!(
                policy.decide(&request),
                explain(&policy, &request).verdict,
                "{}",
                text
            );
            Ok(())
        },
    );
    if let Err(failure) = all {
        panic!("{failure}");
    }
}
