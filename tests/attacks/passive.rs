//! 227 and 229 inside out: what a server outside announces, asked or not, to a client behind the edge.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::arena::{Place, Source, Stage, Victim};
use crate::attack::{Attack, Finding};
use crate::session::{Wire, six};

pub(crate) const ATTACKS: &[Attack] = &[
    inside(
        "an_unasked_227_opens_nothing",
        "227 that nobody asked for, naming port 22",
        |stage| {
            says(stage, 22, "STAT", |wire, at| {
                wire.segment(&format!("227 Passive ({})", six(at)))
            })
        },
        &["sent 227 without a passive command outstanding"],
    ),
    inside(
        "an_unasked_229_opens_nothing",
        "229 that nobody asked for",
        |stage| {
            says(stage, stage.port(0), "STAT", |wire, at| {
                wire.segment(&format!("229 (|||{}|)", at.port()))
            })
        },
        &["sent 229 without a passive command outstanding"],
    ),
    inside(
        "a_227_in_the_greeting_opens_nothing",
        "227 in a greeting of many lines",
        in_the_greeting,
        &[],
    ),
    inside(
        "a_227_inside_a_reply_of_many_lines_opens_nothing",
        "227 as a line inside 211-… (a listing, a message of the day)",
        |stage| {
            says(stage, stage.port(0), "STAT", |wire, at| {
                wire.segment("211-Status");
                wire.segment(&format!("227 Passive ({})", six(at)));
                wire.segment("211 End");
            })
        },
        &[],
    ),
    inside(
        "a_227_inside_an_error_opens_nothing",
        "227 as a line inside 550-… (an echo of a file name)",
        |stage| {
            says(stage, stage.port(0), "DELE x", |wire, at| {
                wire.segment("550-No such file:");
                wire.segment(&format!("227 Passive ({})", six(at)));
                wire.segment("550 End");
            })
        },
        &[],
    ),
    inside(
        "a_227_behind_a_refusal_of_pasv_opens_nothing",
        "PASV answered 530, then 227 after all",
        |stage| {
            says(stage, stage.port(0), "PASV", |wire, at| {
                wire.segment("530 No PASV");
                wire.segment(&format!("227 Passive ({})", six(at)));
            })
        },
        &["sent 227 without a passive command outstanding"],
    ),
    inside(
        "a_229_in_answer_to_pasv_opens_nothing",
        "229 in answer to PASV",
        |stage| {
            says(stage, stage.port(0), "PASV", |wire, at| {
                wire.segment(&format!("229 (|||{}|)", at.port()))
            })
        },
        &["sent 229 without a passive command outstanding"],
    ),
    inside(
        "a_227_with_a_low_port_opens_nothing",
        "227 in answer to PASV, naming port 25",
        |stage| {
            says(stage, 25, "PASV", |wire, at| {
                wire.segment(&format!("227 Passive ({})", six(at)))
            })
        },
        &["announced port 25, which is refused"],
    ),
    inside(
        "a_229_beyond_16_bits_is_not_folded",
        "229 in answer to EPSV with a port over 65535, which folds to one that listens",
        |stage| {
            says(stage, stage.port(0), "EPSV", |wire, at| {
                wire.segment(&format!("229 (|||{}|)", 65_536 + u32::from(at.port())));
            })
        },
        &["announced an endpoint that cannot be read"],
    ),
    inside(
        "a_229_that_folds_to_a_low_port_opens_nothing",
        "229 in answer to EPSV with 65562 for port 26",
        |stage| says(stage, 26, "EPSV", |wire, _| wire.segment("229 (|||65562|)")),
        &["announced an endpoint that cannot be read"],
    ),
    inside(
        "a_229_with_port_0_opens_nothing",
        "229 (|||0|)",
        |stage| {
            says(stage, stage.port(0), "EPSV", |wire, _| {
                wire.segment("229 (|||0|)")
            })
        },
        &["announced port 0, which is refused"],
    ),
    inside(
        "a_227_beyond_64_bits_is_not_folded",
        "227 with an octet of 64 bits and more",
        |stage| {
            says(stage, stage.port(0), "PASV", |wire, at| {
                let [high, low] = at.port().to_be_bytes();
                let [a, b, c, d] = at.ip().octets();
                let low = (1_u128 << 64) + u128::from(low);
                wire.segment(&format!("227 Passive ({a},{b},{c},{d},{high},{low})"));
            })
        },
        &["announced an endpoint that cannot be read"],
    ),
    inside(
        "a_227_with_an_octet_over_255_is_not_folded",
        "227 with an octet over 255 for the port, which folds to one that listens",
        |stage| {
            says(stage, 0x9f40, "PASV", |wire, at| {
                let [a, b, c, d] = at.ip().octets();
                wire.segment(&format!(
                    "227 Passive ({a},{b},{c},{d},158,{})",
                    0x100 + 0x40
                ));
            })
        },
        &["announced an endpoint that cannot be read"],
    ),
    inside(
        "a_229_with_unequal_delimiters_opens_nothing",
        "229 (|!|port|)",
        |stage| {
            says(stage, stage.port(0), "EPSV", |wire, at| {
                wire.segment(&format!("229 (|!|{}|)", at.port()))
            })
        },
        &["announced an endpoint that cannot be read"],
    ),
    inside(
        "a_229_with_two_ports_opens_nothing",
        "229 whose port is followed by another",
        |stage| {
            says(stage, stage.port(0), "EPSV", |wire, at| {
                wire.segment(&format!("229 (|||{}!22|)", at.port()));
            })
        },
        &["announced an endpoint that cannot be read"],
    ),
    inside(
        "a_227_for_a_third_host_opens_nothing_there",
        "227 in answer to PASV that names a third host (FXP)",
        third_host,
        &["\"event\":\"rewrite\""],
    ),
    inside(
        "a_client_that_sends_227_opens_nothing",
        "227 said by the client",
        |stage| {
            let victim = stage.victim(
                stage.server_host(),
                SocketAddrV4::new(stage.server(), stage.port(0)),
            );
            let (mut client, _) = stage.agreeable();
            client.segment(&format!("227 Passive ({})", six(victim.at)));
            client.settle();
            from_client(stage, &victim)
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

/// Has the client ask `question` and the server answer it; its port must stay closed to the client.
fn says(
    stage: Stage,
    port: u16,
    question: &'static str,
    answer: fn(&mut Wire, SocketAddrV4),
) -> Finding {
    let victim = stage.victim(stage.server_host(), SocketAddrV4::new(stage.server(), port));
    let at = victim.at;
    let (mut client, _) = stage.session(move |line, wire| {
        let asked = line == question;
        if asked {
            answer(wire, at);
        }
        asked
    });
    client.segment(question);
    client.settle();
    from_client(stage, &victim)
}

/// Has the client try the victim on the server.
pub(crate) fn from_client(stage: Stage, victim: &Victim) -> Finding {
    let dialled = SocketAddrV4::new(stage.dialled(), victim.at.port());
    stage.judge(
        Source(stage.client_host(), stage.client()),
        &[victim.at, dialled],
        victim,
    )
}

/// The greeting is one reply of three lines, each in a segment.
fn in_the_greeting(stage: Stage) -> Finding {
    let victim = stage.victim(
        stage.server_host(),
        SocketAddrV4::new(stage.server(), stage.port(0)),
    );
    let lines = [
        "220-hello\r\n".to_owned(),
        format!("227 Passive ({})\r\n", six(victim.at)),
        "220 ready\r\n".to_owned(),
    ];
    // One greeting of each run of the program: nothing is lost that would be used again.
    let lines: &'static [&'static str] = lines.map(|line| &*line.leak()).to_vec().leak();
    stage.serve(lines, Box::new(|_, _| false));
    let mut client = stage.dial();
    client.hear("220 ready");
    from_client(stage, &victim)
}

/// The server names a host of the stranger's network; what opens must not be there.
fn third_host(stage: Stage) -> Finding {
    let stranger = Ipv4Addr::new(198, 51, 100, 200);
    let victim = stage.victim(
        stage.server_host(),
        SocketAddrV4::new(stranger, stage.port(0)),
    );
    let at = victim.at;
    let (mut client, _) = stage.session(move |line, wire| {
        if line == "PASV" {
            wire.segment(&format!("227 Passive ({})", six(at)));
        }
        line == "PASV"
    });
    client.segment("PASV");
    client.settle();
    let heard = client.all();
    let mut finding = stage.judge(Source(stage.client_host(), stage.client()), &[at], &victim);
    if let Finding::Resists(how) = &mut finding
        && heard.contains(&six(at))
    {
        how.push_str("; the client is told the third host");
    }
    finding
}
