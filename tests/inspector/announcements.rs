//! PORT, EPRT, 227 and 229: protocol rules 19–36, 44 and 45.

use crate::dialogue::{BEHIND_NAT, Dialogue, ROUTED_V6};
use crate::{OPENED, PORT, behind_nat, open_active};

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
    // The server may have picked it at random: it is asked for another, and not for ever.
    dialogue.client("EPSV").forget();
    for _ in 0..3 {
        dialogue
            .server("229 (|||6010|)")
            .expect(&["! server announced port 6010, which is refused", "S< EPSV"]);
    }
    dialogue.server("229 (|||6010|)").expect(&[
        "! server announced port 6010, which is refused",
        "C< 504 Data connections to port 6010 are not allowed.",
    ]);
    dialogue.client("EPSV").forget();
    dialogue
        .server("229 (|||6010|)")
        .forget()
        .server("229 (|||6100|)")
        .expect(&[
            "open 10.0.0.5 → 192.0.2.20:6100 as 198.51.100.1",
            "C< 229 (|||6100|)",
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
    for verb in ["SPSV", "CPSV", "P@SW"] {
        let mut dialogue = behind_nat();
        dialogue.client(verb).expect(&[
            &format!("! client asked for {verb}, which is not forwarded"),
            &format!("C< 502 {verb} is not available; use PASV, EPSV, PORT or EPRT."),
        ]);
    }
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
    // A second one that the server refuses does not take back the first.
    let mut dialogue = Dialogue::unconverted(BEHIND_NAT).logged_in();
    dialogue.client("EPSV ALL").server("200 ok");
    dialogue.client("EPSV ALL").server("501 again?").forget();
    dialogue.client("PASV").expect(&[
        "! client sent PASV after EPSV ALL",
        "C< 501 PASV is not possible after EPSV ALL.",
    ]);
    // ALL is a word of EPSV alone.
    let mut dialogue = behind_nat();
    dialogue
        .client("LPSV ALL")
        .server("229 (|||51210|)")
        .forget();
    dialogue.client("PASV").expect(&["close 1", "S< PASV"]);
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
