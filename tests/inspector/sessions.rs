//! Sessions as a whole: login, secrets, rules, ends and time-outs.

use std::time::Duration;

use crate::dialogue::{BEHIND_NAT, Dialogue};
use crate::{PORT, behind_nat, open_passive};
use portcullis::inspect::{Event, PinholeNews, Side};

#[test]
fn p60_secrets_never_appear() {
    let mut dialogue = Dialogue::new(BEHIND_NAT);
    dialogue
        .server("220 ready")
        .client("USER ann")
        .server("331 password");
    dialogue
        .client_bytes(b"pass s3cret\r\n")
        .server("332 account");
    dialogue.client("ACCT s3cret").server("230 in");
    dialogue
        .client_bytes(b"PASS s3c\rret\r\n")
        .client_bytes(b" PASS s3cret\r\n");
    dialogue.client_bytes(b"\xff\xf4PASS s3cret\r\n");
    dialogue.client(&format!("PASS s3cret{}", "x".repeat(600)));
    let records = format!("{:?}", dialogue.records);
    assert!(!records.contains("s3c"), "{records}");
    assert!(records.contains("***"));
}

#[test]
fn p61_no_transfer_command_before_login() {
    let mut dialogue = Dialogue::new(BEHIND_NAT);
    dialogue
        .server("220 ready")
        .client("USER ann")
        .server("331 password")
        .forget();
    for line in ["PASV", PORT, "RETR a", "LIST"] {
        dialogue.client(line);
        let heard = dialogue.take_heard();
        assert_eq!(
            heard.last().map(String::as_str),
            Some("C< 530 Log in first."),
            "{line}"
        );
    }
    let policy = "protocol: {transfers-before-login: accept}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue
        .server("220 ready")
        .client("LIST")
        .expect(&["C< 220 ready", "S< LIST"]);
}

/// Rules about users must not be passed by with the name of another.
#[test]
fn a_user_that_was_refused_is_not_who_is_there() {
    let policy = "rules:\n  - { id: not-root, deny: true, user: root, command: USER }\n  - { id: bob, deny: true, user: ann, command: [DELE] }\n  - { id: all, allow: true }\n";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    // Refused by the server, and then by a rule: either way it is ann who deletes.
    dialogue.client("USER bob").server("530 not you").forget();
    dialogue
        .client("DELE a")
        .expect(&["deny DELE by bob", "C< 550 Permission denied by policy"]);
    dialogue.client("USER root").forget();
    dialogue
        .client("DELE a")
        .expect(&["deny DELE by bob", "C< 550 Permission denied by policy"]);
    dialogue.client("RETR a").expect(&["S< RETR a"]);
}

/// RFC 959 §5.4: ACCT may be answered 202 by a server that needs none.
#[test]
fn a_login_stands_until_user_or_rein() {
    let mut dialogue = behind_nat();
    dialogue.client("ACCT x").server("202 needless").forget();
    dialogue.client("PASV").expect(&["S< PASV"]);
}

#[test]
fn a_denied_command_is_answered_in_its_turn_and_recorded() {
    let policy = "rules:
  - {id: no-dele, deny: 550 Not here, command: DELE}
  - {id: all, allow: true}";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue.client_bytes(b"NOOP\r\nDELE a\r\nNOOP\r\n");
    dialogue.expect(&["S< NOOP", "deny DELE by no-dele", "S< NOOP"]);
    dialogue
        .server("200 one")
        .expect(&["C< 200 one", "C< 550 Not here"]);
    dialogue.server("200 two").expect(&["C< 200 two"]);
}

#[test]
fn tls_is_refused_so_that_clients_go_on_without() {
    let mut dialogue = behind_nat();
    dialogue.client("AUTH TLS");
    dialogue.expect(&["deny AUTH by all", "C< 534 TLS is not possible here."]);
}

#[test]
fn the_end_of_one_stream_is_passed_on_behind_its_last_line() {
    let mut dialogue = behind_nat();
    dialogue
        .client_bytes(b"NOOP\r\nQUIT\r\n")
        .finish(Side::Client);
    dialogue.expect(&["S< NOOP", "S< QUIT", "S< (end)"]);
    dialogue
        .server_bytes(b"200 ok\r\n221 bye\r\n")
        .finish(Side::Server);
    dialogue.expect(&[
        "C< 200 ok",
        "C< 221 bye",
        "C< (end)",
        "close both",
        "ended: ClientClosed",
    ]);
}

