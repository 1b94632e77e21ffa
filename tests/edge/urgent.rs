//! Urgent data and replies out of order: ABOR with its Telnet Synch, STAT while a transfer runs.

use crate::lab::{Lab, Peer};

crate::claims![
    p09_abor_with_a_synch_ends_a_transfer_of_vsftpd,
    p09_an_urgent_abor_without_telnet_ends_it_too,
    p09_a_synch_reaches_the_server_as_urgent_data,
    stat_is_answered_while_a_transfer_runs,
];

/// Interrupt process, as ordinary bytes (RFC 854).
const IP: [u8; 2] = [255, 244];
/// Data mark, whose last byte is the urgent one.
const DM: [u8; 2] = [255, 242];

fn abort(client: &mut Peer) {
    client.send(IP);
    client.send_urgent(&DM);
    client.say("ABOR");
}

fn p09_abor_with_a_synch_ends_a_transfer_of_vsftpd() {
    ends_a_transfer(abort);
}

/// As Python's ftplib sends it.
fn p09_an_urgent_abor_without_telnet_ends_it_too() {
    ends_a_transfer(|client| client.send_urgent(b"ABOR\r\n"));
}

fn ends_a_transfer(abort: impl FnOnce(&mut Peer)) {
    let lab = Lab::behind_nat();
    let server = lab.vsftpd();
    std::fs::copy(lab.random_file("large", 50_000_000), server.file("large")).unwrap();
    let gate = lab.gate();
    let mut client = Peer::dial(&lab.client, "198.51.100.20:21");
    client.log_in();
    let reply = client.ask("EPSV", "229");
    let port = reply.split('|').nth(3).unwrap();
    // Nobody reads it, so that the transfer cannot end by itself.
    let data = lab
        .client
        .connect(&format!("198.51.100.20:{port}"))
        .unwrap();
    client.ask("RETR large", "150");

    abort(&mut client);

    client.expect("426");
    client.expect("226");
    drop(data);
    client.ask("NOOP", "200");
    let log = server.log();
    assert!(log.contains("ABOR\""), "the server never saw it:\n{log}");
    assert_eq!(gate.events("violation").len(), 0);
    assert_eq!(gate.event("transfer")["portcullis"]["outcome"], "failed");
}

/// A transfer that a scripted server has begun behind NAT.
fn transferring(test: impl FnOnce(&mut Peer, &mut Peer)) {
    let lab = Lab::behind_nat();
    let control = lab.server.listen("0.0.0.0:21");
    let _listener = lab.server.listen("0.0.0.0:40000");
    let _gate = lab.gate();
    let mut client = Peer::dial(&lab.client, "198.51.100.20:21");
    let mut server = Peer::accept(&control);
    let login = std::thread::spawn(move || {
        server.let_in();
        server
    });
    client.log_in();
    let mut server = login.join().unwrap();
    client.say("EPSV");
    server.expect("EPSV");
    server.say("229 Entering Extended Passive Mode (|||40000|)");
    client.expect("229");
    let _data = lab.client.connect("198.51.100.20:40000").unwrap();
    client.say("RETR a-file");
    server.expect("RETR");
    server.say("150 here it comes");
    client.expect("150");
    test(&mut client, &mut server);
}

fn p09_a_synch_reaches_the_server_as_urgent_data() {
    transferring(|client, server| {
        abort(client);

        assert_eq!(server.take_urgent(), DM[1]);
        // The mark itself is out of the stream; what led to it stands before the command.
        let line = server.expect("");
        assert!(line.ends_with("ABOR"), "'{line}' came where ABOR was due");
        server.send("426 given up\r\n226 as you wish\r\n");
        client.expect("426");
        client.expect("226");
        client.say("NOOP");
        server.expect("NOOP");
    });
}

fn stat_is_answered_while_a_transfer_runs() {
    transferring(|client, server| {
        client.say("STAT");
        server.expect("STAT");
        server.send("213-Status\r\n226 is not here yet\r\n213 End\r\n");
        for line in ["213-Status", "226 is not here yet", "213 End"] {
            client.expect(line);
        }
        server.say("226 done");
        client.expect("226 done");
        client.say("NOOP");
        server.expect("NOOP");
        server.say("200 ok");
        client.expect("200 ok");
    });
}
