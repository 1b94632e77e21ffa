//! The policies of `rules/`, each by what it is for: lines as clients send them, and what comes of them.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]

use std::fs;
use std::net::IpAddr;

use portcullis::ftp::Verb;
use portcullis::inspect::ask;
use portcullis::rules::{Decision, Loudness, Policy, Reaction, Request, Tls, Verdict};

/// A policy and who asks it.
struct Asking<'a> {
    policy: Policy,
    client: IpAddr,
    user: Option<&'a str>,
    at: &'a str,
}

impl<'a> Asking<'a> {
    fn of(name: &str) -> Self {
        let file = format!("rules/{name}.yaml");
        let text = fs::read_to_string(&file).unwrap();
        Self {
            policy: Policy::parse(&file, &text).unwrap_or_else(|problems| panic!("{problems}")),
            client: [203, 0, 113, 7].into(),
            user: None,
            // A Friday.
            at: "2026-11-20T10:00:00Z",
        }
    }

    fn user(mut self, user: &'a str) -> Self {
        self.user = Some(user);
        self
    }

    fn client(mut self, client: [u8; 4]) -> Self {
        self.client = client.into();
        self
    }

    fn at(mut self, at: &'a str) -> Self {
        self.at = at;
        self
    }

    fn verdict(&self, line: &str) -> Verdict {
        let asking = Request {
            user: self.user,
            at: Some(self.at.parse().unwrap()),
            ..Request::new("ftp", self.client, [198, 51, 100, 20].into(), &Verb::Noop)
        };
        ask(&self.policy, line, &asking).unwrap().verdict
    }

    /// Each line, the rule that decides, and the code of a refusal.
    fn expect(self, cases: &[(&str, &str, &str)]) -> Self {
        for (line, rule, code) in cases {
            let verdict = self.verdict(line);
            let said = match &verdict.decision {
                Decision::Allow => "allow",
                Decision::Deny(reply) => reply.split(' ').next().unwrap(),
            };
            assert_eq!((verdict.rule.id.as_str(), said), (*rule, *code), "{line}");
        }
        self
    }
}

#[test]
fn a_mirror_is_read_by_anybody_and_changed_by_nobody() {
    Asking::of("read-only-mirror").user("anonymous").expect(&[
        ("USER anonymous", "public-accounts", "allow"),
        ("PASS me@example.org", "public-accounts", "allow"),
        ("PASV", "sessions", "allow"),
        ("LIST -la /pub", "looking-around", "allow"),
        ("RETR /pub/debian/README", "sessions", "allow"),
        ("RETR /pub/.htpasswd", "hidden-files", "550"),
        ("STOR /pub/x", "no-changes", "550"),
        ("MKD /pub/x", "no-changes", "550"),
        ("RNFR /pub/x", "no-changes", "550"),
        ("DELE /pub/x", "no-changes", "550"),
        ("SITE EXEC id", "no-changes", "550"),
        ("AUTH TLS", "no-encryption", "534"),
        ("PORT 192,0,2,1,4,1", "default", "550"),
    ]);
    let other = Asking::of("read-only-mirror").user("root");
    other.expect(&[("USER root", "no-other-accounts", "530")]);
}

#[test]
fn looking_around_a_mirror_leaves_no_record_and_fetching_does() {
    let mirror = Asking::of("read-only-mirror").user("ftp");
    assert_eq!(mirror.verdict("LIST").audit, Loudness::Quiet);
    assert_eq!(mirror.verdict("RETR /a").audit, Loudness::Normal);
}

