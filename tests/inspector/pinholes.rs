//! Pinholes and transfers: protocol rules 37–43, and what goes on the record.

use std::time::Duration;

use crate::dialogue::{BEHIND_NAT, Dialogue, PUBLISHED, ROUTED};
use crate::{OPENED, PORT, behind_nat, open_active, open_passive};
use portcullis::inspect::{Event, PinholeNews, Side};
use portcullis::pinhole::Counters;

#[test]
fn p37_an_active_pinhole_opens_when_the_server_accepts() {
    let mut dialogue = behind_nat();
    dialogue
        .client(PORT)
        .expect(&["port at 198.51.100.1", "S< PORT 198,51,100,1,195,80"]);
    dialogue.server("200 ok").expect(&[OPENED, "C< 200 ok"]);
    let mut dialogue = behind_nat();
    dialogue
        .client(PORT)
        .forget()
        .server("425 no")
        .expect(&["close 1", "C< 425 no"]);
    let policy = "protocol: {pinhole-opens: immediate}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue.client(PORT);
    dialogue.expect(&[
        "port at 198.51.100.1",
        OPENED,
        "S< PORT 198,51,100,1,195,80",
    ]);
    dialogue.server("200 ok").expect(&["C< 200 ok"]);
}

#[test]
fn p37_the_acceptance_waits_for_the_kernel() {
    let mut dialogue = behind_nat();
    dialogue.kernel = None;
    dialogue
        .client(PORT)
        .forget()
        .server_bytes(b"200 ok\r\n")
        .expect(&[OPENED]);
    dialogue.client("RETR a").expect(&[]);
    dialogue
        .news(PinholeNews::Opened)
        .expect(&["C< 200 ok", "S< RETR a"]);
}

#[test]
fn p38_every_listed_event_removes_the_pinhole() {
    type Script = fn(&mut Dialogue);
    let events: [(&str, Script); 8] = [
        ("TransferRefused", |dialogue| {
            dialogue.client("RETR a").server("550 no such file");
        }),
        ("Replaced", |dialogue| {
            dialogue.client("PASV");
        }),
        ("Replaced", |dialogue| {
            dialogue.client("EPSV");
        }),
        ("Replaced", |dialogue| {
            dialogue.client(PORT);
        }),
        ("Aborted", |dialogue| {
            dialogue.client("ABOR");
        }),
        ("Reinitialised", |dialogue| {
            dialogue.client("REIN");
        }),
        ("Quit", |dialogue| {
            dialogue.client("QUIT");
        }),
        ("Expired", |dialogue| {
            dialogue.after(Duration::from_secs(60));
        }),
    ];
    for (reason, script) in events {
        let mut dialogue = behind_nat();
        open_passive(&mut dialogue);
        script(&mut dialogue);
        dialogue.after(Duration::from_secs(1));
        let heard = dialogue.take_heard();
        assert!(heard.contains(&"close 1".to_owned()), "{reason}: {heard:?}");
        assert!(
            heard.contains(&format!("unused: {reason}")),
            "{reason}: {heard:?}"
        );
    }
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue.inspector.handle_reset(Side::Client, dialogue.now);
    dialogue.drain();
    dialogue.after(Duration::from_secs(1));
    dialogue.expect(&[
        "close 1",
        "close both",
        "unused: SessionClosed",
        "ended: ClientReset",
    ]);
}

#[test]
fn p39_an_unused_pinhole_leaves_a_record_with_the_reason() {
    let mut dialogue = behind_nat();
    open_active(&mut dialogue);
    dialogue.after(Duration::from_secs(59)).expect(&[]);
    dialogue
        .after(Duration::from_secs(2))
        .expect(&["close 1", "unused: Expired"]);
}

#[test]
fn p40_the_pinhole_is_exact_and_demands_port_20_where_a_rule_says_so() {
    let policy = "rules: [{id: all, allow: true, source-port-20: true}]";
    let mut dialogue = Dialogue::with_policy(ROUTED, policy).logged_in();
    dialogue.client(PORT).server("200 ok").expect(&[
        "S< PORT 10,0,0,5,4,1",
        "open 192.0.2.20 → 10.0.0.5:1025 from port 20",
        "C< 200 ok",
    ]);
}

