//! Each side in the words it knows: conversion, families, long addresses, FXP; protocol rules 21, 35,
//! 36.

use crate::behind_nat;
use crate::dialogue::{BEHIND_NAT, Dialogue};

/// An IPv6-only client and an IPv4-only server behind a NAT64 prefix.
const SIX_TO_FOUR: [&str; 4] = [
    "2001:db8::5",
    "64:ff9b::c000:214",
    "192.0.2.20",
    "198.51.100.1",
];
/// An IPv4 client and a published IPv6 server.
const FOUR_TO_SIX: [&str; 4] = [
    "203.0.113.5",
    "198.51.100.1",
    "2001:db8:7::20",
    "2001:db8:7::1",
];

#[test]
fn a_server_without_epsv_is_asked_by_pasv_once_and_for_all() {
    let mut dialogue = behind_nat();
    dialogue
        .client("EPSV")
        .server("500 what")
        .expect(&["S< EPSV", "EPSV becomes PASV", "S< PASV"]);
    dialogue.server("227 (192,0,2,20,200,10)").expect(&[
        "open 10.0.0.5 → 192.0.2.20:51210 as 198.51.100.1",
        "C< 229 Entering Extended Passive Mode (|||51210|)",
    ]);
    dialogue.client("EPSV").expect(&["close 1", "S< PASV"]);
}

#[test]
fn a_server_without_pasv_is_asked_by_epsv() {
    let mut dialogue = behind_nat();
    dialogue
        .client("PASV")
        .server("502 what")
        .expect(&["S< PASV", "PASV becomes EPSV", "S< EPSV"]);
    dialogue.server("229 (|||51210|)").expect(&[
        "open 10.0.0.5 → 192.0.2.20:51210 as 198.51.100.1",
        "C< 227 Entering Passive Mode (192,0,2,20,200,10).",
    ]);
}

#[test]
fn a_server_without_eprt_is_told_by_port_and_the_reverse() {
    let mut dialogue = behind_nat();
    dialogue.client("EPRT |1|10.0.0.5|1025|").forget();
    dialogue
        .server("500 what")
        .expect(&["EPRT becomes PORT", "S< PORT 198,51,100,1,195,80"]);
    dialogue
        .server("200 ok")
        .expect(&[crate::OPENED, "C< 200 ok"]);
    dialogue.client("EPRT |1|10.0.0.5|1026|");
    dialogue.expect(&[
        "close 1",
        "port at 198.51.100.1",
        "S< PORT 198,51,100,1,195,81",
    ]);
    let mut dialogue = behind_nat();
    dialogue.client(crate::PORT).forget();
    dialogue
        .server("500 what")
        .expect(&["PORT becomes EPRT", "S< EPRT |1|198.51.100.1|50000|"]);
    // A server that knows neither has the last word.
    dialogue
        .server("500 neither")
        .expect(&["close 1", "C< 500 neither"]);
}

#[test]
fn epsv_all_holds_although_the_server_does_not_know_it() {
    let mut dialogue = behind_nat();
    dialogue.client("EPSV ALL").server("500 what");
    dialogue.expect(&["S< EPSV ALL", "C< 200 EPSV ALL accepted."]);
    dialogue.client("PASV");
    assert!(
        dialogue
            .take_heard()
            .iter()
            .any(|text| text.starts_with("C< 501 "))
    );
}

#[test]
fn an_ipv6_client_reaches_an_ipv4_server() {
    let mut dialogue = Dialogue::new(SIX_TO_FOUR).logged_in();
    dialogue.client("EPSV").server("229 (|||51210|)").expect(&[
        "S< EPSV",
        "port at 64:ff9b::c000:214",
        "open 2001:db8::5 → [64:ff9b::c000:214]:50000 → 192.0.2.20:51210 as 198.51.100.1 by relay",
        "C< 229 Entering Extended Passive Mode (|||50000|)",
    ]);
    dialogue.client("EPRT |2|2001:db8::5|1025|").server("200 ok").expect(&[
        "close 1",
        "port at 198.51.100.1",
        "S< EPRT |1|198.51.100.1|50001|",
        "open 192.0.2.20 → 198.51.100.1:50001 → [2001:db8::5]:1025 as 64:ff9b::c000:214 by relay",
        "C< 200 ok",
    ]);
    // The number in EPSV is the client's family, which the server does not have.
    dialogue
        .client("EPSV 2")
        .expect(&["close 2", "S< EPSV"])
        .server("500 what")
        .forget();
    let mut dialogue = Dialogue::new(SIX_TO_FOUR).logged_in();
    // A server of old, and one that lies about where it is.
    dialogue.client("EPSV").server("500 what").server("227 (10,9,9,9,200,11)").expect(&[
        "S< EPSV",
        "EPSV becomes PASV",
        "S< PASV",
        "port at 64:ff9b::c000:214",
        "open 2001:db8::5 → [64:ff9b::c000:214]:50000 → 192.0.2.20:51211 as 198.51.100.1 by relay",
        "C< 229 Entering Extended Passive Mode (|||50000|)",
    ]);
}

#[test]
fn p35_pasv_of_an_ipv6_client_has_no_answer_it_could_use() {
    let mut dialogue = Dialogue::new(SIX_TO_FOUR).logged_in();
    dialogue.client("PASV").expect(&[
        "! client sent PASV on an IPv6 control connection",
        "C< 502 PASV is for IPv4 only; use EPSV.",
    ]);
}

