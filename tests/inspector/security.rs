//! TLS on the control connection, without its keys: protocol rules 46–51 and 53.

use std::time::Duration;

use crate::dialogue::{BEHIND_NAT, Dialogue};
use portcullis::inspect::{PinholeNews, Side, WindowNews};

const PASS: &str = "rules: [{id: all, allow: true, tls: pass}]";
const WINDOW: &str =
    "rules: [{id: all, allow: true, tls: {window: {ports: 50000-50100, at-most: 4}}}]";

/// A TLS record of each side, as far as its header goes.
const CLIENT_HELLO: &[u8] = &[22, 3, 1, 0, 3, b'h', b'e', b'y'];
const SERVER_HELLO: &[u8] = &[22, 3, 3, 0, 2, b'y', b'o'];
/// close_notify as TLS 1.3 shows it: application data.
const CLOSE_NOTIFY: &[u8] = &[23, 3, 3, 0, 2, 0, 0];

fn begun(policy: &str) -> Dialogue {
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy);
    dialogue
        .server("220 ready")
        .client("AUTH TLS")
        .server("234 go")
        .forget();
    dialogue
        .client_bytes(CLIENT_HELLO)
        .server_bytes(SERVER_HELLO)
        .forget();
    dialogue
}

/// A login inside TLS is not seen; one that was to be there and never began is no login.
#[test]
fn the_time_to_log_in_ends_where_tls_begins() {
    let mut dialogue = begun(PASS);
    dialogue.after(Duration::from_secs(800)).expect(&[]);
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, PASS);
    dialogue.server("220 ready").client("AUTH TLS");
    dialogue.server("234 go").client_bytes(CLIENT_HELLO);
    dialogue.forget().after(Duration::from_secs(120));
    let heard = dialogue.take_heard();
    assert!(heard.contains(&"close both".to_owned()), "{heard:?}");
}

#[test]
fn p46_refused_tls_is_answered_534_and_not_listed() {
    let mut dialogue = Dialogue::new(BEHIND_NAT);
    dialogue.server("220 ready").client("FEAT").forget();
    dialogue.server_bytes(
        b"211-Features:\r\n AUTH TLS\r\n PBSZ\r\n PROT\r\n EPSV\r\n CCC\r\n211 End\r\n",
    );
    dialogue.expect(&["C< 211-Features:", "C<  EPSV", "C< 211 End"]);
    dialogue.client("AUTH TLS");
    dialogue.expect(&["deny AUTH by all", "C< 534 TLS is not possible here."]);
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, PASS);
    dialogue.server("220 ready").client("FEAT").forget();
    dialogue.server_bytes(b"211-Features:\r\n AUTH TLS\r\n211 End\r\n");
    dialogue.expect(&["C< 211-Features:", "C<  AUTH TLS", "C< 211 End"]);
    dialogue.client("AUTH GSSAPI");
    dialogue.expect(&["deny AUTH by all", "C< 504 Only AUTH TLS is possible here."]);
}

#[test]
fn p47_behind_234_nothing_is_read_and_nothing_opens() {
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, PASS);
    dialogue
        .server("220 ready")
        .client("AUTH TLS")
        .server("234 go");
    dialogue.expect(&["C< 220 ready", "S< AUTH TLS", "C< 234 go", "secured"]);
    // What looks like a command inside of a record is none.
    let record = [
        &[23, 3, 3, 0, 27],
        b"PORT 10,0,0,9,4,1\r\nPASV\r\n\r\n".as_slice(),
    ]
    .concat();
    dialogue
        .client_bytes(CLIENT_HELLO)
        .server_bytes(SERVER_HELLO)
        .forget();
    dialogue.client_bytes(&record);
    assert_eq!(dialogue.take_heard().len(), 1);
    let record = [
        &[23, 3, 3, 0, 26],
        b"227 (192,0,2,20,0,22)\r\n\r\n\n".as_slice(),
    ]
    .concat();
    dialogue.server_bytes(&record);
    assert_eq!(dialogue.take_heard().len(), 1);
    assert!(dialogue.pinholes.is_empty() && dialogue.inspector.wants(Side::Client));
}

