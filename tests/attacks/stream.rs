//! The control connection as bytes: cut, joined, overlapping, and read differently by different readers.

use std::net::SocketAddrV4;

use crate::active::from_server;
use crate::arena::{Place, Source, Stage};
use crate::attack::{Attack, Finding};
use crate::raw::{OWN, Raw};
use crate::session::six;

pub(crate) const ATTACKS: &[Attack] = &[
    inside(
        "port_in_a_segment_of_its_own_is_rewritten",
        "No attack: PORT in a segment of its own",
        |stage| passes(stage, |line| vec![line.as_bytes().to_vec()]),
        &["\"event\":\"rewrite\""],
    ),
    inside(
        "without_an_announcement_nothing_is_open",
        "No attack: a session that announces nothing",
        |stage| {
            let victim = stage.victim(
                stage.client_host(),
                SocketAddrV4::new(stage.client(), stage.port(0)),
            );
            let (mut client, heard) = stage.agreeable();
            client.settle();
            from_server(stage, &heard, &victim)
        },
        &["\"event\":\"session-start\""],
    ),
    inside(
        "port_in_two_segments_is_rewritten",
        "PORT cut into two segments",
        |stage| {
            passes(stage, |line| {
                let (one, other) = line.split_at(9);
                vec![one.as_bytes().to_vec(), other.as_bytes().to_vec()]
            })
        },
        &["\"event\":\"rewrite\""],
    ),
    inside(
        "port_in_single_bytes_is_rewritten",
        "PORT in segments of one byte",
        |stage| passes(stage, |line| line.bytes().map(|byte| vec![byte]).collect()),
        &["\"event\":\"rewrite\""],
    ),
    inside(
        "pipelined_port_is_rewritten",
        "NOOP and PORT in one segment",
        |stage| passes(stage, |line| vec![format!("NOOP\r\n{line}").into_bytes()]),
        &["\"event\":\"rewrite\""],
    ),
    inside(
        "the_second_of_two_ports_in_one_segment_is_rewritten",
        "Two PORTs in one segment; the second one counts",
        |stage| {
            passes(stage, |line| {
                vec![format!("PORT 10,60,1,2,200,1\r\n{line}").into_bytes()]
            })
        },
        &["\"event\":\"pinhole-unused\""],
    ),
    inside(
        "port_behind_telnet_is_rewritten",
        "PORT behind Telnet's IAC NOP",
        |stage| passes(stage, |line| vec![[b"\xff\xf1", line.as_bytes()].concat()]),
        &["\"event\":\"rewrite\""],
    ),
    inside(
        "port_with_telnet_in_it_is_rewritten",
        "PORT with IAC NOP between its letters",
        |stage| {
            passes(stage, |line| {
                vec![
                    line.replacen("PORT", "PO\u{0}RT", 1)
                        .into_bytes()
                        .split(|b| *b == 0)
                        .collect::<Vec<_>>()
                        .join(&b"\xff\xf1"[..]),
                ]
            })
        },
        &["\"event\":\"rewrite\""],
    ),
    inside(
        "port_inside_an_argument_opens_nothing",
        "CWD PORT … in one segment",
        |stage| refused(stage, |line| vec![format!("CWD {line}\r\n").into_bytes()]),
        &["PORT 10,60,1,2"],
    ),
    inside(
        "port_at_the_start_of_a_segment_opens_nothing",
        "CWD PORT … with PORT at the start of a segment",
        |stage| {
            refused(stage, |line| {
                vec![b"CWD ".to_vec(), format!("{line}\r\n").into_bytes()]
            })
        },
        &["PORT 10,60,1,2"],
    ),
    inside(
        "port_behind_lf_in_an_argument_opens_nothing",
        "CWD a LF PORT … to a server that refuses both",
        |stage| {
            refused(stage, |line| {
                vec![b"CWD a\n".to_vec(), format!("{line}\r\n").into_bytes()]
            })
        },
        &["\"completion_code\":[\"550\"]"],
    ),
    inside(
        "port_behind_cr_in_an_argument_opens_nothing",
        "CWD a CR PORT …, PORT at the start of a segment",
        |stage| {
            refused(stage, |line| {
                vec![b"CWD a\r".to_vec(), format!("{line}\r\n").into_bytes()]
            })
        },
        &["sent CR inside a line"],
    ),
    inside(
        "a_retransmission_with_other_bytes_opens_nothing",
        "A TCP retransmission that says PORT where the first transmission said STAT",
        retransmission,
        &[],
    ),
    inside(
        "overlapping_segments_open_what_the_server_hears",
        "Two versions of a segment out of order: the second half first, then the whole with another port",
        overlap,
        &[],
    ),
    inside(
        "a_segment_with_a_bad_checksum_opens_nothing",
        "PORT in a segment with a wrong TCP checksum, which no server takes",
        |stage| {
            let victim = stage.victim(stage.client_host(), SocketAddrV4::new(OWN, stage.port(0)));
            let (heard, mut client) = raw(stage);
            client.place(client.next, &format!("PORT {}\r\n", six(victim.at)), false);
            client.say("NOOP\r\n");
            client.hear("in step");
            from_server(stage, &heard, &victim)
        },
        &[],
    ),
    inside(
        "denied_commands_do_not_hide_behind_line_ends",
        "DELE, which the rules deny, behind CR, LF CR, CR NUL, NUL, VT or Telnet",
        hidden,
        &[
            "sent CR inside a line",
            "sent NUL inside a line",
            "sent a line without a verb",
        ],
    ),
];

