//! A machine that gives no more files: who is there goes on, who comes hears why not, and it passes.

use std::net::Ipv4Addr;
use std::time::Instant;

use crate::client::Client;
use crate::ground::{Gate, wait_for};
use crate::server::content;

crate::claims![without_a_file_for_one_more_clients_hear_421_and_sessions_go_on];

/// More than there are files.
const MANY: usize = 100;

/// One more file than the other: a session takes two, so that in one case the last file is had by a
/// connection that is taken and has no other to its server, and in the other there is none to take it.
const FILES: [u32; 2] = [96, 97];

fn without_a_file_for_one_more_clients_hear_421_and_sessions_go_on() {
    let mut untaken = 0.0;
    for files in FILES {
        let began = Instant::now();
        let gate = Gate::with_files(
            files,
            "session-rate-per-client: 10000/s, session-rate: 10000/s",
        );
        let from = |last| Ipv4Addr::new(127, 78, 0, last);
        let mut honest = Client::login(from(1), gate.ftp());
        assert!(honest.fetch() == content());

        let told = "421 Service not available: no room for one more connection, try again later.";
        let mut held = Vec::new();
        let first = (0..MANY).find_map(|_| {
            let mut client = Client::dial(from(2), gate.ftp());
            let said = client.hear();
            if said.starts_with("220") {
                held.push(client);
                return None;
            }
            Some(said)
        });
        assert_eq!(
            first.as_deref(),
            Some(told),
            "after {} sessions",
            held.len()
        );
        for _ in 0..20 {
            let said = Client::dial(from(3), gate.ftp()).rest();
            assert_eq!(said, format!("{told}\r\n"));
            honest.ask("NOOP", "200");
        }
        for client in held.iter_mut().take(3) {
            client.log_in();
        }

        drop(held);
        // Files come back as sessions end, each in its turn.
        wait_for("room for a session and its data", || {
            let mut client = Client::dial(from(4), gate.ftp());
            if !client.hear().starts_with("220") {
                return None;
            }
            client.log_in();
            (gate.count("portcullis_sessions") < 4.0).then_some(())
        });
        assert!(Client::login(from(5), gate.ftp()).fetch() == content());
        assert!(honest.fetch() == content());

        assert!(gate.refused("no_resources") >= 21.0);
        gate.recorded("no_resources");
        untaken += gate.count("portcullis_accept_failures_total{reason=\"files\"}");
        let lines = gate.log().matches("connections cannot be taken").count();
        let due = 1 + began.elapsed().as_secs() / 10;
        assert!(
            lines as u64 <= due,
            "{lines} lines in {:?}:\n{}",
            began.elapsed(),
            gate.log()
        );
    }
    assert!(untaken > 0.0, "a file was left each time");
}
