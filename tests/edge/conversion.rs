//! Servers that know only the old or only the new commands, and clients that never hear of it.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use crate::lab::{Lab, Peer};

crate::claims![
    a_server_without_epsv_and_eprt_serves_those_who_ask_for_them,
    a_server_without_pasv_and_port_serves_those_who_ask_for_them,
];

const OLD: [&str; 2] = ["PASV", "PORT"];
const NEW: [&str; 2] = ["EPSV", "EPRT"];

fn a_server_without_epsv_and_eprt_serves_those_who_ask_for_them() {
    serves(
        &OLD,
        &["", "--ftp-port -"],
        ["EPSV becomes PASV", "EPRT becomes PORT"],
    );
}

fn a_server_without_pasv_and_port_serves_those_who_ask_for_them() {
    let modes = ["--disable-epsv", "--ftp-port - --disable-eprt"];
    serves(&NEW, &modes, ["PASV becomes EPSV", "PORT becomes EPRT"]);
}

/// Has curl fetch a file once in each mode from a scripted server that knows two of the four commands.
fn serves(known: &'static [&'static str], modes: &[&str], converted: [&str; 2]) {
    let lab = Lab::behind_nat();
    let control = lab.server.listen("0.0.0.0:21");
    let gate = lab.gate();
    for flags in modes {
        let got = std::thread::scope(|scope| {
            let server = scope.spawn(|| serve_one(&lab, &control, known));
            let got = lab.client(&format!(
                "curl -sS -v -m 20 {flags} ftp://198.51.100.20/a-file 2>&1"
            ));
            server.join().unwrap();
            got
        });
        assert!(got.contains("the content"), "{got}");
        assert!(!got.contains("< 500"), "curl heard of it:\n{got}");
    }
    let words: BTreeSet<_> = gate
        .events("conversion")
        .iter()
        .map(|record| {
            let ours = &record["portcullis"];
            format!(
                "{} becomes {}",
                ours["before"].as_str().unwrap(),
                ours["after"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(words, converted.map(str::to_owned).into());
}

/// Serves one session in which one file is fetched.
fn serve_one(lab: &Lab, control: &TcpListener, known: &[&str]) {
    let mut peer = Peer::accept(control);
    let mut passive: Option<TcpListener> = None;
    let mut active: Option<SocketAddr> = None;
    peer.say("220 a script");
    while let Some(line) = peer.hear() {
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let announces = OLD.contains(&verb) || NEW.contains(&verb);
        match verb {
            _ if announces && !known.contains(&verb) => peer.say("500 never heard of it"),
            "USER" => peer.say("331 password"),
            "PASS" => peer.say("230 welcome"),
            "PWD" => peer.say("257 \"/\" is here"),
            "PASV" | "EPSV" => {
                let listener = lab.server.listen("198.51.100.20:0");
                let port = listener.local_addr().unwrap().port();
                passive = Some(listener);
                peer.say(&match verb {
                    "EPSV" => format!("229 Entering Extended Passive Mode (|||{port}|)"),
                    _ => format!(
                        "227 Entering Passive Mode (198,51,100,20,{},{})",
                        port >> 8,
                        port & 255
                    ),
                });
            }
            "PORT" | "EPRT" => {
                active = Some(endpoint(verb, argument));
                peer.say("200 ok");
            }
            "RETR" => {
                peer.say("150 here it comes");
                let mut data = match (&passive, active) {
                    (Some(listener), _) => listener.accept().unwrap().0,
                    (None, Some(to)) => lab.server.within(|| TcpStream::connect(to)).unwrap(),
                    (None, None) => panic!("RETR without a data connection"),
                };
                data.write_all(b"the content").unwrap();
                drop(data);
                peer.say("226 done");
            }
            "QUIT" => peer.say("221 bye"),
            _ => peer.say("200 as you wish"),
        }
    }
}

/// Reads what PORT or EPRT announces.
fn endpoint(verb: &str, argument: &str) -> SocketAddr {
    if verb == "EPRT" {
        let fields: Vec<_> = argument.split('|').collect();
        return SocketAddr::new(fields[2].parse().unwrap(), fields[3].parse().unwrap());
    }
    let numbers: Vec<u8> = argument
        .split(',')
        .map(|number| number.parse().unwrap())
        .collect();
    let address = Ipv4Addr::new(numbers[0], numbers[1], numbers[2], numbers[3]);
    SocketAddr::new(
        IpAddr::V4(address),
        u16::from_be_bytes([numbers[4], numbers[5]]),
    )
}
