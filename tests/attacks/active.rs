//! PORT and EPRT: what a client, or somebody who speaks through one, announces.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::arena::{Place, Source, Stage};
use crate::attack::{Attack, Finding};
use crate::session::{Heard, six};

pub(crate) const ATTACKS: &[Attack] = &[
    inside(
        "port_to_a_third_host_opens_nothing",
        "PORT to a neighbour of the client (bounce)",
        |stage| {
            announces(stage, Ipv4Addr::new(10, 60, 1, 3), stage.port(0), |at| {
                format!("PORT {}", six(at))
            })
        },
        &["which is not its own address"],
    ),
    inside(
        "port_to_a_low_port_opens_nothing",
        "PORT to port 22 of the client",
        |stage| announces(stage, stage.client(), 22, |at| format!("PORT {}", six(at))),
        &["announced port 22, which is refused"],
    ),
    inside(
        "eprt_to_a_low_port_opens_nothing",
        "EPRT to port 23 of the client",
        |stage| {
            announces(stage, stage.client(), 23, |at| {
                format!("EPRT |1|{}|{}|", at.ip(), at.port())
            })
        },
        &["announced port 23, which is refused"],
    ),
    inside(
        "port_0_opens_nothing",
        "PORT to port 0",
        |stage| {
            expects_nothing(stage, |stage| {
                format!("PORT {}", six(SocketAddrV4::new(stage.client(), 0)))
            })
        },
        &["announced port 0, which is refused"],
    ),
    inside(
        "octets_over_255_are_not_folded",
        "PORT 10,60,1,258,…: an octet over 255 that folds to the client's",
        |stage| {
            announces(stage, stage.client(), stage.port(0), |at| {
                six(at).replacen("10,60,1,2,", "PORT 10,60,1,258,", 1)
            })
        },
        &["announced an endpoint that cannot be read"],
    ),
    inside(
        "numbers_beyond_32_bits_are_not_folded",
        "PORT with 4294967298 for the octet 2",
        |stage| {
            announces(stage, stage.client(), stage.port(0), |at| {
                six(at).replacen("10,60,1,2,", "PORT 10,60,1,4294967298,", 1)
            })
        },
        &["announced an endpoint that cannot be read"],
    ),
    inside(
        "a_port_beyond_64_bits_is_not_folded",
        "EPRT with a port of 64 bits and more",
        |stage| {
            announces(stage, stage.client(), stage.port(0), |at| {
                format!(
                    "EPRT |1|{}|{}|",
                    at.ip(),
                    (1_u128 << 64) + u128::from(at.port())
                )
            })
        },
        &["announced an endpoint that cannot be read"],
    ),
    inside(
        "eprt_with_a_giant_address_opens_nothing",
        "EPRT with an octet of 300 digits that folds to 10",
        |stage| {
            announces(stage, stage.client(), stage.port(0), |at| {
                format!("EPRT |1|1{}10.60.1.2|{}|", "0".repeat(297), at.port())
            })
        },
        &["announced an endpoint that cannot be read"],
    ),
    inside(
        "eprt_with_the_number_of_the_other_family_opens_nothing",
        "EPRT |2| with an IPv4 address",
        |stage| {
            announces(stage, stage.client(), stage.port(0), |at| {
                format!("EPRT |2|{}|{}|", at.ip(), at.port())
            })
        },
        &["announced an address of another family"],
    ),
    inside(
        "a_giant_line_opens_nothing",
        "PORT behind which 3,000 bytes follow",
        |stage| {
            announces(stage, stage.client(), stage.port(0), |at| {
                format!("PORT {}{}", six(at), ",1".repeat(1500))
            })
        },
        &["sent a line of more than 512 bytes"],
    ),
    inside(
        "port_to_loopback_opens_nothing",
        "PORT 127,0,0,1",
        |stage| {
            expects_nothing(stage, |stage| {
                format!(
                    "PORT {}",
                    six(SocketAddrV4::new(Ipv4Addr::LOCALHOST, stage.port(0)))
                )
            })
        },
        &["which is not its own address"],
    ),
    inside(
        "port_after_epsv_all_opens_nothing",
        "PORT after EPSV ALL, which the server refuses with 501",
        |stage| {
            let victim = stage.victim(
                stage.client_host(),
                SocketAddrV4::new(stage.client(), stage.port(0)),
            );
            let (mut client, heard) = stage.session(|line, wire| {
                let port = line.starts_with("PORT ");
                if port {
                    wire.say("501 not after EPSV ALL");
                }
                port
            });
            client.segment("EPSV ALL");
            client.settle();
            client.segment(&format!("PORT {}", six(victim.at)));
            client.settle();
            from_server(stage, &heard, &victim)
        },
        &["sent PORT after EPSV ALL"],
    ),
    inside(
        "port_of_the_server_opens_nothing",
        "PORT said by the server",
        |stage| {
            let victim = stage.victim(
                stage.client_host(),
                SocketAddrV4::new(stage.client(), stage.port(0)),
            );
            let line = format!("PORT {}", six(victim.at));
            let (mut client, heard) = stage.session(move |said, wire| {
                if said == "STAT" {
                    wire.segment(&line);
                }
                said == "STAT"
            });
            client.say("STAT");
            client.settle();
            from_server(stage, &heard, &victim)
        },
        &["sent what only the other side may send"],
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

/// Has the client say a line about a host and a port behind the edge, to a server that likes all it hears.
fn announces(stage: Stage, host: Ipv4Addr, port: u16, line: fn(SocketAddrV4) -> String) -> Finding {
    let victim = stage.victim(stage.client_host(), SocketAddrV4::new(host, port));
    let (mut client, heard) = stage.agreeable();
    client.segment(&line(victim.at));
    client.settle();
    from_server(stage, &heard, &victim)
}

/// Has the server try every address at which the victim could be reached.
pub(crate) fn from_server(stage: Stage, heard: &Heard, victim: &crate::arena::Victim) -> Finding {
    stage.judge(
        Source(stage.server_host(), stage.server()),
        &doors(heard, victim.at),
        victim,
    )
}

/// Where a server may dial to reach `at` behind the edge: itself, the edge, and what it was told.
pub(crate) fn doors(heard: &Heard, at: SocketAddrV4) -> Vec<SocketAddrV4> {
    let edge = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 1), at.port());
    let mut doors = vec![at, edge];
    doors.extend(heard.announced());
    doors.dedup();
    doors
}

/// Nothing can be dialled: it falls where the kernel holds an expectation, or the server was told.
fn expects_nothing(stage: Stage, line: fn(Stage) -> String) -> Finding {
    let (mut client, heard) = stage.agreeable();
    let line = line(stage);
    client.segment(&line);
    client.settle();
    match (stage.expectations().is_empty(), heard.announced()) {
        (false, None) => Finding::Falls(
            "the kernel expects the connection; the server is told nothing".to_owned(),
        ),
        (false, Some(told)) => Finding::Falls(format!(
            "the kernel expects the connection; the server is told {told}"
        )),
        (true, Some(told)) => {
            Finding::PassesOn(format!("opens nothing; the server is told {told}"))
        }
        (true, None) => Finding::Resists("nothing is open, and the server is not told".to_owned()),
    }
}