#[test]
fn p41_a_session_has_at_most_one_live_pinhole() {
    let mut dialogue = behind_nat();
    open_active(&mut dialogue);
    dialogue.client("EPSV").server("229 (|||51210|)").expect(&[
        "close 1",
        "S< EPSV",
        "open 10.0.0.5 → 192.0.2.20:51210 as 198.51.100.1",
        "C< 229 (|||51210|)",
    ]);
}

#[test]
fn p41_an_announcement_behind_a_transfer_leaves_it_its_pinhole() {
    let policy = "protocol: {pinhole-opens: immediate}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    open_passive(&mut dialogue);
    dialogue.client("RETR a").client(PORT).expect(&[
        "S< RETR a",
        "port at 198.51.100.1",
        "S< PORT 198,51,100,1,195,80",
    ]);
    dialogue.server("150 go").data(9);
    dialogue.server("226 done").forget();
    dialogue.server("200 ok").expect(&[OPENED, "C< 200 ok"]);
}

#[test]
fn p43_a_pinhole_that_cannot_be_opened_is_answered_425() {
    let mut dialogue = behind_nat();
    dialogue.kernel = Some(false);
    dialogue
        .client("PASV")
        .forget()
        .server("227 (192,0,2,20,200,10)")
        .expect(&[
            "open 10.0.0.5 → 192.0.2.20:51210 as 198.51.100.1",
            "refused: no",
            "close 1",
            "C< 425 Can't open data connection: no.",
        ]);
    dialogue.client(PORT).forget().server("200 ok").expect(&[
        OPENED,
        "refused: no",
        "close 2",
        "C< 425 Can't open data connection: no.",
    ]);
    let mut dialogue = behind_nat();
    dialogue.free_ports.clear();
    dialogue.client(PORT).expect(&[
        "port at 198.51.100.1",
        "refused: no free data port",
        "close 1",
        "C< 425 No free data port; try again.",
    ]);
}

#[test]
fn a_transfer_is_recorded_with_rule_user_path_bytes_and_reply() {
    let mut dialogue = behind_nat();
    open_active(&mut dialogue);
    dialogue
        .client("CWD /pub")
        .server("250 ok")
        .client("RETR a.iso")
        .server("150 here")
        .forget();
    dialogue.data(1000).server("226 done");
    dialogue.expect(&[
        "close 1",
        "moved RETR /pub/a.iso 1000 bytes Completed",
        "C< 226 done",
    ]);
    let moved = dialogue.records.iter().find_map(|event| {
        if let Event::Transferred(transferred) = event {
            Some(transferred.clone())
        } else {
            None
        }
    });
    let moved = moved.expect("a transfer on the record");
    assert_eq!(moved.rule.id, "all");
    assert_eq!(moved.rule.at, "test.yaml:1");
    assert_eq!(moved.code, Some(226));
    assert_eq!(moved.announced.to_string(), "10.0.0.5:1025");
    assert_eq!(moved.rewritten.to_string(), "198.51.100.1:50000");
    assert!(
        dialogue
            .users
            .iter()
            .rev()
            .all(|user| user.as_deref() == Some("ann") || user.is_none())
    );
}

#[test]
fn a_count_that_comes_after_the_reply_is_waited_for() {
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue
        .client("STOR a")
        .server("150 go")
        .news(PinholeNews::Used)
        .server("226 done");
    dialogue.expect(&["S< STOR a", "C< 150 go", "close 1", "C< 226 done"]);
    dialogue
        .client("QUIT")
        .server("221 bye")
        .finish(Side::Server)
        .finish(Side::Client);
    dialogue.expect(&[
        "S< QUIT",
        "C< 221 bye",
        "C< (end)",
        "S< (end)",
        "close both",
    ]);
    assert!(!dialogue.inspector.is_over(), "the record is not complete");
    dialogue.after(Duration::from_secs(3));
    dialogue.news(PinholeNews::Closed {
        counters: None,
        duration: None,
        cut: false,
    });
    dialogue.expect(&["moved STOR a Completed", "ended: ServerClosed"]);
    assert!(dialogue.inspector.is_over());
}