const fn inside(
    name: &'static str,
    what: &'static str,
    act: fn(Stage) -> Finding,
    recorded: &'static [&'static str],
) -> Attack {
    Attack::new(Place::Inside, name, what, act, recorded)
}

/// The client says PORT in these segments to a server that agrees: the server must be told an address that it
/// reaches, and not the one behind NAT.
fn passes(stage: Stage, cut: fn(&str) -> Vec<Vec<u8>>) -> Finding {
    let victim = stage.victim(
        stage.client_host(),
        SocketAddrV4::new(stage.client(), stage.port(0)),
    );
    let (mut client, heard) = stage.agreeable();
    client.segments(&cut(&format!("PORT {}\r\n", six(victim.at))));
    let alive = client.settle();
    let server = Source(stage.server_host(), stage.server());
    match heard.announced() {
        None if alive => Finding::Breaks("PORT does not reach the server".to_owned()),
        None => Finding::Breaks("the session hangs".to_owned()),
        Some(at) if at == victim.at => match stage.reached(server, &[at], &victim) {
            None => Finding::Breaks(
                "the server is told the address behind NAT, and cannot reach it".to_owned(),
            ),
            Some(_) => Finding::Falls(
                "the server is told the address behind NAT, and reaches it".to_owned(),
            ),
        },
        Some(at) => match stage.reached(server, &[at], &victim) {
            Some(_) if alive => Finding::Resists("rewritten; the server gets through".to_owned()),
            Some(_) => Finding::Breaks("the session hangs behind it".to_owned()),
            None => Finding::Breaks(format!(
                "rewritten, and the server does not get through to {at}"
            )),
        },
    }
}

/// The client says something with PORT in it to a server that refuses it, whatever it is: nothing must open.
fn refused(stage: Stage, cut: fn(&str) -> Vec<Vec<u8>>) -> Finding {
    let victim = stage.victim(
        stage.client_host(),
        SocketAddrV4::new(stage.client(), stage.port(0)),
    );
    let (mut client, heard) = stage.session(|line, wire| {
        let login = ["USER", "PASS", "PWD", "NOOP"]
            .iter()
            .any(|verb| line.starts_with(verb));
        if !login {
            wire.say("550 no");
        }
        !login
    });
    client.segments(&cut(&format!("PORT {}", six(victim.at))));
    client.settle();
    from_server(stage, &heard, &victim)
}

/// A raw client that has logged in with a server that agrees to everything.
fn raw(stage: Stage) -> (crate::session::Heard, Raw) {
    let heard = stage.serve(&["220 ready\r\n"], Box::new(|_, _| false));
    let client = Raw::log_in(stage);
    (heard, client)
}

/// The server's kernel drops the second version; whoever reads packets may take it.
fn retransmission(stage: Stage) -> Finding {
    let victim = stage.victim(stage.client_host(), SocketAddrV4::new(OWN, stage.port(0)));
    let (heard, mut client) = raw(stage);
    let start = client.next;
    client.say(&format!("STAT {}\r\n", six(victim.at)));
    assert!(client.hear("as you wish"), "STAT is answered");
    client.place(start, &format!("PORT {}\r\n", six(victim.at)), true);
    client.say("NOOP\r\n");
    client.hear("in step");
    from_server(stage, &heard, &victim)
}

