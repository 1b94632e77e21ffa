//! Replies matched to commands: protocol rules 14–18, 24 and 25.

use std::time::Duration;

use crate::dialogue::{BEHIND_NAT, Dialogue};
use crate::{OPENED, PORT, behind_nat, open_passive};

#[test]
fn p14_text_lines_of_a_multi_line_reply_are_text() {
    let mut dialogue = Dialogue::new(BEHIND_NAT);
    dialogue
        .server("220 ready")
        .client("USER ann")
        .server("331 password")
        .client("PASS x")
        .forget();
    dialogue.server_bytes(b"230-Welcome\r\n227 (192,0,2,20,0,22)\r\n230 in\r\n");
    dialogue.expect(&["C< 230-Welcome", "C< 227 (192,0,2,20,0,22)", "C< 230 in"]);
    assert!(dialogue.pinholes.is_empty());
}

/// A reply that ends with another code than it begins with never ends for the client.
#[test]
fn p14_a_reply_that_is_replaced_has_no_lines_before_it() {
    let mut dialogue = behind_nat();
    dialogue
        .client("PASV")
        .server_bytes(b"500-Not\r\n500 known\r\n")
        .server("229 (|||51210|)");
    dialogue.expect(&[
        "S< PASV",
        "PASV becomes EPSV",
        "S< EPSV",
        "open 10.0.0.5 → 192.0.2.20:51210 as 198.51.100.1",
        "C< 227 Entering Passive Mode (192,0,2,20,200,10).",
    ]);
    let mut dialogue = behind_nat();
    dialogue.kernel = Some(false);
    dialogue
        .client(PORT)
        .forget()
        .server_bytes(b"200-ok\r\n200 done\r\n");
    dialogue.expect(&[
        OPENED,
        "refused: no",
        "close 1",
        "C< 425 Can't open data connection: no.",
    ]);
}

#[test]
fn p15_only_the_reply_to_the_oldest_outstanding_passive_command_counts() {
    let mut dialogue = behind_nat();
    dialogue.client_bytes(b"NOOP\r\nPASV\r\n").forget();
    dialogue.server("227 (192,0,2,20,200,10)");
    dialogue.expect(&[
        "! server sent 227 without a passive command outstanding",
        "C< 451 The server's reply makes no sense here.",
        "close both",
        "ended: Violation",
    ]);
    assert!(dialogue.pinholes.is_empty());
    let mut dialogue = behind_nat();
    dialogue
        .client("EPSV")
        .forget()
        .server("227 (192,0,2,20,200,10)");
    dialogue.expect(&[
        "! server sent 227 without a passive command outstanding",
        "C< 425 The server answered another command.",
    ]);
}

#[test]
fn p16_an_unrequested_227_opens_nothing() {
    let mut dialogue = behind_nat();
    dialogue.server("227 (192,0,2,20,0,22)");
    dialogue.expect(&[
        "! server sent 227 without a passive command outstanding",
        "C< 421 The server spoke out of turn, closing.",
        "close both",
        "ended: Violation",
    ]);
    let policy = "protocol: {unrequested-passive-reply: refuse}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue.server("229 (|||22|)");
    dialogue.expect(&["! server sent 229 without a passive command outstanding"]);
    dialogue.client("227 (10,0,0,5,200,10)");
    dialogue.expect(&[
        "! client sent what only the other side may send",
        "C< 500 That is a reply.",
    ]);
    assert!(dialogue.pinholes.is_empty());
}

/// What was asked has failed: nothing that hangs on it may stay as if it had not been answered.
#[test]
fn p16_a_227_in_answer_to_another_command_is_its_failure() {
    let policy = "protocol: {unrequested-passive-reply: refuse, pinhole-opens: immediate}\nrules: [{id: all, allow: true}]";
    let stray = "227 (192,0,2,20,200,10)";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue.client(PORT).forget().server(stray).expect(&[
        "! server sent 227 without a passive command outstanding",
        "close 1",
        "C< 451 The server's reply makes no sense here.",
    ]);
    open_passive(&mut dialogue);
    dialogue.client("RETR a").forget().server(stray).expect(&[
        "! server sent 227 without a passive command outstanding",
        "close 2",
        "C< 451 The server's reply makes no sense here.",
    ]);
    // In place of the greeting.
    let mut dialogue = Dialogue::new(BEHIND_NAT);
    dialogue.server(stray).expect(&[
        "! server sent 227 without a passive command outstanding",
        "C< 451 The server's reply makes no sense here.",
        "close both",
        "ended: Violation",
    ]);
}

#[test]
fn p17_port_from_the_server_changes_nothing() {
    let mut dialogue = behind_nat();
    dialogue
        .server("PORT 192,0,2,20,4,1")
        .server("EPRT |1|192.0.2.20|1025|");
    let violation = "! server sent what only the other side may send";
    dialogue.expect(&[violation, violation]);
}

#[test]
fn p18_announcements_inside_errors_change_nothing() {
    let mut dialogue = behind_nat();
    dialogue
        .client("PASV")
        .forget()
        .server("530 '227 (192,0,2,20,200,10)'");
    dialogue.expect(&["C< 530 '227 (192,0,2,20,200,10)'"]);
    dialogue
        .client("NOOP")
        .server("500 PORT 10,0,0,5,4,1 not understood");
    dialogue.expect(&["S< NOOP", "C< 500 PORT 10,0,0,5,4,1 not understood"]);
    assert!(dialogue.pinholes.is_empty());
}

#[test]
fn p24_a_second_preliminary_reply_is_recorded_and_order_is_kept() {
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue.client_bytes(b"RETR a\r\nNOOP\r\n").forget();
    dialogue.server_bytes(b"150 first\r\n125 second\r\n226 done\r\n200 noop\r\n");
    dialogue.expect(&[
        "C< 150 first",
        "! server sent a second preliminary reply, 125",
        "C< 125 second",
        "close 1",
        "C< 226 done",
        "C< 200 noop",
    ]);
}

#[test]
fn p25_421_closes_and_removes_the_pinhole() {
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue
        .server("421 going down")
        .after(Duration::from_secs(1));
    dialogue.expect(&[
        "C< 421 going down",
        "close 1",
        "close both",
        "unused: SessionClosed",
        "ended: ServerClosed",
    ]);
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue.client("421 bye").after(Duration::from_secs(1));
    let heard = dialogue.take_heard();
    assert!(heard.contains(&"close 1".to_owned()) && heard.contains(&"close both".to_owned()));
}

#[test]
fn a_server_that_sends_no_replies_ends_the_session() {
    let mut dialogue = behind_nat();
    for _ in 0..99 {
        dialogue.server("drwxr-xr-x 2 0 0 40 Nov 20 19:11 a");
    }
    assert_eq!(dialogue.take_heard().len(), 99);
    dialogue
        .server("drwxr-xr-x 2 0 0 40 Nov 20 19:11 b")
        .expect(&[
            "! server sent a line that is not a reply",
            "C< 421 The server's replies cannot be read, closing.",
            "close both",
            "ended: Violation",
        ]);
}
