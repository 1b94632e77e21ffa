//! Other protocols than FTP: what a browser can be made to send (NAT slipstreaming), and TLS.

use std::net::SocketAddrV4;

use crate::active::from_server;
use crate::arena::{Place, Stage};
use crate::attack::{Attack, Finding};
use crate::session::{Wire, six};

pub(crate) const ATTACKS: &[Attack] = &[
    Attack {
        limit: Some("whoever writes whole lines of a client is the client"),
        ..inside(
            "an_injected_port_is_taken_for_the_clients_own",
            "CR LF in a URL that the client takes apart (ftp://…/a%0D%0APORT…), PORT at the start of a segment",
            |stage| injected(stage, "anonymous"),
            &["\"event\":\"pinhole-opened\""],
        )
    },
    inside(
        "an_injected_port_opens_nothing_where_active_mode_is_denied",
        "The same, where a rule denies active mode (`mode: active`)",
        |stage| injected(stage, "passive-only"),
        &["passive-only", "\"PORT\""],
    ),
    inside(
        "an_http_post_opens_nothing",
        "NAT slipstreaming: an HTTP POST whose body is FTP, each line at the start of a segment",
        |stage| {
            slips(
                stage,
                b"POST /upload HTTP/1.1\r\nHost: 198.51.100.20:21\r\nContent-Type: text/plain\r\nContent-Length: 400\r\n\r\n",
            )
        },
        &["spoke HTTP"],
    ),
    inside(
        "an_http_form_opens_nothing",
        "NAT slipstreaming: a multipart form whose field is FTP",
        |stage| {
            slips(
                stage,
                b"POST / HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=b\r\n\r\n--b\r\n\
                  Content-Disposition: form-data; name=\"x\"\r\n\r\n",
            )
        },
        &["spoke HTTP"],
    ),
    inside(
        "a_websocket_opens_nothing",
        "NAT slipstreaming: GET of a WebSocket, then FTP",
        |stage| {
            slips(
                stage,
                b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            )
        },
        &["spoke HTTP"],
    ),
    inside(
        "an_http_method_of_ftp_opens_nothing",
        "NAT slipstreaming: an HTTP request whose method is a verb of FTP (NOOP / HTTP/1.1)",
        |stage| slips(stage, b"NOOP / HTTP/1.1\r\nHost: a\r\n\r\n"),
        &["spoke HTTP"],
    ),
    inside(
        "a_turn_request_opens_nothing",
        "NAT slipstreaming: a TURN request over TCP whose user name is FTP",
        |stage| {
            slips(
                stage,
                b"\x00\x03\x01\x00\x21\x12\xa4\x42ABCDEFGHIJKL\x00\x06\x01\x00\r\n",
            )
        },
        &["spoke another protocol than FTP before USER"],
    ),
    inside(
        "a_tls_hello_opens_nothing",
        "NAT slipstreaming: a TLS ClientHello whose session ticket is FTP",
        |stage| {
            slips(
                stage,
                b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x20ticket\r\n",
            )
        },
        &["spoke another protocol than FTP before USER"],
    ),
    inside(
        "port_behind_auth_opens_nothing",
        "PORT pipelined behind AUTH TLS (STARTTLS injection)",
        |stage| {
            let victim = stage.victim(
                stage.client_host(),
                SocketAddrV4::new(stage.client(), stage.port(0)),
            );
            let (mut client, heard) = stage.session(slow_auth);
            client.segments(&[
                "AUTH TLS\r\n".to_owned(),
                format!("PORT {}\r\n", six(victim.at)),
            ]);
            client.settle();
            from_server(stage, &heard, &victim)
        },
        &["sent bytes behind AUTH before TLS began"],
    ),
    inside(
        "port_in_plain_text_behind_234_opens_nothing",
        "PORT in plain text behind 234, where TLS was agreed",
        |stage| {
            let victim = stage.victim(
                stage.client_host(),
                SocketAddrV4::new(stage.client(), stage.port(0)),
            );
            let (mut client, heard) = stage.agreeable();
            client.say("AUTH TLS");
            client.hear("234");
            client.segment(&format!("PORT {}", six(victim.at)));
            client.settle();
            from_server(stage, &heard, &victim)
        },
        &["sent plain text where TLS was agreed"],
    ),
    inside(
        "replies_behind_234_do_not_reach_the_client",
        "A reply in plain text behind 234 (response injection)",
        |stage| {
            let (mut client, _) = stage.session(|line, wire| {
                if line == "AUTH TLS" {
                    wire.segments(&["234 go on\r\n230 injected\r\n"]);
                }
                line == "AUTH TLS"
            });
            client.say("AUTH TLS");
            client.hear("injected");
            match client.all().contains("injected") {
                true => {
                    Finding::PassesOn("the client hears what was not said inside TLS".to_owned())
                }
                false => Finding::Resists("the client does not hear it".to_owned()),
            }
        },
        &["sent plain text where TLS was agreed"],
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

/// A client that can be made to say PORT for its own address, to a server that likes it.
fn injected(stage: Stage, user: &str) -> Finding {
    let victim = stage.victim(
        stage.client_host(),
        SocketAddrV4::new(stage.client(), stage.port(0)),
    );
    let (mut client, heard) = stage.agreeable();
    client.say(&format!("USER {user}"));
    client.hear("331").expect("USER is taken");
    client.say("PASS guest");
    client.hear("230").expect("PASS is taken");
    client.segments(&[
        "CWD a\r\n".to_owned(),
        format!("PORT {}\r\n", six(victim.at)),
    ]);
    client.settle();
    from_server(stage, &heard, &victim)
}

/// A program that does not speak FTP begins like this and then says what it was made to say.
fn slips(stage: Stage, beginning: &'static [u8]) -> Finding {
    let victim = stage.victim(
        stage.client_host(),
        SocketAddrV4::new(stage.client(), stage.port(0)),
    );
    let heard = stage.serve(&["220 ready\r\n"], Box::new(|_, _| false));
    let mut client = stage.dial();
    client.hear("220");
    let port = format!("PORT {}\r\n", six(victim.at));
    client.segments(&[beginning, b"USER a\r\n", b"PASS b\r\n", port.as_bytes()]);
    client.hear("as you wish");
    client.settle();
    from_server(stage, &heard, &victim)
}

/// A server that takes its time for 234.
fn slow_auth(line: &str, wire: &mut Wire) -> bool {
    if line == "AUTH TLS" {
        std::thread::sleep(std::time::Duration::from_millis(300));
        wire.say("234 go on");
    }
    line == "AUTH TLS"
}