/// Two that know each other need no command to move data.
#[test]
fn data_without_a_command_is_on_the_record() {
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue.data(5000);
    dialogue.client("NOOP").server("200 ok").forget();
    dialogue
        .client("PASV")
        .expect(&["close 1", "moved PASV 5000 bytes Abandoned", "S< PASV"]);
}

/// The kernel's words may be lost, and told twice.
#[test]
fn a_count_stands_for_a_connection_and_is_not_forgotten() {
    let counted = |bytes_forth| PinholeNews::Closed {
        counters: Some(Counters {
            bytes_forth,
            ..Counters::default()
        }),
        duration: None,
        cut: false,
    };
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue.client("RETR a").server("150 go").forget();
    dialogue.news(counted(700)).news(PinholeNews::Closed {
        counters: None,
        duration: None,
        cut: false,
    });
    dialogue.server("226 done").expect(&[
        "close 1",
        "moved RETR a 700 bytes Completed",
        "C< 226 done",
    ]);
}

#[test]
fn a_pinhole_that_is_waited_for_is_not_forgotten_before() {
    let policy = "protocol: {pinhole-opens: immediate}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    // The server dials at once, and is gone before it has answered PORT.
    dialogue.client(PORT).news(PinholeNews::Used);
    dialogue.finish(Side::Server).finish(Side::Client).forget();
    assert_eq!(dialogue.forgotten, []);
    dialogue
        .data(40)
        .expect(&["moved PORT 40 bytes Abandoned", "ended: ServerClosed"]);
    assert_eq!(dialogue.forgotten.len(), 1);
}

#[test]
fn a_count_that_is_known_ends_with_its_session() {
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue.client("STOR a").server("150 go").data(70).forget();
    dialogue.finish(Side::Server).finish(Side::Client);
    dialogue.expect(&[
        "close 1",
        "C< (end)",
        "S< (end)",
        "moved STOR a 70 bytes Abandoned",
        "close both",
        "ended: ServerClosed",
    ]);
}

#[test]
fn a_count_that_never_comes_is_measured() {
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue
        .client("RETR a")
        .server("150 go")
        .news(PinholeNews::Used)
        .server("226 done")
        .forget();
    dialogue
        .after(Duration::from_secs(62))
        .expect(&["measure 1", "moved RETR a Completed"]);
}

#[test]
fn a_published_server_is_announced_at_the_address_that_was_dialled() {
    let mut dialogue = Dialogue::new(PUBLISHED).logged_in();
    dialogue
        .client("PASV")
        .server("227 (10,0,0,20,200,10)")
        .expect(&[
            "S< PASV",
            "port at 198.51.100.1",
            "open 203.0.113.5 → 198.51.100.1:50000 → 10.0.0.20:51210",
            "C< 227 Entering Passive Mode (198,51,100,1,195,80).",
        ]);
    dialogue.client("EPSV").server("229 (|||51211|)").expect(&[
        "close 1",
        "S< EPSV",
        "port at 198.51.100.1",
        "open 203.0.113.5 → 198.51.100.1:50001 → 10.0.0.20:51211",
        "C< 229 Entering Extended Passive Mode (|||50001|)",
    ]);
    dialogue
        .client("PORT 203,0,113,5,4,1")
        .server("200 ok")
        .expect(&[
            "close 2",
            "S< PORT 203,0,113,5,4,1",
            "open 10.0.0.20 → 203.0.113.5:1025 as 198.51.100.1",
            "C< 200 ok",
        ]);
}

#[test]
fn a_transfer_that_was_cut_off_at_its_limit_is_recorded_as_truncated() {
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue
        .client("RETR a")
        .server("150 go")
        .news(PinholeNews::Used)
        .forget();
    dialogue.news(PinholeNews::Closed {
        counters: None,
        duration: None,
        cut: true,
    });
    dialogue.server("426 broken");
    dialogue.expect(&["close 1", "moved RETR a Truncated", "C< 426 broken"]);
}
