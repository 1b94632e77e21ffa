//! A client outside against a published server and its neighbours.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::arena::{Attack, Finding, Place, Source, Stage};
use crate::lab::{Lab, Peer};
use crate::passive::from_client;
use crate::session::six;

/// A host beside the server, which nobody outside may reach.
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(10, 70, 0, 3);

pub(crate) const ATTACKS: &[Attack] = &[
    published(
        "an_echo_of_227_opens_nothing_on_a_published_server",
        "A published server echoes the client's 227 for its port 22 in a reply of many lines (VU#328867)",
        |stage| {
            let victim = stage.victim(stage.server_host(), SocketAddrV4::new(stage.server(), 22));
            let (mut client, _) = stage.session(|line, wire| {
                let Some(said) = line.strip_prefix("STAT ") else {
                    return false;
                };
                wire.segment("213-Status of");
                wire.segment(said);
                wire.segment("213 End");
                true
            });
            client.segment(&format!("STAT 227 Passive ({})", six(victim.at)));
            client.settle();
            from_client(stage, &victim)
        },
        &["227 Passive"],
    ),
    published(
        "a_reflecting_web_server_opens_nothing",
        "A published server that speaks HTTP on port 21 and reflects the client's 227 for its port 22",
        |stage| {
            let victim = stage.victim(stage.server_host(), SocketAddrV4::new(stage.server(), 22));
            stage.serve(
                &[],
                Box::new(|line, wire| {
                    if let Some(path) = line.strip_prefix("GET /") {
                        wire.segment("HTTP/1.1 404 Not Found");
                        wire.segment("");
                        wire.segment(path);
                    }
                    true
                }),
            );
            let mut client = stage.dial();
            client.segment(&format!("GET /227 Passive ({})", six(victim.at)));
            client.hear("227");
            from_client(stage, &victim)
        },
        // Until the server has greeted, nothing of the client is looked at.
        &[],
    ),
    published(
        "a_published_server_is_not_sent_to_its_neighbour",
        "PORT to a neighbour of a published server (bounce)",
        |stage| told(stage, |at| format!("PORT {}", six(at)), NEIGHBOUR),
        &["which is not its own address"],
    ),
    published(
        "a_published_server_is_not_sent_to_its_neighbour_by_eprt",
        "EPRT to a neighbour of a published server",
        |stage| {
            told(
                stage,
                |at| format!("EPRT |1|{}|{}|", at.ip(), at.port()),
                NEIGHBOUR,
            )
        },
        &["which is not its own address"],
    ),
    published(
        "a_published_server_is_not_sent_to_itself",
        "PORT 127,0,0,1 to a published server",
        |stage| told(stage, |at| format!("PORT {}", six(at)), Ipv4Addr::LOCALHOST),
        &["which is not its own address"],
    ),
    published(
        "a_published_server_is_not_sent_to_the_edge",
        "PORT to the edge's own address",
        |stage| {
            told(
                stage,
                |at| format!("PORT {}", six(at)),
                Ipv4Addr::new(198, 51, 100, 1),
            )
        },
        &["which is not its own address"],
    ),
    published(
        "a_published_servers_low_ports_stay_closed",
        "A published server announces its port 25 in answer to PASV",
        |stage| {
            let victim = stage.victim(stage.server_host(), SocketAddrV4::new(stage.server(), 25));
            let at = victim.at;
            let (mut client, _) = stage.session(move |line, wire| {
                if line == "PASV" {
                    wire.segment(&format!("227 Passive ({})", six(at)));
                }
                line == "PASV"
            });
            client.segment("PASV");
            client.settle();
            from_client(stage, &victim)
        },
        &["announced port 25, which is refused"],
    ),
    published(
        "a_published_servers_port_is_for_its_client_alone",
        "Another host dials the port that a published server announced to its client",
        |stage| {
            let victim = stage.victim(
                stage.server_host(),
                SocketAddrV4::new(stage.server(), stage.port(0)),
            );
            let at = victim.at;
            let (mut client, _) = stage.session(move |line, wire| {
                if line == "PASV" {
                    wire.segment(&format!("227 Passive ({})", six(at)));
                }
                line == "PASV"
            });
            client.segment("PASV");
            let said = client.hear("227").expect("PASV is answered");
            let told = portcullis::ftp::parse_227(said.as_bytes()).expect("a 227");
            let stranger = Source(stage.client_host(), Ipv4Addr::new(198, 51, 100, 41));
            stage.judge(stranger, &[at, told], &victim)
        },
        &["\"event\":\"pinhole-opened\""],
    ),
    published(
        "denied_files_do_not_hide_behind_line_ends",
        "A denied file of vsftpd, its name followed by CR NUL, NUL, Telnet or spaces",
        hidden_file,
        &[],
    ),
];

const fn published(
    name: &'static str,
    what: &'static str,
    act: fn(Stage) -> Finding,
    recorded: &'static [&'static str],
) -> Attack {
    Attack::new(Place::Published, name, what, act, recorded)
}

/// The server must not even be told to dial there: no edge stands between it and its neighbours.
fn told(stage: Stage, line: fn(SocketAddrV4) -> String, host: Ipv4Addr) -> Finding {
    let (mut client, heard) = stage.agreeable();
    let at = SocketAddrV4::new(host, stage.port(0));
    client.segment(&line(at));
    client.settle();
    match (heard.announced(), stage.expectations().is_empty()) {
        (_, false) => Finding::Falls(format!("the kernel expects a connection to {at}")),
        (Some(told), true) => {
            Finding::PassesOn(format!("opens nothing; the server is told to dial {told}"))
        }
        (None, true) => Finding::Resists("the server is not told".to_owned()),
    }
}

/// vsftpd must not hand out the file that the rules deny, however its name is followed; in a lab of its own.
fn hidden_file(stage: Stage) -> Finding {
    const POLICY: &str = "rules:
  - { id: no-secrets, deny: 550 Nobody reads this, path: [secret] }
  - { id: all, allow: true }
";
    if stage.is_helper() {
        return Finding::NotApplicable("denies no file");
    }
    let lab = Lab::published();
    let server = lab.vsftpd();
    std::fs::write(server.file("secret"), "secret").expect("the directory is ours");
    let _gate = lab.gate_by(POLICY);
    let mut client = Peer::dial(&lab.client, "198.51.100.1:21");
    client.log_in();
    client.ask("SIZE secret", "550 Nobody reads this");
    for name in [
        b"secret\r\0".as_slice(),
        b"secret\r\0x",
        b"secret\0",
        b"secret\0x",
        b"secret\xff\xf1",
        b"secret\xff\xff",
        b"secret\xff",
        b"\xff\xf1secret",
        b"secret ",
        b" secret",
        b"secret/",
        b"./secret",
        b"//secret",
        b"x/../secret",
        b"secret\r",
        b"secret\x0b",
    ] {
        client.send([b"SIZE ", name, b"\r\n"].concat());
        if client.hear().is_some_and(|reply| reply.starts_with("213")) {
            return Finding::Falls(format!("{:?} is told", String::from_utf8_lossy(name)));
        }
    }
    Finding::Resists("the server tells nothing of the file".to_owned())
}