#[test]
fn p48_bytes_behind_auth_are_never_carried_into_tls() {
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, PASS);
    dialogue.server("220 ready").forget();
    dialogue
        .client_bytes(b"AUTH TLS\r\nDELE a\r\n")
        .expect(&["S< AUTH TLS"]);
    dialogue.server("234 go").expect(&[
        "C< 234 go",
        "! client sent bytes behind AUTH before TLS began",
        "close both",
        "ended: Violation",
    ]);
    // The server's bytes behind its 234 are carried, but not read.
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, PASS);
    dialogue.server("220 ready").client("AUTH TLS").forget();
    dialogue.server_bytes(&[b"234 go\r\n".as_slice(), SERVER_HELLO].concat());
    assert_eq!(dialogue.take_heard().len(), 3);
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, PASS);
    dialogue
        .server("220 ready")
        .client("AUTH TLS")
        .server("234 go")
        .forget();
    dialogue.client("DELE a");
    dialogue.expect(&[
        "! client sent plain text where TLS was agreed",
        "close both",
        "ended: Violation",
    ]);
}

#[test]
fn p49_auth_resets_user_and_pending_announcements() {
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, PASS).logged_in();
    dialogue
        .client("PASV")
        .server("227 (192,0,2,20,200,10)")
        .forget();
    dialogue
        .client("AUTH TLS")
        .server("234 go")
        .after(Duration::from_secs(1));
    dialogue.expect(&[
        "S< AUTH TLS",
        "C< 234 go",
        "close 1",
        "secured",
        "unused: Secured",
    ]);
    dialogue
        .client_bytes(CLIENT_HELLO)
        .server_bytes(SERVER_HELLO);
    dialogue.client_bytes(CLOSE_NOTIFY).client("NOOP");
    assert_eq!(
        dialogue.users.last(),
        Some(&None),
        "the user of before TLS is known no more"
    );
}

#[test]
fn p50_prot_and_pbsz_need_a_security_exchange() {
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, PASS).logged_in();
    for line in ["PBSZ 0", "PROT P", "CCC"] {
        dialogue.client(line);
        let verb = line.split(' ').next().unwrap_or_default();
        dialogue.expect(&[
            &format!("! client sent {verb} without a security exchange"),
            &format!("C< 503 {verb} needs a security exchange first."),
        ]);
    }
}

#[test]
fn p51_without_prot_data_connections_are_in_the_clear() {
    // PROT P is not to be had, so the level stays Clear, and transfers go on as they are.
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, PASS).logged_in();
    dialogue.client("PROT P").forget();
    dialogue
        .client("PASV")
        .server("227 (192,0,2,20,200,10)")
        .client("RETR a");
    dialogue.expect(&[
        "S< PASV",
        "open 10.0.0.5 → 192.0.2.20:51210 as 198.51.100.1",
        "C< 227 (192,0,2,20,200,10)",
        "S< RETR a",
    ]);
}

#[test]
fn p53_after_ccc_inspection_resumes() {
    let mut dialogue = begun(WINDOW);
    dialogue.client_bytes(CLOSE_NOTIFY).forget();
    dialogue
        .client("PASV")
        .expect(&["close window 50000-50100", "plain again", "S< PASV"]);
    // The server's own close_notify may come late; it is no text.
    dialogue.server_bytes(CLOSE_NOTIFY);
    assert_eq!(dialogue.take_heard().len(), 1);
    dialogue.server("227 (192,0,2,20,200,10)").expect(&[
        "open 10.0.0.5 → 192.0.2.20:51210 as 198.51.100.1",
        "C< 227 (192,0,2,20,200,10)",
    ]);
    dialogue.client("PROT C").expect(&[
        "! client sent PROT without a security exchange",
        "C< 503 PROT needs a security exchange first.",
    ]);
    dialogue.client("PORT 10,0,0,9,4,1");
    let heard = dialogue.take_heard();
    assert!(
        heard.iter().any(|text| text.starts_with("C< 501 ")),
        "{heard:?}"
    );
}

