//! What is open, and what is not: exactly the announced port, once, and nothing a server talks us into.

use crate::lab::{Gate, Lab, Peer, REFUSAL};

crate::claims![
    refuses_a_connection_that_nobody_announced,
    p33_drops_a_second_connection_to_a_used_pinhole,
    p16_unrequested_227_opens_nothing,
    p14_text_227_inside_a_multi_line_reply_opens_nothing,
    p26_port_to_a_third_host_opens_nothing,
    p34_epsv_data_connection_goes_to_the_control_address,
    published_clients_reach_the_announced_port_only,
];

/// A session of a scripted client with a scripted server behind the ordinary edge.
fn session(lab: &Lab) -> (Gate, Peer, Peer) {
    let control = lab.server.listen("0.0.0.0:21");
    let gate = lab.gate();
    let mut client = Peer::dial(&lab.client, "198.51.100.20:21");
    let mut server = Peer::accept(&control);
    let login = std::thread::spawn(move || {
        server.let_in();
        server
    });
    client.log_in();
    (gate, client, login.join().unwrap())
}

/// Has the client ask EPSV and the server answer with `port`.
fn announce(client: &mut Peer, server: &mut Peer, port: u16) {
    client.say("EPSV");
    server.expect("EPSV");
    server.say(&format!("229 Entering Extended Passive Mode (|||{port}|)"));
    client.expect("229");
}

fn reachable(lab: &Lab, port: u16) -> bool {
    lab.client
        .connect_within(&format!("198.51.100.20:{port}"), REFUSAL)
        .is_ok()
}

fn refuses_a_connection_that_nobody_announced() {
    let lab = Lab::behind_nat();
    let _listeners = [40000, 40001].map(|port| lab.server.listen(&format!("0.0.0.0:{port}")));
    let (_gate, mut client, mut server) = session(&lab);

    assert!(
        !reachable(&lab, 40000),
        "40000 was open before it was announced"
    );
    announce(&mut client, &mut server, 40000);

    assert!(!reachable(&lab, 40001), "40001 was never announced");
    assert!(reachable(&lab, 40000), "40000 was announced");
}

fn p33_drops_a_second_connection_to_a_used_pinhole() {
    let lab = Lab::behind_nat();
    let _listener = lab.server.listen("0.0.0.0:40000");
    let (_gate, mut client, mut server) = session(&lab);

    announce(&mut client, &mut server, 40000);

    let _first = lab.client.connect("198.51.100.20:40000").unwrap();
    assert!(!reachable(&lab, 40000), "a second connection came through");
    lab.open_firewall();
    assert!(
        reachable(&lab, 40000),
        "the listener was there all the time"
    );
}

fn p16_unrequested_227_opens_nothing() {
    opens_nothing(|server| {
        server.say("227 Entering Passive Mode (198,51,100,20,0,22)");
        server.say("227 Entering Passive Mode (198,51,100,20,156,64)");
    });
}

fn p14_text_227_inside_a_multi_line_reply_opens_nothing() {
    opens_nothing(|server| {
        server.expect("NOOP");
        server.send("200-hello\r\n227 Entering Passive Mode (198,51,100,20,0,22)\r\n");
        server.send("227 Entering Passive Mode (198,51,100,20,156,64)\r\n200 welcome\r\n");
    });
}

/// Lets a server do its worst after a client's NOOP; ports 22 and 40000 have listeners and stay closed.
fn opens_nothing(worst: impl FnOnce(&mut Peer)) {
    let lab = Lab::behind_nat();
    let _listeners = [22, 40000].map(|port| lab.server.listen(&format!("0.0.0.0:{port}")));
    let (gate, mut client, mut server) = session(&lab);

    client.say("NOOP");
    worst(&mut server);
    // Whatever the gate answers, once it has it has read what the server said.
    client.hear();

    assert!(!reachable(&lab, 22), "port 22 was opened");
    assert!(!reachable(&lab, 40000), "port 40000 was opened");
    assert_eq!(gate.events("pinhole-opened").len(), 0);
    lab.open_firewall();
    assert!(reachable(&lab, 22), "the listener was there all the time");
}

fn p26_port_to_a_third_host_opens_nothing() {
    let lab = Lab::behind_nat();
    let (gate, mut client, _server) = session(&lab);

    client.ask("PORT 10,60,1,3,200,10", "50");

    assert_eq!(gate.events("pinhole-opened").len(), 0);
    assert_eq!(gate.event("violation")["portcullis"]["user"], "anonymous");
}

fn p34_epsv_data_connection_goes_to_the_control_address() {
    let lab = Lab::behind_nat();
    let listener = lab.server.listen("0.0.0.0:40000");
    let (_gate, mut client, mut server) = session(&lab);

    announce(&mut client, &mut server, 40000);
    let _data = lab.client.connect("198.51.100.20:40000").unwrap();

    let (_, from) = listener.accept().unwrap();
    assert_eq!(
        from.ip(),
        server.other_end().ip(),
        "both connections have one source"
    );
}

fn published_clients_reach_the_announced_port_only() {
    let lab = Lab::published();
    let control = lab.server.listen("0.0.0.0:21");
    let _listeners = [40000, 40001].map(|port| lab.server.listen(&format!("0.0.0.0:{port}")));
    let gate = lab.gate();
    let mut client = Peer::dial(&lab.client, "198.51.100.1:21");
    let mut server = Peer::accept(&control);
    let login = std::thread::spawn(move || {
        server.let_in();
        server
    });
    client.log_in();
    let mut server = login.join().unwrap();

    announce(&mut client, &mut server, 40000);

    let at = |address: &str| lab.client.connect_within(address, REFUSAL).is_ok();
    assert!(!at("10.70.0.2:40001"), "never announced");
    let opened = gate.event("pinhole-opened");
    let announced = opened["portcullis"]["pinhole"]["announced"]
        .as_str()
        .unwrap();
    assert!(at(announced), "{announced} was announced");
}