#[test]
fn partners_leave_files_and_see_none() {
    Asking::of("partner-drop-box").user("supplier-7").expect(&[
        ("USER supplier-7", "partners-log-in", "allow"),
        ("PASS x", "partners-log-in", "allow"),
        ("CWD /in", "sessions", "allow"),
        ("EPSV", "sessions", "allow"),
        ("STOR /in/a.csv.part", "deliveries", "allow"),
        ("RNFR /in/a.part", "rename-from", "allow"),
        ("RNTO /in/a.csv", "rename-to", "allow"),
        ("RNFR /in/a.csv", "everything-else", "550"),
        ("STOR /in/a.exe", "no-programs", "553"),
        ("STOR /out/a.csv", "everything-else", "550"),
        ("STOR /in/../out/a.csv", "everything-else", "550"),
        ("RETR /in/a.csv", "everything-else", "550"),
        ("LIST /in", "everything-else", "550"),
        ("DELE /in/a.csv", "everything-else", "550"),
        ("AUTH TLS", "no-encryption", "534"),
    ]);
    let acme = Asking::of("partner-drop-box").user("acme");
    let limits = acme.verdict("STOR /in/a.csv").grants.limits.unwrap();
    let said: Vec<String> = limits.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        [
            "4 transfer(s) at one time for each user",
            "20GB of data per day for each user"
        ]
    );
    let outside = Asking::of("partner-drop-box").client([192, 0, 2, 9]);
    let outside = outside.user("acme");
    outside.expect(&[("USER acme", "nobody-else", "530")]);
    let stranger = Asking::of("partner-drop-box").user("mallory");
    stranger.expect(&[("USER mallory", "nobody-else", "530")]);
}

#[test]
fn clerks_clear_the_drop_box_and_out_of_hours_it_is_told() {
    let clerk = || {
        let asking = Asking::of("partner-drop-box").client([10, 1, 2, 3]);
        asking.user("clerk-2")
    };
    let by_day = clerk().expect(&[
        ("USER clerk-2", "clerks-log-in", "allow"),
        ("NLST /in", "clear-in-hours", "allow"),
        ("RETR /in/a.csv", "clear-in-hours", "allow"),
        ("DELE /in/a.csv", "clear-in-hours", "allow"),
        ("RETR /etc/passwd", "everything-else", "550"),
        ("STOR /in/a.csv", "everything-else", "550"),
    ]);
    assert_eq!(by_day.verdict("RETR /in/a.csv").audit, Loudness::Normal);
    let by_night = clerk().at("2026-11-20T22:00:00Z");
    let by_night = by_night.expect(&[("RETR /in/a.csv", "clear-out-of-hours", "allow")]);
    assert_eq!(by_night.verdict("RETR /in/a.csv").audit, Loudness::Alert);
}

#[test]
fn strict_inspection_checks_what_it_documents() {
    let strict = Asking::of("strict-inspection").user("anna").expect(&[
        ("USER anna", "inspected", "allow"),
        ("PORT 203,0,113,7,4,1", "inspected", "allow"),
        ("RETR /a", "inspected", "allow"),
        ("STOR /a", "inspected", "allow"),
        ("SYST", "system", "allow"),
        ("SITE HELP", "request-command-deny", "550"),
        ("HELP", "request-command-deny", "550"),
        ("AUTH TLS", "no-encryption", "534"),
        ("PORT 192,0,2,1,4,1", "default", "550"),
    ]);
    let mask = strict.verdict("SYST").grants.mask.unwrap();
    assert_eq!(mask.text.as_deref(), Some("XXXXXXXX"));
    let protocol = strict.policy.protocol();
    assert!(protocol.strict);
    assert_eq!(protocol.max_unanswered, 1);
    assert_eq!(protocol.bare_lf, Reaction::Close);
    assert_eq!(protocol.unrequested_passive_reply, Reaction::Close);
    assert!(protocol.banner.is_some());
}

#[test]
fn an_open_policy_denies_nothing_but_what_attacks_others() {
    let open = Asking::of("open").user("anna").expect(&[
        ("USER anna", "everything", "allow"),
        ("RETR /a", "everything", "allow"),
        ("STOR /a", "everything", "allow"),
        ("XYZZY", "everything", "allow"),
        ("SITE UMASK 022", "everything", "allow"),
        ("DELE /a", "removals", "allow"),
        ("AUTH TLS", "encryption", "allow"),
        ("SITE EXEC id", "no-site-programs", "550"),
        ("PORT 192,0,2,1,4,1", "default", "550"),
    ]);
    assert_eq!(open.verdict("DELE /a").audit, Loudness::Alert);
    assert_eq!(open.verdict("AUTH TLS").grants.tls, Tls::Pass);
}