#[test]
fn an_ipv4_client_reaches_an_ipv6_server() {
    let mut dialogue = Dialogue::new(FOUR_TO_SIX).logged_in();
    dialogue.client("PASV").server("229 (|||51210|)").expect(&[
        "S< EPSV",
        "port at 198.51.100.1",
        "open 203.0.113.5 → 198.51.100.1:50000 → [2001:db8:7::20]:51210 as 2001:db8:7::1 by relay",
        "C< 227 Entering Passive Mode (198,51,100,1,195,80).",
    ]);
    dialogue.client("PORT 203,0,113,5,4,1").server("200 ok").expect(&[
        "close 1",
        "port at 2001:db8:7::1",
        "S< EPRT |2|2001:db8:7::1|50001|",
        "open 2001:db8:7::20 → [2001:db8:7::1]:50001 → 203.0.113.5:1025 as 198.51.100.1 by relay",
        "C< 200 ok",
    ]);
}

#[test]
fn algs_says_what_is_translated() {
    let mut dialogue = Dialogue::new(SIX_TO_FOUR).logged_in();
    dialogue.client("ALGS STATUS64").expect(&["C< 216 EPSV"]);
    dialogue.client("ALGS DISABLE64");
    assert!(
        dialogue
            .take_heard()
            .iter()
            .any(|text| text.starts_with("C< 504 "))
    );
    let mut dialogue = behind_nat();
    dialogue.client("algs status64").expect(&["C< 216 NONE"]);
}

#[test]
fn p36_long_addresses_become_what_the_server_knows() {
    let mut dialogue = behind_nat();
    dialogue
        .client("LPRT 4,4,10,0,0,5,2,4,1")
        .server("200 ok")
        .expect(&[
            "port at 198.51.100.1",
            "S< EPRT |1|198.51.100.1|50000|",
            crate::OPENED,
            "C< 200 ok",
        ]);
    dialogue.client("LPSV").server("229 (|||51210|)").expect(&[
        "close 1",
        "S< EPSV",
        "open 10.0.0.5 → 192.0.2.20:51210 as 198.51.100.1",
        "C< 228 Entering Long Passive Mode (4,4,192,0,2,20,2,200,10)",
    ]);
    let policy = "protocol: {long-addresses: refuse}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    for verb in ["LPRT 4,4,10,0,0,5,2,4,1", "LPSV"] {
        dialogue.client(verb);
        let heard = dialogue.take_heard();
        assert!(
            heard.iter().any(|text| text.starts_with("C< 502 ")),
            "{heard:?}"
        );
    }
}

#[test]
fn p21_strict_policies_bear_little_behind_the_port() {
    let policy = "protocol: {strict: true}\nrules: [{id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue.client("PORT 10,0,0,5,4,1; LIST /etc");
    let heard = dialogue.take_heard();
    assert!(
        heard.iter().any(|text| text.starts_with("C< 501 ")),
        "{heard:?}"
    );
    dialogue
        .client("PASV")
        .forget()
        .server("227 ok (192,0,2,20,200,10) and more")
        .expect(&[
            "! server announced an endpoint that cannot be read: too much behind the port",
            "C< 425 The server's announcement cannot be read.",
        ]);
    dialogue
        .client("PASV")
        .forget()
        .server("227 ok (192,0,2,20,200,10).");
    assert_eq!(dialogue.pinholes.len(), 1);
}

#[test]
fn p26_a_rule_may_allow_a_pair_for_fxp() {
    let policy = "rules:
  - {id: pair, allow: true, command: [PORT, EPRT], fxp: [10.0.0.9]}
  - {id: all, allow: true}";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue
        .client("PORT 10,0,0,9,4,1")
        .server("200 ok")
        .expect(&[
            "S< PORT 10,0,0,9,4,1",
            "open 192.0.2.20 → 10.0.0.9:1025",
            "C< 200 ok",
        ]);
    dialogue.client("PORT 10,0,0,8,4,1").expect(&[
        "! client announced 10.0.0.8, which is not its own address 10.0.0.5",
        "C< 501 10.0.0.8 is not your address; yours is 10.0.0.5.",
    ]);
}

#[test]
fn p26_a_third_host_of_another_family_than_the_server_is_refused() {
    let policy = "rules: [{id: fxp, allow: true, fxp: \"2001:db8:77::1\"}, {id: all, allow: true}]";
    let mut dialogue = Dialogue::with_policy(SIX_TO_FOUR, policy).logged_in();
    dialogue.client("EPRT |2|2001:db8:77::1|2000|").expect(&[
        "! client announced 2001:db8:77::1, which is not its own address 2001:db8::5",
        "C< 501 The server cannot reach 2001:db8:77::1.",
    ]);
}

#[test]
fn a_rule_chooses_the_relay_and_bounds_what_it_carries() {
    let policy = "rules:
  - {id: passive, allow: true, command: [PASV, EPSV], data: relay, max-bytes: 1kB}
  - {id: all, allow: true}";
    let mut dialogue = Dialogue::with_policy(BEHIND_NAT, policy).logged_in();
    dialogue.client("EPSV").server("229 (|||51210|)").expect(&[
        "S< EPSV",
        "port at 192.0.2.20",
        "open 10.0.0.5 → 192.0.2.20:50000 → 192.0.2.20:51210 as 198.51.100.1 by relay up to 1000 bytes",
        "C< 229 Entering Extended Passive Mode (|||50000|)",
    ]);
}
