//! Lines and commands: protocol rules 1–13 and 64.

use crate::dialogue::{BEHIND_NAT, Dialogue};
use crate::{OPENED, behind_nat};
use portcullis::inspect::Side;

#[test]
fn p01_a_port_in_two_segments_is_one_command() {
    let mut dialogue = behind_nat();
    dialogue.client_bytes(b"PO").expect(&[]);
    dialogue.client_bytes(b"RT 10,0,0,5,4,1\r\n");
    dialogue.expect(&["port at 198.51.100.1", "S< PORT 198,51,100,1,195,80"]);
}

#[test]
fn p02_one_byte_at_a_time_is_the_same_command() {
    let mut dialogue = behind_nat();
    for byte in b"PORT 10,0,0,5,4,1\r\n" {
        dialogue.client_bytes(&[*byte]);
    }
    dialogue.expect(&["port at 198.51.100.1", "S< PORT 198,51,100,1,195,80"]);
}

#[test]
fn sessions_that_work_in_one_room_keep_what_they_hold_apart() {
    let (mut one, mut other) = (behind_nat(), behind_nat());
    one.client_bytes(b"SIZE fi").server_bytes(b"200 un");
    other.client("NOOP").expect(&["S< NOOP"]);
    other.server("200 ok").expect(&["C< 200 ok"]);
    one.client_bytes(b"rst\r\n").expect(&["S< SIZE first"]);
    one.server_bytes(b"told\r\n").expect(&["C< 200 untold"]);
}

#[test]
fn p03_pipelined_commands_are_taken_in_order() {
    let mut dialogue = behind_nat();
    dialogue.client_bytes(b"NOOP\r\nPORT 10,0,0,5,4,1\r\nLIST\r\n");
    // LIST waits: the server must not dial before the pinhole stands.
    dialogue.expect(&[
        "S< NOOP",
        "port at 198.51.100.1",
        "S< PORT 198,51,100,1,195,80",
    ]);
    dialogue.server_bytes(b"200 noop\r\n200 port\r\n");
    dialogue.expect(&["C< 200 noop", OPENED, "C< 200 port", "S< LIST"]);
}

#[test]
fn p04_an_endless_line_is_answered_500_and_closes() {
    let mut dialogue = behind_nat();
    dialogue.client_bytes(&[b'A'; 600]);
    dialogue.expect(&[
        "! client sent a line of more than 512 bytes",
        "C< 500 Line of more than 512 bytes, closing.",
        "close both",
        "ended: Violation",
    ]);
    let mut dialogue = behind_nat();
    dialogue.client(&format!("RETR /{}", "a".repeat(3000)));
    assert_eq!(
        dialogue.take_heard().len(),
        1,
        "a pathname may be longer than 512 bytes"
    );
}

#[test]
fn p05_bare_lf_is_accepted_and_sent_on_as_crlf_or_refused_by_policy() {
    let mut dialogue = behind_nat();
    dialogue.client_bytes(b"NOOP\n").expect(&["S< NOOP"]);
    let policy = "protocol: {bare-lf: refuse}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue.client_bytes(b"NOOP\n");
    dialogue.expect(&[
        "! client ended a line with LF alone",
        "C< 500 Lines end with CR LF.",
    ]);
    dialogue.client("NOOP").expect(&["S< NOOP"]);
}

#[test]
fn p06_cr_inside_a_line_is_refused_and_cr_nul_is_not() {
    let mut dialogue = behind_nat();
    dialogue.client_bytes(b"NOOP\rPORT 1\r\n");
    dialogue.expect(&["! client sent CR inside a line", "C< 501 CR inside a line."]);
    dialogue
        .client_bytes(b"DELE a\r\0b\r\n")
        .expect(&["S< DELE a\r\0b"]);
}