#[test]
fn an_idle_session_is_told_and_closed_but_not_while_data_moves() {
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue
        .client("RETR a")
        .server("150 go")
        .news(PinholeNews::Used)
        .forget();
    dialogue.after(Duration::from_secs(7200)).expect(&[]);
    dialogue
        .news(PinholeNews::Closed {
            counters: None,
            duration: None,
            cut: false,
        })
        .server("226 done")
        .forget();
    dialogue.after(Duration::from_secs(900));
    dialogue.expect(&[
        "C< 421 Idle for too long, closing.",
        "close both",
        "ended: Idle",
    ]);
}

#[test]
fn rules_about_paths_learn_the_directory_from_the_server() {
    let policy = "rules:
  - {id: private, deny: true, path: '/home/ann/private/**'}
  - {id: all, allow: true}";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue
        .server("220 ready")
        .client("USER ann")
        .server("331 password")
        .client("PASS x")
        .forget();
    dialogue.server("230 in").expect(&["C< 230 in", "S< PWD"]);
    dialogue.client("RETR private/a").expect(&[]);
    dialogue.server("257 \"/home/ann\" is the directory");
    dialogue.expect(&["deny RETR by private", "C< 550 Permission denied by policy"]);
}

/// Two hosts with rules of their own beside the listener's.
fn with_hosts() -> Dialogue {
    Dialogue::with_hosts(
        BEHIND_NAT,
        "rules: [{id: listener, allow: true}]",
        &[
            ("a.example", "rules: [{id: of-a, allow: true}]"),
            ("192.0.2.1", "rules: [{id: of-b, allow: true}]"),
        ],
    )
}

fn last_rule(dialogue: &Dialogue) -> String {
    let rule = dialogue.records.iter().rev().find_map(|event| {
        if let Event::Decided { verdict, .. } = event {
            Some(verdict.rule.id.clone())
        } else {
            None
        }
    });
    rule.expect("a decision")
}

#[test]
fn p56_host_selects_the_rules_before_user_and_names_no_port() {
    let mut dialogue = with_hosts();
    dialogue.server("220 ready").forget();
    dialogue.client("HOST a.example:21").expect(&[
        "! client sent HOST with a port, or without a name",
        "C< 501 HOST takes a name or an address, without a port.",
    ]);
    dialogue
        .client("HOST other.example")
        .expect(&["C< 504 No such host here."]);
    dialogue
        .client("HOST A.Example")
        .server("220 ok")
        .expect(&["S< HOST A.Example", "C< 220 ok"]);
    dialogue.client("USER ann").server("230 in");
    assert_eq!(last_rule(&dialogue), "of-a");
    dialogue.forget().client("HOST 192.0.2.1").expect(&[
        "! client sent HOST after USER",
        "C< 503 HOST comes before USER.",
    ]);
    dialogue
        .client("REIN")
        .server("220 ready")
        .client("USER ann");
    assert_eq!(last_rule(&dialogue), "listener");
}

#[test]
fn p56_a_server_without_host_does_not_keep_the_rules_from_being_chosen() {
    // The last one is vsftpd's, to whatever it does not know before login.
    for unknown in [
        "500 what",
        "502 what",
        "530 Please login with USER and PASS.",
    ] {
        let mut dialogue = with_hosts();
        dialogue
            .server("220 ready")
            .client("HOST a.example")
            .forget();
        dialogue.server(unknown).expect(&["C< 220 Host accepted."]);
        dialogue.client("USER ann");
        assert_eq!(last_rule(&dialogue), "of-a");
    }
}

#[test]
fn p57_the_last_host_counts() {
    let mut dialogue = with_hosts();
    dialogue
        .server("220 ready")
        .client("HOST a.example")
        .server("220 ok");
    dialogue
        .client("HOST 192.0.2.1")
        .server("220 ok")
        .client("USER ann");
    assert_eq!(last_rule(&dialogue), "of-b");
}