/// One of two ports is announced, by which version counts; the other one is the victim.
fn overlap(stage: Stage) -> Finding {
    let [one, other] = [0, 1].map(|index| SocketAddrV4::new(OWN, stage.port(index)));
    let (heard, mut client) = raw(stage);
    let start = client.next;
    let [first, second] = [one, other].map(|at| format!("PORT {}\r\n", six(at)));
    assert_eq!(first.len(), second.len(), "the versions have one length");
    let cut = 12;
    let tail = u32::try_from(cut).expect("it is short");
    client.place(start + tail, &first[cut..], true);
    std::thread::sleep(std::time::Duration::from_millis(100));
    client.place(start, &second, true);
    client.next = start + u32::try_from(first.len()).expect("it is short");
    std::thread::sleep(std::time::Duration::from_millis(300));
    client.say("NOOP\r\n");
    client.hear("in step");
    let server = Source(stage.server_host(), stage.server());
    let victims = [one, other].map(|at| stage.victim(stage.client_host(), at));
    // A gate that reads the stream has decided for one version and tells the server that; a reader of packets
    // may open one and let the other pass.
    let Some(told) = heard.announced() else {
        return Finding::Resists("PORT does not reach the server".to_owned());
    };
    let mut doors = crate::active::doors(&heard, one);
    doors.extend(crate::active::doors(&heard, other));
    doors.sort();
    doors.dedup();
    std::thread::scope(|scope| {
        for to in doors {
            scope.spawn(move || server.dials(to));
        }
    });
    let reached: Vec<_> = victims
        .iter()
        .filter(|victim| victim.arrived())
        .map(|victim| victim.at)
        .collect();
    let direct = told == one || told == other;
    match reached.as_slice() {
        [] => Finding::Breaks(format!("the server is told {told} and nothing is open")),
        [_] if direct => Finding::Falls(format!(
            "the server is told {told}, the address behind NAT; open is {reached:?}"
        )),
        [only] => Finding::Resists(format!(
            "one version counts: the server is told {told}, which leads to {only}"
        )),
        _ => Finding::Falls("both versions are open".to_owned()),
    }
}

/// The server must hear DELE in no way of reading lines.
fn hidden(stage: Stage) -> Finding {
    if stage.is_helper() {
        return Finding::NotApplicable("denies no command");
    }
    let (mut client, heard) = stage.agreeable();
    for line in [
        b"NOOP\rDELE x\r\n".as_slice(),
        b"STAT a\rDELE x\r\n",
        b"STAT a\n\rDELE x\r\n",
        b"STAT a\0DELE x\r\n",
        b"STAT a\0\nDELE x\r\n",
        b"STAT a\r\0\nDELE x\r\n",
        b"STAT a\r\r\nDELE x\r\n",
        b"\0DELE x\r\n",
        b"\x0bDELE x\r\n",
        b" DELE x\r\n",
        b"\tDELE\tx\r\n",
        b"DELE\tx\r\n",
        b"DE\xff\xf1LE x\r\n",
        b"\xff\xfaDELE\xff\xf0DELE x\r\n",
        b"\xff\xffDELE x\r\n",
        b"dElE x\r\n",
        b"SITE EXEC x\r\n",
        b"SITE  exec\tx\r\n",
        b"SITE \"EXEC\" x\r\n",
    ] {
        client.segments(&[line]);
    }
    let alive = client.settle();
    let text = heard.text().to_ascii_uppercase();
    let denied = |line: &str| {
        let line: String = line
            .chars()
            .filter(|c| c.is_ascii_graphic() || *c == ' ')
            .collect();
        line.trim().starts_with("DELE") || line.replace(' ', "").starts_with("SITEEXEC")
    };
    match text.split(['\r', '\n', '\0']).find(|line| denied(line)) {
        Some(line) => Finding::Falls(format!("the server hears {line:?}")),
        None if alive => Finding::Resists(
            "the server hears none of them; the session goes on in step".to_owned(),
        ),
        None => Finding::Falls("the session hangs".to_owned()),
    }
}
