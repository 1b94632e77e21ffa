//! Dialogues with the inspector: what each protocol rule demands, on virtual time.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a failed expectation is a failed test"
)]

mod dialogue;

use std::time::Duration;

use dialogue::{BEHIND_NAT, Dialogue, PUBLISHED, ROUTED, ROUTED_V6};
use portcullis::inspect::{Event, PinholeNews, Side};

const PORT: &str = "PORT 10,0,0,5,4,1";
const OPENED: &str = "open 192.0.2.20 → 198.51.100.1:50000 → 10.0.0.5:1025";

fn behind_nat() -> Dialogue {
    Dialogue::new(BEHIND_NAT).logged_in()
}

fn open_active(dialogue: &mut Dialogue) {
    dialogue.client(PORT).server("200 ok").forget();
}

fn open_passive(dialogue: &mut Dialogue) {
    dialogue
        .client("PASV")
        .server("227 (192,0,2,20,200,10)")
        .forget();
}

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
        .server("500 '227 (192,0,2,20,200,10)'");
    dialogue.expect(&["C< 500 '227 (192,0,2,20,200,10)'"]);
    dialogue
        .client("NOOP")
        .server("500 PORT 10,0,0,5,4,1 not understood");
    dialogue.expect(&["S< NOOP", "C< 500 PORT 10,0,0,5,4,1 not understood"]);
    assert!(dialogue.pinholes.is_empty());
}

#[test]
fn p19_a_227_that_cannot_be_read_becomes_425() {
    let mut dialogue = behind_nat();
    dialogue
        .client("PASV")
        .forget()
        .server("227 (192,0,2,20,200)");
    dialogue.expect(&[
        "! server announced an endpoint that cannot be read: fewer than six numbers",
        "C< 425 The server's announcement cannot be read.",
    ]);
    dialogue
        .client("PASV")
        .forget()
        .server("227 Entering Passive Mode 192,0,2,20,200,10");
    dialogue.expect(&[
        "open 10.0.0.5 → 192.0.2.20:51210 as 198.51.100.1",
        "C< 227 Entering Passive Mode 192,0,2,20,200,10",
    ]);
}

#[test]
fn p20_octets_out_of_range_are_answered_501() {
    for port in [
        "10,0,1,258,4,1",
        "10,0,0,5,4",
        "10,0,0,-5,4,1",
        "10,0,0,+5,4,1",
        "10,0,0,0005,4,1",
    ] {
        let mut dialogue = behind_nat();
        dialogue.client(&format!("PORT {port}"));
        let heard = dialogue.take_heard();
        assert!(
            heard.iter().any(|text| text.starts_with("C< 501 ")),
            "{port}: {heard:?}"
        );
        assert!(
            !heard.iter().any(|text| text.starts_with("S< ")),
            "{port}: {heard:?}"
        );
    }
}

#[test]
fn p22_a_229_with_an_address_is_refused() {
    let mut dialogue = behind_nat();
    dialogue
        .client("EPSV")
        .forget()
        .server("229 ok (|1|192.0.2.20|51210|)");
    dialogue.expect(&[
        "! server announced an endpoint that cannot be read: the first two fields are not blank",
        "C< 425 The server's announcement cannot be read.",
    ]);
    dialogue
        .client("EPSV")
        .forget()
        .server("229 ok (!!!51210!)");
    dialogue.expect(&[
        "open 10.0.0.5 → 192.0.2.20:51210 as 198.51.100.1",
        "C< 229 ok (!!!51210!)",
    ]);
}

#[test]
fn p23_eprt_takes_any_delimiter_and_names_the_protocol_it_needs() {
    let mut dialogue = behind_nat();
    dialogue.client("EPRT !1!10.0.0.5!1025!");
    dialogue.expect(&["port at 198.51.100.1", "S< EPRT |1|198.51.100.1|50000|"]);
    dialogue.server("200 ok").expect(&[OPENED, "C< 200 ok"]);
    for argument in [
        "|2|2001:db8::5|1025|",
        "|3|10.0.0.5|1025|",
        "|1|2001:db8::5|1025|",
    ] {
        let mut dialogue = behind_nat();
        dialogue.client(&format!("EPRT {argument}"));
        dialogue.expect(&[
            "! client announced an address of another family than the control connection",
            "C< 522 Network protocol not supported, use (1)",
        ]);
    }
}