#[test]
fn p58_a_hidden_feature_is_neither_listed_nor_served() {
    let policy = "rules: [{id: all, allow: true, hide-features: [MLST, SIZE]}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue.client("FEAT").forget();
    dialogue.server_bytes(
        b"211-Features:\r\n MLST type*;size*;\r\n REST STREAM\r\n SIZE\r\n211 End\r\n",
    );
    dialogue.expect(&["C< 211-Features:", "C<  REST STREAM", "C< 211 End"]);
    for verb in ["MLST", "MLSD", "SIZE"] {
        dialogue.client(&format!("{verb} a")).expect(&[
            &format!("deny {verb} by all"),
            &format!("C< 502 {verb} is not available."),
        ]);
    }
}

#[test]
fn p59_too_many_wrong_passwords_close_the_session() {
    let policy = "protocol: {max-bad-passwords: 2}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue.server("220 ready");
    for _ in 0..2 {
        dialogue
            .client("USER ann")
            .server("331 password")
            .client("PASS x")
            .forget();
        dialogue.server("530 wrong");
    }
    dialogue.expect(&[
        "C< 530 wrong",
        "! client gave 2 wrong passwords",
        "C< 421 Too many wrong passwords, closing.",
        "close both",
        "ended: Violation",
    ]);
}

#[test]
fn p59_the_answer_to_a_wrong_password_may_be_held_back() {
    let policy = "protocol: {bad-password-delay: 3s}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue
        .server("220 ready")
        .client("USER ann")
        .server("331 password")
        .client("PASS x")
        .forget();
    dialogue.server("530 wrong").client("USER bob").expect(&[]);
    dialogue
        .after(Duration::from_secs(3))
        .expect(&["C< 530 wrong", "S< USER bob"]);
}

#[test]
fn p63_overlong_pathnames_are_refused_and_recorded() {
    let policy = "protocol: {max-path: 10}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue.client("RETR 0123456789a").expect(&[
        "! client named a path of more than 10 bytes",
        "C< 501 Pathname of more than 10 bytes.",
    ]);
    dialogue
        .client("RETR 0123456789")
        .expect(&["S< RETR 0123456789"]);
}

#[test]
fn p65_path_rules_work_on_the_resolved_directory() {
    let policy = "rules:
  - {id: private, deny: true, path: '/private/**', command: [write, read]}
  - {id: all, allow: true}";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue
        .server("220 ready")
        .client("USER ann")
        .server("230 in")
        .server("257 \"/\"")
        .forget();
    dialogue
        .client("CWD private")
        .server("250 ok")
        .client("CWD sub")
        .server("250 ok")
        .forget();
    for line in ["RNFR a", "RNTO b", "RETR c", "RETR ../../private/d"] {
        dialogue.client(line);
        let heard = dialogue.take_heard();
        assert!(
            heard.iter().any(|text| text.ends_with("by private")),
            "{line}: {heard:?}"
        );
    }
    dialogue
        .client("CDUP")
        .server("250 ok")
        .client("CDUP")
        .server("250 ok")
        .forget();
    dialogue
        .client("RNFR a")
        .server("350 to")
        .expect(&["S< RNFR a", "C< 350 to"]);
    dialogue
        .client("REST 100")
        .server("350 go")
        .expect(&["S< REST 100", "C< 350 go"]);
    dialogue
        .client("CWD private")
        .server("550 no")
        .forget()
        .client("RETR c");
    dialogue.expect(&["S< RETR c"]);
}

#[test]
fn p65_an_error_names_no_directory() {
    let policy = "rules: [{id: pub, allow: true, command: RETR, path: /pub/**}, {id: rest, allow: true, command: [login, data]}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue.server("550 \"/pub\" cannot be read").forget();
    dialogue
        .client("RETR a")
        .expect(&["deny RETR by default", "C< 550 Permission denied by policy"]);
}

#[test]
fn p67_control_is_not_timed_out_while_data_moves() {
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue
        .client("RETR a")
        .server("150 go")
        .news(PinholeNews::Used)
        .forget();
    dialogue.after(Duration::from_secs(86_400)).expect(&[]);
    dialogue.server("226 done").forget();
    dialogue
        .news(PinholeNews::Closed {
            counters: None,
            duration: None,
            cut: false,
        })
        .forget();
    dialogue.after(Duration::from_secs(899)).expect(&[]);
    dialogue.after(Duration::from_secs(2));
    assert!(dialogue.take_heard().contains(&"close both".to_owned()));
}