#[test]
fn p06_no_name_with_cr_can_be_made() {
    // vsftpd lists such a folder over the control connection as lines of their own.
    for verb in ["MKD", "XMKD", "STOR", "STOU", "APPE", "RNTO"] {
        let mut dialogue = behind_nat();
        dialogue.client(&format!(
            "{verb} x\r\u{0}213 End\r\u{0}227 (10,0,0,20,20,1)"
        ));
        dialogue.expect(&[
            "! client named a file or folder with the end of a line in its name",
            "C< 553 No name may hold the end of a line.",
        ]);
    }
    for line in ["USER a\r\u{0}b", "SITE a\r\u{0}b", "NOOP a\r\u{0}b"] {
        let mut dialogue = behind_nat();
        dialogue.client(line);
        dialogue.expect(&["! client sent CR inside a line", "C< 501 CR inside a line."]);
    }
}

#[test]
fn p07_nul_inside_a_line_is_refused() {
    let mut dialogue = behind_nat();
    dialogue.client_bytes(b"DELE a\0b\r\n");
    dialogue.expect(&[
        "! client sent NUL inside a line",
        "C< 501 NUL inside a line.",
    ]);
}

#[test]
fn p10_verbs_match_in_any_letter_case() {
    let mut dialogue = behind_nat();
    dialogue.client("pOrT 10,0,0,5,4,1");
    dialogue.expect(&["port at 198.51.100.1", "S< PORT 198,51,100,1,195,80"]);
}

#[test]
fn p11_further_spaces_belong_to_the_pathname() {
    let policy = "rules: [{id: spaced, deny: true, path: ['/ a']}, {id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue
        .server("220 ready")
        .client("USER ann")
        .server("230 in")
        .server("257 \"/\"")
        .forget();
    dialogue.client("DELE  a");
    dialogue.expect(&["deny DELE by spaced", "C< 550 Permission denied by policy"]);
    dialogue.client("DELE a").expect(&["S< DELE a"]);
}

#[test]
fn p12_pathnames_pass_byte_exact() {
    let mut dialogue = behind_nat();
    dialogue
        .inspector
        .handle_client(b"DELE \xff\xc3\xa9e\xcc\x81\r\n", dialogue.now);
    let mut sent = None;
    while let Some(action) = dialogue.inspector.poll_action() {
        if let portcullis::inspect::Action::ToServer(bytes) = action {
            sent = Some(bytes);
        }
    }
    assert_eq!(
        sent.as_deref(),
        Some(b"DELE \xff\xc3\xa9e\xcc\x81\r\n".as_slice())
    );
}

#[test]
fn p13_empty_lines_and_unknown_verbs_never_misalign_replies() {
    let mut dialogue = behind_nat();
    dialogue.client_bytes(b"NOOP\r\n\r\nXYZZY\r\nPWD\r\n");
    dialogue.expect(&[
        "S< NOOP",
        "! client sent a line without a verb",
        "! client sent the unknown verb XYZZY",
        "S< PWD",
    ]);
    dialogue.server("200 noop");
    dialogue.expect(&[
        "C< 200 noop",
        "C< 500 No command in this line.",
        "C< 500 Unknown command XYZZY.",
    ]);
    dialogue.server("257 \"/\"").expect(&["C< 257 \"/\""]);
    let policy = "protocol: {unknown-commands: accept}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue.client("XYZZY").expect(&["S< XYZZY"]);
}

#[test]
fn p64_reading_stops_at_the_limit_of_unanswered_commands() {
    let policy = "protocol: {max-unanswered: 3}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue.client_bytes("NOOP\r\n".repeat(5).as_bytes());
    dialogue.expect(&["S< NOOP"; 3]);
    dialogue.server("200 ok").expect(&["C< 200 ok", "S< NOOP"]);
    assert!(dialogue.inspector.wants(Side::Client));
    dialogue.client_bytes("NOOP\r\n".repeat(3000).as_bytes());
    assert!(
        !dialogue.inspector.wants(Side::Client),
        "bytes are held without end"
    );
}