#[test]
fn p24_at_most_one_preliminary_reply_and_order_is_kept() {
    let mut dialogue = behind_nat();
    open_passive(&mut dialogue);
    dialogue.client_bytes(b"RETR a\r\nNOOP\r\n").forget();
    dialogue.server_bytes(b"150 first\r\n125 second\r\n226 done\r\n200 noop\r\n");
    dialogue.expect(&[
        "C< 150 first",
        "! server sent a second preliminary reply, 125",
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
fn p26_port_to_a_third_host_is_refused() {
    let mut dialogue = behind_nat();
    dialogue.client("PORT 10,0,0,9,4,1").expect(&[
        "! client announced 10.0.0.9, which is not its own address 10.0.0.5",
        "C< 501 10.0.0.9 is not your address; yours is 10.0.0.5.",
    ]);
    dialogue.client("EPRT |1|192.0.2.20|1025|").expect(&[
        "! client announced 192.0.2.20, which is not its own address 10.0.0.5",
        "C< 501 192.0.2.20 is not your address; yours is 10.0.0.5.",
    ]);
}

#[test]
fn p27_privileged_ports_are_refused() {
    for (port, number) in [("0,0", 0), ("0,22", 22), ("3,255", 1023)] {
        let mut dialogue = behind_nat();
        dialogue.client(&format!("PORT 10,0,0,5,{port}")).expect(&[
            &format!("! client announced port {number}, which is refused"),
            &format!("C< 504 Data connections to port {number} are not allowed."),
        ]);
        dialogue
            .client("PASV")
            .forget()
            .server(&format!("227 (192,0,2,20,{port})"))
            .expect(&[
                &format!("! server announced port {number}, which is refused"),
                &format!("C< 504 Data connections to port {number} are not allowed."),
            ]);
    }
}

#[test]
fn p28_listed_high_ports_are_refused() {
    let policy = "protocol: {refused-ports: [3306, 6000-6063]}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue.client("PORT 10,0,0,5,12,234").expect(&[
        "! client announced port 3306, which is refused",
        "C< 504 Data connections to port 3306 are not allowed.",
    ]);
    dialogue
        .client("EPSV")
        .forget()
        .server("229 (|||6010|)")
        .expect(&[
            "! server announced port 6010, which is refused",
            "C< 504 Data connections to port 6010 are not allowed.",
        ]);
}

#[test]
fn p29_a_foreign_address_in_227_is_never_connected_to() {
    let mut dialogue = behind_nat();
    dialogue
        .client("PASV")
        .forget()
        .server("227 (10,9,9,9,200,10)")
        .expect(&[
            "open 10.0.0.5 → 192.0.2.20:51210 as 198.51.100.1",
            "C< 227 Entering Passive Mode (192,0,2,20,200,10).",
        ]);
    let policy = "protocol: {foreign-passive-address: refuse}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue
        .client("PASV")
        .forget()
        .server("227 (10,9,9,9,200,10)")
        .expect(&[
            "! server announced 10.9.9.9, which is not its own address 192.0.2.20",
            "C< 425 The server announced an address that is not its own.",
        ]);
}

#[test]
fn p30_forbidden_addresses_are_refused() {
    for address in ["127.0.0.1", "224.0.0.1", "169.254.1.1"] {
        let mut dialogue = Dialogue::new([address, "192.0.2.20", "192.0.2.20", "198.51.100.1"]);
        dialogue = dialogue.logged_in();
        dialogue
            .client(&format!("PORT {},4,1", address.replace('.', ",")))
            .expect(&[
                &format!(
                    "! client announced {address}, an address that no data connection may have"
                ),
                &format!("C< 501 No data connection can be made to {address}."),
            ]);
    }
}

#[test]
fn p31_the_pinhole_names_the_expected_peer() {
    let mut dialogue = behind_nat();
    open_active(&mut dialogue);
    let (_, pinhole) = dialogue.pinholes.remove(0);
    assert_eq!(pinhole.initiator.to_string(), "192.0.2.20");
    assert_eq!(pinhole.announced.to_string(), "198.51.100.1:50000");
}

#[test]
fn p34_epsv_keeps_address_and_family() {
    let mut dialogue = Dialogue::new(ROUTED_V6).logged_in();
    dialogue
        .client("EPSV 2")
        .server("229 (|||51210|)")
        .expect(&[
            "S< EPSV 2",
            "open 2001:db8::5 → [2001:db8::20]:51210",
            "C< 229 (|||51210|)",
        ]);
    dialogue.client("EPSV 1").expect(&[
        "! client announced an address of another family than the control connection",
        "C< 522 Network protocol not supported, use (2)",
    ]);
}

#[test]
fn p35_port_and_pasv_are_refused_on_ipv6() {
    let mut dialogue = Dialogue::new(ROUTED_V6).logged_in();
    dialogue.client("PASV").expect(&[
        "! client sent PASV on an IPv6 control connection",
        "C< 502 PASV is for IPv4 only; use EPSV.",
    ]);
    dialogue.client(PORT).expect(&[
        "! client sent PORT on an IPv6 control connection",
        "C< 502 PORT is for IPv4 only; use EPRT.",
    ]);
    dialogue
        .client("EPRT |2|2001:db8::5|1025|")
        .server("200 ok")
        .expect(&[
            "S< EPRT |2|2001:db8::5|1025|",
            "open 2001:db8::20 → [2001:db8::5]:1025",
            "C< 200 ok",
        ]);
}

#[test]
fn p36_variants_of_port_and_pasv_are_never_forwarded() {
    for verb in ["LPRT", "LPSV", "SPSV", "CPSV", "P@SW"] {
        let mut dialogue = behind_nat();
        dialogue.client(verb).expect(&[
            &format!("! client asked for {verb}, which is not forwarded"),
            &format!("C< 502 {verb} is not available; use PASV, EPSV, PORT or EPRT."),
        ]);
    }
}

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
        .server("500 no")
        .expect(&["close 1", "C< 500 no"]);
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
fn p44_after_epsv_all_every_other_announcement_is_refused() {
    let mut dialogue = behind_nat();
    dialogue
        .client("EPSV ALL")
        .server("200 ok")
        .expect(&["S< EPSV ALL", "C< 200 ok"]);
    for line in [PORT, "EPRT |1|10.0.0.5|1025|", "PASV"] {
        dialogue.client(line);
        let heard = dialogue.take_heard();
        assert!(
            heard.iter().any(|text| text.starts_with("C< 501 ")),
            "{heard:?}"
        );
        assert!(
            !heard.iter().any(|text| text.starts_with("S< ")),
            "{heard:?}"
        );
    }
    dialogue.client("EPSV").server("229 (|||51210|)");
    assert_eq!(dialogue.pinholes.len(), 1);
}

#[test]
fn p45_epsv_all_is_cleared_only_by_rein() {
    let mut dialogue = behind_nat();
    dialogue
        .client("EPSV ALL")
        .server("200 ok")
        .client("USER bob")
        .server("230 in")
        .forget();
    dialogue.client("PASV");
    assert!(
        dialogue
            .take_heard()
            .iter()
            .any(|text| text.starts_with("C< 501 "))
    );
    dialogue
        .client("REIN")
        .server("220 ready")
        .client("USER ann")
        .server("230 in")
        .forget();
    dialogue.client("PASV").expect(&["S< PASV"]);
}

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
    let moved = dialogue.records.iter().find_map(|event| match event {
        Event::Transferred(transferred) => Some(transferred.clone()),
        _ => None,
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
    });
    dialogue.expect(&["moved STOR a Completed", "ended: ServerClosed"]);
    assert!(dialogue.inspector.is_over());
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
    dialogue.expect(&[
        "deny AUTH by no-tls",
        "C< 534 TLS is not possible on this connection.",
    ]);
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
