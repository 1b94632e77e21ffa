//! Other protocols than FTP, and words that servers read in other ways.

use crate::behind_nat;
use crate::dialogue::{BEHIND_NAT, Dialogue, ROUTED};

const SECOND: &str = "421 Only FTP is spoken here, closing.";

/// A session that the server has greeted and in which the client says this.
fn greeted_by(policy: &str, said: &[u8]) -> Vec<String> {
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue.server("220 ready").forget();
    dialogue.client_bytes(said).take_heard()
}

fn closes(said: &[u8], violation: &str) {
    let heard = greeted_by("rules: [{id: all, allow: true}]", said);
    let expected = [
        format!("! client {violation}"),
        format!("C< {SECOND}"),
        "close both".to_owned(),
        "ended: Violation".to_owned(),
    ];
    assert_eq!(heard, expected, "{}", String::from_utf8_lossy(said));
}

#[test]
fn http_ends_the_session_before_its_body_is_read() {
    for request in [
        b"POST / HTTP/1.1\r\nHost: a\r\n\r\nUSER ann\r\nPORT 10,0,0,5,4,1\r\n".as_slice(),
        b"get /\r\n",
        b"OPTIONS * HTTP/1.1\r\n",
        b"USER /ann HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n",
    ] {
        closes(request, "spoke HTTP");
    }
    let mut dialogue = behind_nat();
    dialogue.client("PUT /a HTTP/1.1");
    dialogue.expect(&[
        "! client spoke HTTP",
        &format!("C< {SECOND}"),
        "close both",
        "ended: Violation",
    ]);
}

#[test]
fn a_pathname_may_speak_of_http() {
    let mut dialogue = behind_nat();
    dialogue
        .client("RETR about HTTP/1.1")
        .expect(&["S< RETR about HTTP/1.1"]);
}

#[test]
fn what_is_no_command_before_user_ends_the_session() {
    for beginning in [
        b"\x16\x03\x01\x02\x00\x01\r\nUSER ann\r\n".as_slice(),
        b"\x00\x03\x01\x00!\x12\xa4B\r\nUSER ann\r\n",
        b"SSH-2.0-x\r\n",
        b"NOOP\rUSER ann\r\n",
    ] {
        closes(beginning, "spoke another protocol than FTP before USER");
    }
    let mut dialogue = behind_nat();
    dialogue.client("SSH-2.0-x");
    dialogue.expect(&[
        "! client sent a line without a verb",
        "C< 500 No command in this line.",
    ]);
}

#[test]
fn an_empty_line_before_user_is_no_other_protocol() {
    let heard = greeted_by("rules: [{id: all, allow: true}]", b"\r\n  \r\nUSER ann\r\n");
    assert_eq!(heard.last().map(String::as_str), Some("S< USER ann"));
}

#[test]
fn other_protocols_are_only_refused_where_the_policy_says_so() {
    let policy = "protocol: {other-protocols: refuse}\nrules: [{id: all, allow: true}]";
    let heard = greeted_by(policy, b"GET / HTTP/1.1\r\nHost: a\r\nUSER ann\r\n");
    assert_eq!(
        heard,
        [
            "! client sent the unknown verb GET",
            "C< 500 Unknown command GET.",
            "! client sent a line without a verb",
            "C< 500 No command in this line.",
            "S< USER ann",
        ]
    );
}

#[test]
fn a_denied_word_of_site_is_denied_however_it_is_written() {
    let policy = "rules: [{id: no-exec, deny: true, command: SITE EXEC}, {id: all, allow: true}]";
    for line in [
        b"SITE EXEC x\r\n".as_slice(),
        b"SITE  exec\tx\r\n",
        b"SITE \x0bEXEC\x0cx\r\n",
        b"SITE \"EXEC\" x\r\n",
        b"SITE EX\\EC x\r\n",
    ] {
        let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
        dialogue.client_bytes(line);
        dialogue.expect(&["deny SITE by no-exec", "C< 550 Permission denied by policy"]);
    }
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue
        .client("SITE UMASK 022")
        .expect(&["S< SITE UMASK 022"]);
}

#[test]
fn the_server_hears_the_address_as_it_was_read() {
    let mut dialogue = Dialogue::new(ROUTED).logged_in();
    dialogue
        .client("port 010,0,00,005,4,01")
        .expect(&["S< PORT 10,0,0,5,4,1"]);
}
