//! A client outside against a published server and its neighbours.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::arena::{Place, Source, Stage};
use crate::attack::{Attack, Finding};
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
    Attack {
        alone: true,
        ..published(
            "the_name_of_a_folder_opens_nothing",
            "A folder of vsftpd whose name holds CR NUL 213 … CR NUL 227 …, listed by STAT with PASV behind it",
            named_227,
            &["with the end of a line in its name"],
        )
    },
    Attack {
        alone: true,
        ..published(
            "denied_files_do_not_hide_behind_line_ends",
            "A denied file of vsftpd, its name followed by CR NUL, NUL, Telnet or spaces",
            hidden_file,
            &["no-secrets", "sent NUL inside a line"],
        )
    },
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

/// vsftpd must not hand out the file that the rules deny, however its name is followed.
fn hidden_file(stage: Stage) -> Finding {
    if stage.is_helper() {
        return Finding::NotApplicable("denies no file");
    }
    let server = stage.arena.lab.vsftpd();
    std::fs::write(server.file("secret"), "secret").expect("the directory is ours");
    let mut client = stage.dial();
    client.log_in();
    for name in [
        b"secret".as_slice(),
        b"secret\r\0",
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
        client.segments(&[[b"SIZE ", name, b"\r\n"].concat()]);
        let said = client.line(crate::lab::PATIENCE).unwrap_or_default();
        if !said.starts_with('5') {
            return Finding::Falls(format!(
                "{:?} is answered {said}",
                String::from_utf8_lossy(name)
            ));
        }
    }
    Finding::Resists("the server tells nothing of the file".to_owned())
}

/// vsftpd gives back the name of a folder as lines, one of which says 227. The client
/// reads no further, and so many folders come behind it that the server's own 227 is held up by that.
fn named_227(stage: Stage) -> Finding {
    const FOLDERS: u32 = 20_000;
    let victim = stage.victim(
        stage.server_host(),
        SocketAddrV4::new(stage.server(), stage.port(0)),
    );
    let server = stage.arena.lab.vsftpd();
    for folder in 0..FOLDERS {
        std::fs::create_dir(server.file(&format!("y{folder}"))).expect("the directory is ours");
    }
    let mut client = stage.dial();
    client.narrow();
    client.log_in();
    client.segment(&format!(
        "MKD x\r\0213 End\r\0227 Passive ({})",
        six(victim.at)
    ));
    let made = client.line(crate::lab::PATIENCE).unwrap_or_default();
    client.segments(&["STAT .\r\nPASV\r\n"]);
    let told = client
        .hear("227 ")
        .and_then(|said| portcullis::ftp::parse_227(said.as_bytes()).ok());
    let dialled = SocketAddrV4::new(stage.dialled(), victim.at.port());
    let doors: Vec<_> = [victim.at, dialled].into_iter().chain(told).collect();
    let source = Source(stage.client_host(), stage.client());
    match (
        stage.judge(source, &doors, &victim),
        made.starts_with("257"),
    ) {
        (Finding::Resists(_), true) => {
            Finding::Resists("nothing is reached, though the name is made".to_owned())
        }
        (Finding::Resists(_), false) => Finding::Resists("no such name can be made".to_owned()),
        (fell, _) => fell,
    }
}
