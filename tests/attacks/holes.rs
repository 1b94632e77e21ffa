//! The life of a hole: who may use it, how often, and for how long.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::mpsc;

use crate::active::{doors, from_server};
use crate::arena::{Place, Source, Stage, Victim};
use crate::attack::{Attack, Finding};
use crate::passive::from_client;
use crate::session::{Heard, Wire, six};

pub(crate) const ATTACKS: &[Attack] = &[
    inside(
        "a_refused_port_leaves_nothing_open",
        "PORT that the server refuses with 500: the hole half a second later",
        refused_port,
        &["\"completion_code\":[\"500\"]"],
    ),
    inside(
        "nothing_opens_before_the_server_accepts_port",
        "The server dials before it answers PORT",
        before_acceptance,
        &[],
    ),
    inside(
        "nothing_opens_before_the_server_says_227",
        "The client dials the port that it guesses, between PASV and its 227",
        before_227,
        &[],
    ),
    inside(
        "a_neighbour_does_not_take_the_hole",
        "A neighbour of the client dials the port of a 227 (another source)",
        neighbour,
        &["\"event\":\"pinhole-opened\""],
    ),
    inside(
        "a_reset_closes_the_hole",
        "The client resets the control connection behind PORT: the hole half a second later",
        reset,
        &["\"event\":\"pinhole-unused\""],
    ),
    inside(
        "an_orderly_end_closes_the_hole",
        "The client closes the control connection behind PORT: the hole half a second later",
        |stage| {
            let (victim, client, heard) = port(stage, "200 ok");
            client.close();
            gone(stage);
            from_server(stage, &heard, &victim)
        },
        &["\"event\":\"pinhole-unused\""],
    ),
    inside(
        "quit_closes_the_hole",
        "QUIT behind PORT, the control connection stays: the hole half a second later",
        quit,
        &["\"event\":\"pinhole-unused\""],
    ),
    inside(
        "a_refused_transfer_closes_the_hole",
        "PASV, then RETR that the server refuses with 550: the hole half a second later",
        refused_transfer,
        &["\"event\":\"pinhole-unused\""],
    ),
    inside(
        "a_second_port_closes_the_first_hole",
        "A second PORT: the hole of the first",
        |stage| {
            let (victim, mut client, heard) = port(stage, "200 ok");
            let first = doors(&heard, victim.at);
            client.segment(&format!(
                "PORT {}",
                six(SocketAddrV4::new(stage.client(), stage.port(5)))
            ));
            client.settle();
            stage.judge(Source(stage.server_host(), stage.server()), &first, &victim)
        },
        &["\"event\":\"pinhole-unused\""],
    ),
    inside(
        "a_second_connection_is_dropped",
        "A second connection to the port of a 227",
        second_connection,
        &["\"event\":\"pinhole-used\""],
    ),
    inside(
        "a_faster_stranger_does_not_take_the_hole",
        "A third host dials the hole of PORT before the server does",
        faster_stranger,
        &["\"event\":\"pinhole-used\""],
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

/// A client that has said PORT, to which the server has said `answer`.
fn port(stage: Stage, answer: &'static str) -> (Victim, Wire, Heard) {
    let victim = stage.victim(
        stage.client_host(),
        SocketAddrV4::new(stage.client(), stage.port(0)),
    );
    let (mut client, heard) = stage.session(move |line, wire| {
        let asked = line.starts_with("PORT ") || line.starts_with("EPRT ");
        if asked {
            wire.say(answer);
        }
        asked
    });
    client.segment(&format!("PORT {}", six(victim.at)));
    client.settle();
    (victim, client, heard)
}

/// A client that has asked PASV, and where it was told to dial for the victim; RETR is refused.
fn passive(stage: Stage) -> (Victim, Wire, SocketAddrV4) {
    let at = SocketAddrV4::new(stage.server(), stage.port(0));
    let victim = stage.victim(stage.server_host(), at);
    let (mut client, _) = stage.session(move |line, wire| match line {
        "PASV" => {
            wire.segment(&format!("227 Passive ({})", six(at)));
            true
        }
        "RETR nothing" => {
            wire.say("550 no such file");
            true
        }
        _ => false,
    });
    client.segment("PASV");
    let said = client.hear("227").expect("PASV is answered");
    let told = portcullis::ftp::parse_227(said.as_bytes()).expect("it names an address");
    (victim, client, told)
}

pub(crate) fn refused_port(stage: Stage) -> Finding {
    let (victim, _client, heard) = port(stage, "500 no");
    from_server(stage, &heard, &victim)
}

pub(crate) fn neighbour(stage: Stage) -> Finding {
    let (victim, _client, told) = passive(stage);
    let other = Source(stage.client_host(), Ipv4Addr::new(10, 60, 1, 3));
    stage.judge(other, &[victim.at, told], &victim)
}

pub(crate) fn reset(stage: Stage) -> Finding {
    let (victim, client, heard) = port(stage, "200 ok");
    client.reset();
    gone(stage);
    from_server(stage, &heard, &victim)
}

pub(crate) fn quit(stage: Stage) -> Finding {
    let (victim, mut client, heard) = port(stage, "200 ok");
    client.say("QUIT");
    client.hear("221").expect("QUIT is answered");
    stage.grace();
    from_server(stage, &heard, &victim)
}

pub(crate) fn refused_transfer(stage: Stage) -> Finding {
    let (victim, mut client, told) = passive(stage);
    client.say("RETR nothing");
    client.hear("550").expect("RETR is answered");
    stage.grace();
    stage.judge(
        Source(stage.client_host(), stage.client()),
        &[victim.at, told],
        &victim,
    )
}

pub(crate) fn second_connection(stage: Stage) -> Finding {
    let (victim, _client, told) = passive(stage);
    let source = Source(stage.client_host(), stage.client());
    let first = stage.reached(source, &[told], &victim);
    assert!(first.is_some(), "the first one passes");
    stage.judge(source, &[told], &victim)
}

/// Waits until the session is over on portcullis' record; the helper has nothing to wait for.
fn gone(stage: Stage) {
    if stage.is_helper() {
        return stage.grace();
    }
    crate::lab::wait_until("the session to end", || {
        stage
            .record()
            .contains("\"event\":\"session-end\"")
            .then_some(())
    });
}

/// The server says nothing to PORT until it has tried what it heard.
pub(crate) fn before_acceptance(stage: Stage) -> Finding {
    let victim = stage.victim(
        stage.client_host(),
        SocketAddrV4::new(stage.client(), stage.port(0)),
    );
    let (told, tell) = mpsc::channel::<()>();
    let (asked, ask) = mpsc::channel::<()>();
    let (mut client, heard) = stage.session(move |line, wire| {
        let port = line.starts_with("PORT ");
        if port {
            asked.send(()).ok();
            tell.recv().ok();
            wire.say("200 ok");
        }
        port
    });
    client.segment(&format!("PORT {}", six(victim.at)));
    ask.recv_timeout(crate::lab::PATIENCE)
        .expect("PORT reaches the server");
    let finding = from_server(stage, &heard, &victim);
    drop(told);
    finding
}

/// The client dials while the server thinks about PASV.
fn before_227(stage: Stage) -> Finding {
    let victim = stage.victim(
        stage.server_host(),
        SocketAddrV4::new(stage.server(), stage.port(0)),
    );
    let at = victim.at;
    let (told, tell) = mpsc::channel::<()>();
    let (asked, ask) = mpsc::channel::<()>();
    let (mut client, _) = stage.session(move |line, wire| {
        let pasv = line == "PASV";
        if pasv {
            asked.send(()).ok();
            tell.recv().ok();
            wire.segment(&format!("227 Passive ({})", six(at)));
        }
        pasv
    });
    client.segment("PASV");
    ask.recv_timeout(crate::lab::PATIENCE)
        .expect("PASV reaches the server");
    let finding = from_client(stage, &victim);
    drop(told);
    finding
}

/// The stranger must not get through, and the server must after that.
pub(crate) fn faster_stranger(stage: Stage) -> Finding {
    let (victim, _client, heard) = port(stage, "200 ok");
    let doors = doors(&heard, victim.at);
    let stranger = Source(stage.server_host(), Ipv4Addr::new(198, 51, 100, 200));
    if let Some(at) = stage.reached(stranger, &doors, &victim) {
        return Finding::Falls(format!("the stranger reached {} at {at}", victim.at));
    }
    let server = Source(stage.server_host(), stage.server());
    match stage.reached(server, &doors, &victim) {
        Some(_) => Finding::Resists("the stranger is dropped, the server gets through".to_owned()),
        None => Finding::Falls(
            "the stranger used up the hole; the server did not get through".to_owned(),
        ),
    }
}
