//! The Telnet layer, and replies out of order while a transfer runs: protocol rules 8 and 9.

use crate::dialogue::Dialogue;
use crate::{behind_nat, open_passive};
use portcullis::inspect::PinholeNews;

const IAC: u8 = 255;

fn transferring() -> Dialogue {
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue
        .client("RETR a")
        .server("150 go")
        .news(PinholeNews::Used)
        .forget();
    dialogue
}

#[test]
fn p08_telnet_commands_are_removed_and_options_refused() {
    let mut dialogue = behind_nat();
    dialogue.client_bytes(
        &[
            &[IAC, 251, 24, IAC, 253, 6],
            b"NO".as_slice(),
            &[IAC, 241],
            b"OP\r\n",
        ]
        .concat(),
    );
    let heard = dialogue.take_heard();
    let (answer, command) = (heard.first(), heard.get(1));
    // DONT and WONT go back.
    assert!(
        answer.is_some_and(|text| text.contains("255, 254, 24, 255, 252, 6")),
        "{heard:?}"
    );
    assert_eq!(
        (command.map(String::as_str), heard.len()),
        (Some("S< NOOP"), 2)
    );
}

#[test]
fn p08_a_doubled_255_is_one_byte_for_rules_and_two_on_the_wire() {
    let mut dialogue = behind_nat();
    dialogue.client_bytes(b"DELE a\xff\xffb\r\n");
    let path = dialogue.records.iter().rev().find_map(|event| {
        if let portcullis::inspect::Event::Decided { command, .. } = event {
            command.path.clone()
        } else {
            None
        }
    });
    assert_eq!(
        path.as_deref(),
        Some("a\u{fffd}b"),
        "one byte outside of UTF-8"
    );
    dialogue.expect(&["S< DELE a\u{fffd}\u{fffd}b"]);
}

#[test]
fn p09_abor_during_a_transfer_goes_on_with_its_synch() {
    let mut dialogue = transferring();
    dialogue
        .client_bytes(&[IAC, 244, IAC])
        .client_bytes(&[242])
        .client_bytes(b"ABOR\r\n");
    dialogue.expect(&["S< (synch)", "S< ABOR"]);
    dialogue.server("426 aborted").server("226 done");
    dialogue.expect(&["close 1", "C< 426 aborted", "C< 226 done"]);
    dialogue.client("ABOR").expect(&["S< ABOR"]);
}

#[test]
fn p09_a_synch_of_the_server_goes_on_to_the_client() {
    let mut dialogue = transferring();
    dialogue
        .server_bytes(&[IAC, 244, IAC, 242])
        .expect(&["C< (synch)"]);
}

#[test]
fn stat_is_answered_while_a_transfer_runs() {
    let mut dialogue = transferring();
    dialogue.client("STAT").expect(&["S< STAT"]);
    dialogue.server_bytes(b"213-Status\r\n226 is not here\r\n213 End\r\n");
    dialogue.expect(&["C< 213-Status", "C< 226 is not here", "C< 213 End"]);
    dialogue
        .server("226 done")
        .expect(&["close 1", "C< 226 done"]);
}

#[test]
fn p09_abor_whose_own_end_is_urgent_goes_on_with_a_synch() {
    let mut dialogue = transferring();
    dialogue.client_bytes(b"ABOR\r");
    dialogue.inspector.handle_urgent();
    dialogue
        .client_bytes(b"\n")
        .expect(&["S< (synch)", "S< ABOR"]);
    dialogue
        .server("426 aborted")
        .server("226 done")
        .client("NOOP");
    dialogue.expect(&["close 1", "C< 426 aborted", "C< 226 done", "S< NOOP"]);
}

#[test]
fn p09_a_second_150_in_place_of_426_and_226_ends_transfer_and_abor() {
    let mut dialogue = transferring();
    dialogue.client("ABOR").forget();
    dialogue.server("150 5.024 seconds (measured here)");
    dialogue.expect(&[
        "! server sent a second preliminary reply, 150",
        "close 1",
        "C< 150 5.024 seconds (measured here)",
    ]);
    dialogue.client("PASV").server("227 (192,0,2,20,200,11)");
    dialogue.expect(&[
        "S< PASV",
        "open 10.0.0.5 → 192.0.2.20:51211 as 198.51.100.1",
        "C< 227 (192,0,2,20,200,11)",
    ]);
}

#[test]
fn p09_a_synch_goes_with_the_command_that_interrupts_and_no_other() {
    let mut dialogue = transferring();
    let wire = [b"NOOP\r\n".as_slice(), &[IAC, 244, IAC, 242], b"ABOR\r\n"].concat();
    dialogue.client_bytes(&wire);
    dialogue.expect(&["S< NOOP", "S< (synch)", "S< ABOR"]);
}
