//! Control connections taken on their way, and dialled on from the client's own address.

use std::time::Duration;

use libtest_mimic::Trial;
use portcullis::firewall::install;
use portcullis::net::{
    Source, TRANSPARENT_PORTS, canonical, connect, is_local, listen, listen_transparent, reset,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::lab::{Addresses, Lab, PATIENCE, at, ip, settings, v4, v6};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "a_session_is_taken_and_dialled_on_as_the_client_ipv4",
            || dials_as_client(v4()),
        ),
        trial(
            "a_session_is_taken_and_dialled_on_as_the_client_ipv6",
            || dials_as_client(v6()),
        ),
        trial("a_session_is_dialled_on_as_the_edge", dials_as_edge),
        trial(
            "connections_to_the_bound_port_of_others_pass_by",
            leaves_others_alone,
        ),
        trial("a_reset_reaches_the_peer", resets),
        trial(
            "local_addresses_are_known_as_they_come",
            knows_local_addresses,
        ),
    ]
}

fn dials_as_client(net: Addresses) {
    let lab = &Lab::new();
    let server = at(net.server, 21);
    let seen = lab.server.serve(server, b"220 ready\r\n".to_vec());
    lab.edge.run_async(async move || {
        install(&settings(10)).unwrap();
        let listeners = listen_transparent(2121).unwrap();
        assert_eq!(listeners.len(), 2);
        let listener = listeners.into_iter().nth(usize::from(server.is_ipv6()));
        let listener = TcpListener::from_std(listener.unwrap()).unwrap();
        let client = lab
            .client
            .connect(at(net.client, 0), server, PATIENCE)
            .unwrap();
        let (mut taken, peer) = listener.accept().await.unwrap();
        let peer = canonical(peer);
        assert_eq!(peer, client.local_addr().unwrap());
        assert_eq!(taken.local_addr().unwrap(), server);

        let mut upstream = connect(server, Source::Transparent(peer), PATIENCE)
            .await
            .unwrap();
        let seen = seen.recv_timeout(PATIENCE).unwrap();
        assert_eq!(seen.ip(), net.client);
        assert!(TRANSPARENT_PORTS.contains(&seen.port()), "{seen}");
        let mut greeting = String::new();
        upstream.read_to_string(&mut greeting).await.unwrap();
        taken.write_all(greeting.as_bytes()).await.unwrap();
        drop(taken);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(std::io::read_to_string(client).unwrap(), "220 ready\r\n");
    });
}

fn dials_as_edge() {
    let lab = &Lab::new();
    let net = v4();
    let server = at(net.server, 21);
    let seen = lab.server.serve(server, Vec::new());
    lab.edge.run_async(async move || {
        for (source, expected) in [
            (Source::Routed, net.edge_outside),
            (Source::Address(net.edge_inside), net.edge_inside),
        ] {
            connect(server, source, PATIENCE).await.unwrap();
            assert_eq!(seen.recv_timeout(PATIENCE).unwrap().ip(), expected);
        }
        let silent = at(ip("198.51.100.99"), 21);
        let error = connect(silent, Source::Routed, Duration::from_millis(100))
            .await
            .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    });
}

/// The listener on port 2121 of all addresses must not draw in what goes to port 2121 elsewhere.
fn leaves_others_alone() {
    let lab = Lab::new();
    lab.edge.nft("insert rule inet site forward tcp dport 2121 accept\ninsert rule inet site forward tcp sport 2121 accept");
    for net in [v4(), v6()] {
        let address = at(net.client, 2121);
        let seen = lab.client.serve(address, vec![1; 1000]);
        lab.edge.run_async(async || {
            install(&settings(10)).unwrap();
            let _listeners = listen_transparent(2121).unwrap();
            assert_eq!(
                lab.server
                    .dial(at(net.server, 0), address, PATIENCE)
                    .unwrap(),
                1000
            );
        });
        assert_eq!(seen.recv_timeout(PATIENCE).unwrap().ip(), net.server);
    }
}

fn resets() {
    let lab = Lab::new();
    let net = v4();
    lab.edge.run_async(async || {
        let address = at(net.edge_inside, 2100);
        let listener = TcpListener::from_std(listen(address).unwrap()).unwrap();
        let client = lab
            .client
            .connect(at(net.client, 0), address, PATIENCE)
            .unwrap();
        let (taken, _) = listener.accept().await.unwrap();
        reset(taken);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        let error = std::io::read_to_string(client).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    });
}

fn knows_local_addresses() {
    let lab = Lab::new();
    let later = ip("198.51.100.50");
    lab.edge.run_async(async || {
        for net in [v4(), v6()] {
            assert!(is_local(net.edge_inside).unwrap() && is_local(net.edge_outside).unwrap());
            assert!(!is_local(net.client).unwrap() && !is_local(net.server).unwrap());
        }
        assert!(!is_local(ip("203.0.113.9")).unwrap());
        assert!(!is_local(later).unwrap());
        // A published address may come up later, and listening on it need not wait.
        let listener = TcpListener::from_std(listen(at(later, 21)).unwrap()).unwrap();
        lab.edge.sh("ip addr add 198.51.100.50/24 dev wan0");
        assert!(is_local(later).unwrap());
        lab.server
            .connect(at(v4().server, 0), at(later, 21), PATIENCE)
            .unwrap();
        listener.accept().await.unwrap();
    });
}
