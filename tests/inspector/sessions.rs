//! Sessions as a whole: login, secrets, rules, ends and time-outs.

use std::time::Duration;

use crate::dialogue::{BEHIND_NAT, Dialogue};
use crate::{PORT, behind_nat, open_passive};
use portcullis::inspect::{PinholeNews, Side};

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
