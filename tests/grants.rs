//! What allowing rules grant beyond the command, what the protocol section says, and what is warned of.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]

use std::sync::Arc;
use std::time::Duration;

use portcullis::ftp::Verb;
use portcullis::rules::{DataPath, Decision, Grants, Policy, Reaction, Request, Tls, Window};
use portcullis::yaml::Source;

/// What the first rule of a policy grants to a command.
fn granted(keys: &str, verb: &Verb) -> Grants {
    let text = format!("rules: [{{ id: a, allow: true, {keys} }}]");
    let policy = Policy::parse("edge.yaml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let (client, server) = ([192, 0, 2, 7].into(), [198, 51, 100, 20].into());
    let verdict = policy.decide(&Request::new("lan", client, server, verb));
    assert_eq!(verdict.decision, Decision::Allow);
    verdict.grants
}

#[test]
fn tls_is_refused_passed_or_given_a_window() {
    let tls = |keys| granted(keys, &Verb::Auth).tls;
    assert_eq!(tls("command: AUTH"), Tls::Refuse);
    assert_eq!(tls("tls: refuse"), Tls::Refuse);
    assert_eq!(tls("tls: pass"), Tls::Pass);
    let window = |at_most| {
        Tls::Window(Window {
            first: 50_000,
            last: 50_100,
            at_most,
        })
    };
    assert_eq!(tls("tls: { window: { ports: 50000-50100 } }"), window(4));
    let keys = "command: security, tls: { window: { ports: 50000-50100, at-most: 1000 } }";
    assert_eq!(tls(keys), window(1000));
}

#[test]
fn a_rule_says_who_carries_the_data_and_how_much() {
    let grants = granted("data: relay, max-bytes: 100MB", &Verb::Pasv);
    assert_eq!(grants.data, Some(DataPath::Relay));
    assert_eq!(grants.max_bytes, Some(100_000_000));
    let kernel = granted("data: kernel", &Verb::Pasv);
    assert_eq!(kernel.data, Some(DataPath::Kernel));
    assert_eq!(granted("client: 192.0.2.7", &Verb::Pasv), Grants::default());
}

#[test]
fn a_mask_is_text_without_a_code() {
    let grants = granted("command: SYST, mask-text: 'UNIX Type: L8'", &Verb::Syst);
    let mask = grants.mask.unwrap();
    assert_eq!(mask.text.as_deref(), Some("UNIX Type: L8"));
    for text in ["215 UNIX", "215-UNIX", "215", " 215 UNIX", "a\\nb"] {
        let text = format!("rules: [{{ id: a, allow: true, mask-text: \"{text}\" }}]");
        assert!(Policy::parse("edge.yaml", &text).is_err(), "{text}");
    }
}

#[test]
fn hidden_features_are_kept_in_upper_case_and_once() {
    let grants = granted("hide-features: [mlst, AUTH, MLST]", &Verb::Feat);
    assert_eq!(grants.mask.unwrap().hidden_features, ["MLST", "AUTH"]);
    let one = granted("hide-features: XDUPE", &Verb::Feat);
    assert_eq!(one.mask.unwrap().hidden_features, ["XDUPE"]);
}

#[test]
fn the_protocol_section_is_read() {
    let text = "protocol:\n  strict: true\n  long-addresses: refuse\n  max-path: 255\n  max-bad-passwords: 0\n  bad-password-delay: 2s\n  banner: FTP server ready\nrules: [{ id: a, allow: true }]\n";
    let policy = Policy::parse("edge.yaml", text).unwrap();
    let protocol = policy.protocol();
    assert!(protocol.strict);
    assert_eq!(protocol.long_addresses, Reaction::Refuse);
    assert_eq!(protocol.max_path, 255);
    assert_eq!(protocol.max_bad_passwords, 0);
    assert_eq!(protocol.bad_password_delay, Duration::from_secs(2));
    assert_eq!(protocol.banner.as_deref(), Some("FTP server ready"));
}

/// The warnings of a policy, without their help.
fn warnings(text: &str) -> Vec<String> {
    let source = Arc::new(Source::new("edge.yaml", text));
    match Policy::read(&source, None) {
        Ok((_, warnings)) => warnings.iter().map(|w| w.message.clone()).collect(),
        Err(problems) => panic!("{problems}"),
    }
}

#[test]
fn what_a_rule_grants_to_nobody_is_warned_of() {
    let text = "rules:\n  - { id: login, allow: true, command: [login] }\n  - { id: b, allow: true, command: [read], tls: pass, data: relay, fxp: 192.0.2.0/24, hide-features: MLTS }\n  - { id: c, allow: true, command: [PASV], data: kernel, max-bytes: 1GB, mask-text: Fine }\n";
    assert_eq!(
        warnings(text),
        [
            "`tls` in a rule that does not match AUTH",
            "`data` in a rule that does not match PORT, EPRT, PASV, EPSV",
            "`fxp` in a rule that does not match PORT, EPRT",
            "`hide-features` in a rule that does not match FEAT",
            "`MLTS` is no feature that portcullis knows",
            "`max-bytes` bounds nothing with `data: kernel`",
            "`mask-text` in a rule that matches PASV",
        ]
    );
}

#[test]
fn p26_rules_for_foreign_addresses_are_reached_behind_one_that_allows_all() {
    let text = "rules:\n  - { id: all, allow: true }\n  - { id: fxp, allow: true, fxp: 192.0.2.0/24 }\n  - { id: no-fxp, deny: 500 No, command: [PORT, EPRT] }\n  - { id: late, deny: true, client: 10.0.0.1 }\n  - { id: read, deny: true, command: read }\n  - { id: end, deny: true }\n  - { id: beyond, allow: true, fxp: 10.0.0.0/8 }\n";
    assert_eq!(
        warnings(text),
        [
            "the rule `late` is only reached by PORT and EPRT with foreign addresses",
            "the rule `read` is never reached",
            "the rule `end` is only reached by PORT and EPRT with foreign addresses",
            "the rule `beyond` is never reached",
        ]
    );
}

#[test]
fn p26_a_rule_for_foreign_addresses_lets_nobody_in() {
    let text = "rules: [{ id: fxp, allow: true, fxp: 0.0.0.0/0 }]";
    let message = "no rule lets anybody say USER, so nobody can log in";
    assert_eq!(warnings(text), [message]);
}

#[test]
fn a_limit_that_never_limits_is_warned_of() {
    let text = "rules:\n  - { id: login, allow: true, command: [USER, PASS], limits: { per: user, commands: 9/min } }\n  - { id: data, allow: true, command: data, limits: [{ per: client, commands: 9/s }, { per: rule, transfers: 1, bytes: 1GB/h }] }\n  - { id: host, allow: true, host: b, command: HOST, limits: { per: user, commands: 1/s } }\n  - { id: read, allow: true, command: read, limits: { per: user, transfers: 1, bytes: 1GB/h } }\n  - { id: size, allow: true, command: [SIZE], max-bytes: 1GB }\n";
    assert_eq!(
        warnings(text),
        [
            "`bytes` in a rule that matches no transfer",
            "`transfers` in a rule that matches no transfer",
            "`per: user` in a rule that matches only before USER",
            "`max-bytes` in a rule that does not match PORT, EPRT, PASV, EPSV, RETR, STOR, STOU, APPE, LIST, NLST, MLSD",
        ]
    );
}