#[test]
fn a_client_has_time_to_close_after_an_answer_that_was_held_back() {
    let policy = "protocol: {bad-password-delay: 20s}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue
        .server("220 hi")
        .client("USER ann")
        .server("331 so");
    dialogue.client("PASS x").server("530 no");
    dialogue.finish(Side::Server).forget();
    dialogue
        .after(Duration::from_secs(25))
        .expect(&["C< 530 no", "C< (end)"]);
}

/// Peers that vanish say no 226, and a peer that talks to itself is not served.
#[test]
fn p67_nothing_holds_a_session_for_ever() {
    let over = |dialogue: &mut Dialogue| dialogue.take_heard().contains(&"close both".to_owned());
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue.client("RETR a").server("150 go").data(9);
    dialogue.after(Duration::from_secs(901));
    assert!(over(&mut dialogue), "the data is over and no reply comes");
    let mut dialogue = behind_nat();
    dialogue.finish(Side::Server);
    for _ in 0..4 {
        dialogue.after(Duration::from_secs(4)).client("NOOP");
    }
    assert!(
        over(&mut dialogue),
        "the client talks to a server that has closed"
    );
    let mut dialogue = behind_nat();
    dialogue.kernel = None;
    dialogue.client("PASV").server("227 (192,0,2,20,200,10)");
    dialogue.finish(Side::Client).finish(Side::Server);
    dialogue.after(Duration::from_secs(11));
    assert!(over(&mut dialogue), "the kernel's answer never comes");
}

#[test]
fn p68_masks_change_text_and_never_the_code() {
    let policy = "protocol: {banner: FTP here}
rules:
  - {id: syst, allow: true, command: SYST, mask-text: 'UNIX Type: L8'}
  - {id: all, allow: true}";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue.server_bytes(b"220-ProFTPD 1.3.8\r\n on host x\r\n220 ready\r\n");
    dialogue.expect(&["C< 220 FTP here"]);
    dialogue.client("USER ann").server("230 in").forget();
    dialogue
        .client("SYST")
        .server("215 Windows_NT")
        .expect(&["S< SYST", "C< 215 UNIX Type: L8"]);
    dialogue.client("SYST").server("502 no such thing");
    dialogue.expect(&["S< SYST", "C< 502 no such thing"]);
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue
        .server("530 too many users")
        .expect(&["C< 530 too many users"]);
}

/// Rules that come in the middle of a greeting must not show the rest of it, out of its place.
#[test]
fn p68_a_greeting_is_masked_from_its_first_line_to_its_last() {
    let policy = "protocol: {banner: Hidden}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue.server("220-secret 1.0");
    dialogue.reload("rules: [{id: all, allow: true}]");
    dialogue
        .server("230 secret")
        .server("220 secret")
        .expect(&["C< 220 Hidden"]);
}

/// While a transfer runs, its reply is the oldest that is waited for, and not the one that comes.
#[test]
fn p58_features_stay_hidden_while_a_transfer_runs() {
    let policy = "rules: [{id: feat, allow: true, command: FEAT, hide-features: MLST}, {id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    open_passive(&mut dialogue);
    dialogue.client("RETR a").server("150 go").client("FEAT");
    dialogue
        .forget()
        .server_bytes(b"211-Features\r\n MLST a*\r\n EPSV\r\n211 End\r\n")
        .expect(&["C< 211-Features", "C<  EPSV", "C< 211 End"]);
}

#[test]
fn new_rules_decide_from_the_next_command_on() {
    let mut dialogue = behind_nat();
    dialogue.client("DELE a").server("250 ok").forget();
    let deny = "rules: [{id: no-dele, deny: true, command: DELE}, {id: all, allow: true}]";
    dialogue.reload(deny).client("DELE a");
    dialogue.expect(&["deny DELE by no-dele", "C< 550 Permission denied by policy"]);
    dialogue.client("NOOP").expect(&["S< NOOP"]);
}