#[test]
fn p53_after_ccc_segments_may_be_cut_anywhere() {
    let mut dialogue = begun(PASS);
    let wire = [CLOSE_NOTIFY, b"EPSV\r\n"].concat();
    for byte in wire {
        dialogue.client_bytes(&[byte]);
    }
    let heard = dialogue.take_heard();
    assert!(
        heard.ends_with(&["plain again".to_owned(), "S< EPSV".to_owned()]),
        "{heard:?}"
    );
}

#[test]
fn a_window_lives_as_long_as_its_session() {
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, WINDOW);
    dialogue
        .server("220 ready")
        .client("AUTH TLS")
        .server("234 go");
    dialogue.expect(&[
        "C< 220 ready",
        "S< AUTH TLS",
        "C< 234 go",
        "secured",
        "open window 50000-50100",
    ]);
    dialogue
        .after(Duration::from_secs(30))
        .expect(&["open window 50000-50100"]);
    dialogue.finish(Side::Server).finish(Side::Client);
    let heard = dialogue.take_heard();
    assert!(
        heard.contains(&"close window 50000-50100".to_owned()),
        "{heard:?}"
    );
}

#[test]
fn what_came_through_a_window_is_counted_though_its_session_ends_first() {
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, WINDOW);
    dialogue
        .server("220 ready")
        .client("AUTH TLS")
        .server("234 go");
    let announced = "198.51.100.20:50001".parse().expect("an address");
    let now = dialogue.now;
    let used = WindowNews::Used { announced };
    dialogue.inspector.handle_window(used, now);
    dialogue.drain();
    dialogue.finish(Side::Server).finish(Side::Client);
    let ended = |dialogue: &mut Dialogue| {
        let heard = dialogue.take_heard();
        heard.iter().any(|line| line.starts_with("ended"))
    };
    assert!(!ended(&mut dialogue), "the end waits for the count");
    let closed = WindowNews::Closed {
        announced,
        counters: None,
        duration: None,
    };
    dialogue.inspector.handle_window(closed, now);
    dialogue.drain();
    assert!(ended(&mut dialogue));
}

#[test]
fn news_of_unknown_pinholes_change_nothing() {
    let mut dialogue = begun(PASS);
    let id = portcullis::pinhole::PinholeId(77);
    let now = dialogue.now;
    dialogue
        .inspector
        .handle_pinhole(id, PinholeNews::Used, now);
    dialogue.inspector.handle_port(id, Some(4000), now);
    dialogue.drain();
    dialogue.expect(&[]);
}

#[test]
fn nothing_is_said_into_tls() {
    let mut dialogue = begun(PASS);
    dialogue
        .after(Duration::from_secs(901))
        .expect(&["close both", "ended: Idle"]);
}

#[test]
fn p48_plain_text_behind_234_never_reaches_the_client() {
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, PASS);
    dialogue.server("220 ready").client("AUTH TLS").forget();
    dialogue
        .server_bytes(b"234 go\r\n230 injected\r\n")
        .expect(&[
            "C< 234 go",
            "secured",
            "! server sent plain text where TLS was agreed",
            "close both",
            "ended: Violation",
        ]);
    // Behind the client's hello it says why there is no TLS.
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, PASS);
    dialogue
        .server("220 ready")
        .client("AUTH TLS")
        .server("234 go");
    dialogue.client_bytes(CLIENT_HELLO).forget();
    dialogue
        .server("421 no TLS after all")
        .expect(&["C< 421 no TLS after all"]);
}
