//! What a relay does between each pair of families.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::Shutdown;
use std::thread;
use std::time::{Duration, Instant};

use portcullis::relay::{Order, strays};

use super::{BYTES, PORT, Relayed, assert_reset, assert_turned_away, closed, noise, reset, take};
use crate::lab::{at, eventually, ip};

pub(super) fn carries(relayed: Relayed) {
    let listener = relayed.listen();
    let (announced, events, _expected) = relayed.expect();
    let mut client = relayed.dial(announced).unwrap();
    let (mut server, seen) = take(&listener);
    assert_eq!(seen.ip(), relayed.to.edge_outside);
    let (forth, back) = (noise(1, BYTES), noise(2, BYTES));
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = &client;
            client.write_all(&forth).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
        });
        scope.spawn(|| {
            let mut server = &server;
            server.write_all(&back).unwrap();
            server.shutdown(Shutdown::Write).unwrap();
        });
        let at_server = scope.spawn(|| {
            let mut got = Vec::new();
            (&server).read_to_end(&mut got).unwrap();
            got
        });
        let mut got = Vec::new();
        (&client).read_to_end(&mut got).unwrap();
        assert!(got == back, "what came back differs");
        assert!(
            at_server.join().unwrap() == forth,
            "what went forth differs"
        );
    });
    let bytes = u64::try_from(BYTES).unwrap();
    assert_eq!(closed(&events), (bytes, bytes, false));
    assert!(relayed.dial(announced).is_err(), "passed a second time");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
}

pub(super) fn carries_half_close(relayed: Relayed) {
    let listener = relayed.listen();
    for server_first in [false, true] {
        let (announced, events, _expected) = relayed.expect();
        let client = relayed.dial(announced).unwrap();
        let (server, _) = take(&listener);
        let (mut first, mut second) = if server_first {
            (server, client)
        } else {
            (client, server)
        };
        first.write_all(b"all of it").unwrap();
        first.shutdown(Shutdown::Write).unwrap();
        assert_eq!(io::read_to_string(&mut second).unwrap(), "all of it");
        // The other direction goes on.
        for word in ["and", "then", "more"] {
            second.write_all(word.as_bytes()).unwrap();
            let mut got = vec![0; word.len()];
            first.read_exact(&mut got).unwrap();
            assert_eq!(got, word.as_bytes());
        }
        drop(second);
        assert_eq!(first.read(&mut [0]).unwrap(), 0);
        let (forth, back, _) = closed(&events);
        let expected = if server_first { (11, 9) } else { (9, 11) };
        assert_eq!((forth, back), expected);
    }
}

pub(super) fn carries_resets(relayed: Relayed) {
    let listener = relayed.listen();
    let meet = || {
        let (announced, events, expected) = relayed.expect();
        let client = relayed.dial(announced).unwrap();
        let (server, _) = take(&listener);
        (client, server, events, expected)
    };
    let (client, server, events, _expected) = meet();
    reset(client);
    assert_reset(server);
    assert_eq!(closed(&events), (0, 0, false));

    let (client, server, events, _expected) = meet();
    reset(server);
    assert_reset(client);
    closed(&events);

    // One that has sent its end before, so that nobody reads it any more.
    let (client, mut server, events, _expected) = meet();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.read(&mut [0]).unwrap(), 0);
    reset(client);
    // Behind an end, reads go on saying that it ended; what a write would get is EPIPE.
    eventually("the reset", || {
        let error = server.take_error().unwrap();
        error.is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
    });
    closed(&events);

    // One that does not read, with all buffers full.
    let (client, mut server, events, _expected) = meet();
    server
        .set_write_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    while server.write(&[1; 65_536]).is_ok() {}
    reset(client);
    assert_reset(server);
    closed(&events);
}

pub(super) fn turns_strays_away(relayed: Relayed) {
    let listener = relayed.listen();
    let (announced, events, _expected) = relayed.expect();
    let before = strays();
    let other = at(relayed.from.other_client, 0);
    for _ in 0..40 {
        assert_turned_away(relayed.dial_from(other, announced));
    }
    eventually("the count of strays", || strays() == before + 40);
    assert!(
        events.try_recv().is_err(),
        "a stray was taken for the initiator"
    );
    let client = relayed.dial(announced).unwrap();
    let (mut server, _) = take(&listener);
    server.write_all(b"served").unwrap();
    drop(server);
    assert_eq!(io::read_to_string(&client).unwrap(), "served");
    drop(client);
    assert_eq!(closed(&events), (0, 6, false));
}

pub(super) fn stops_at_limit(relayed: Relayed) {
    let listener = relayed.listen();
    let limit = |order: &mut Order| order.max_bytes = Some(1_000_000);
    let (announced, events, _expected) = relayed.expect_with(limit);
    let client = relayed.dial(announced).unwrap();
    let (mut server, _) = take(&listener);
    (&client).write_all(&[1; 1000]).unwrap();
    server.read_exact(&mut [0; 1000]).unwrap();
    let sending = thread::spawn(move || while server.write_all(&[1; 10_000]).is_ok() {});
    assert_reset(client);
    sending.join().unwrap();
    assert_eq!(closed(&events), (1000, 999_000, true));
}

pub(super) fn tells_refusal(relayed: Relayed) {
    let (announced, events, _expected) = relayed.expect();
    assert_turned_away(relayed.dial(announced));
    assert_eq!(closed(&events), (0, 0, false));

    let silent = if relayed.to.server.is_ipv4() {
        "198.51.100.99"
    } else {
        "2001:db8:1::99"
    };
    let (announced, events, _expected) = relayed.expect_with(|order| {
        order.pinhole.target = at(ip(silent), PORT);
        order.connect_timeout = Duration::from_millis(300);
    });
    let begun = Instant::now();
    assert_turned_away(relayed.dial(announced));
    assert!(
        begun.elapsed() < Duration::from_secs(2),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(closed(&events), (0, 0, false));
}
