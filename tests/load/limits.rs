//! Each limit that is reached: what the client hears, what is counted, what is on the record.

use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::Duration;

use rusqlite::Connection;

use crate::client::Client;
use crate::ground::{Gate, wait_for};

crate::claims![
    sessions_are_so_many_for_a_client_and_in_all,
    sessions_begin_so_often_for_a_client_and_in_all,
    who_trickles_and_does_not_log_in_is_told_421_and_ended,
    pinholes_are_so_many_for_a_client,
    a_line_without_an_end_is_cut_off,
    the_queue_to_the_record_is_as_long_as_the_file_says,
    admin_connections_are_as_many_as_the_file_says,
    clients_that_nobody_has_time_for_are_reset_and_on_the_record_as_a_number,
];

const ANNA: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);
const BELA: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 2);
const CILI: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 3);

fn sessions_are_so_many_for_a_client_and_in_all() {
    let gate = Gate::start("sessions: 3, sessions-per-client: 2", "", "");
    let first = Client::login(ANNA, gate.ftp());
    let _second = Client::login(ANNA, gate.ftp());
    let told = Client::dial(ANNA, gate.ftp()).rest();
    let own = "421 Service not available: too many sessions of your address, limit 2.\r\n";
    assert_eq!(told, own);
    let _third = Client::login(BELA, gate.ftp());
    let told = Client::dial(CILI, gate.ftp()).rest();
    assert_eq!(
        told,
        "421 Service not available: too many sessions, limit 3.\r\n"
    );
    assert_eq!(gate.refused("too_many_sessions"), 2.0);
    gate.recorded("too_many_sessions");
    assert_eq!(gate.count("portcullis_sessions"), 3.0);
    assert!(!first.rest_after_quit().is_empty());
    wait_for("a place", || {
        let mut next = Client::dial(CILI, gate.ftp());
        next.hear().starts_with("220").then_some(())
    });
}

fn sessions_begin_so_often_for_a_client_and_in_all() {
    let gate = Gate::start("session-rate: 3/h, session-rate-per-client: 2/day", "", "");
    for _ in 0..2 {
        Client::login(ANNA, gate.ftp()).rest_after_quit();
    }
    let told = "421 Service not available: too many sessions begin from your address, limit 2 per day; try again later.\r\n";
    for _ in 0..5 {
        assert_eq!(Client::dial(ANNA, gate.ftp()).rest(), told);
    }
    Client::login(BELA, gate.ftp()).rest_after_quit();
    let told = "421 Service not available: too many sessions begin, limit 3 per hour; try again later.\r\n";
    assert_eq!(Client::dial(CILI, gate.ftp()).rest(), told);
    assert_eq!(gate.refused("session_rate"), 6.0);
    gate.recorded("session_rate");
}

fn who_trickles_and_does_not_log_in_is_told_421_and_ended() {
    let gate = Gate::start("login-timeout: 2s, idle-timeout: 1h", "", "");
    let mut honest = Client::login(BELA, gate.ftp());
    let mut slow = Client::dial(ANNA, gate.ftp());
    slow.expect("220");
    for _ in 0..5 {
        slow.send(b"U");
        thread::sleep(Duration::from_millis(200));
    }
    let told = "421 Nobody has logged in for too long, closing.\r\n";
    assert_eq!(slow.rest(), told);
    gate.recorded("login_timeout");
    assert_eq!(gate.refused("login_timeout"), 1.0);
    let ended = "portcullis_sessions_ended_total{reason=\"login_timeout\"}";
    assert_eq!(gate.count(ended), 1.0);
    thread::sleep(Duration::from_secs(2));
    honest.ask("NOOP", "200");
}

fn pinholes_are_so_many_for_a_client() {
    let gate = Gate::start("pinholes-per-client: 1", "", "");
    let [mut first, mut second] = [(); 2].map(|()| Client::login(ANNA, gate.ftp()));
    first.ask("EPSV", "229");
    let told = second.ask("EPSV", "425");
    assert!(told.contains("of your address, limit 1"), "{told}");
    Client::login(BELA, gate.ftp()).fetch();
    assert_eq!(gate.refused("pinhole"), 1.0);
}

fn a_line_without_an_end_is_cut_off() {
    let gate = Gate::start("", "", "");
    let mut client = Client::login(ANNA, gate.ftp());
    client.send(format!("RETR {}", "x".repeat(4200)).as_bytes());
    let told = client.rest();
    assert!(told.starts_with("500"), "{told}");
    assert_eq!(gate.refused("overlong_line"), 1.0);
}

fn the_queue_to_the_record_is_as_long_as_the_file_says() {
    let gate = Gate::start("", ", queue: 16", "");
    assert_eq!(gate.count("portcullis_record_queue_limit"), 16.0);
    let clients: Vec<_> = (0..8).map(|_| Client::login(ANNA, gate.ftp())).collect();
    for mut client in clients {
        client.fetch();
    }
    assert_eq!(gate.count("portcullis_record_failing"), 0.0);
}

fn admin_connections_are_as_many_as_the_file_says() {
    let gate = Gate::start("", "", ", connections: 2");
    let mut first = TcpStream::connect(gate.page()).unwrap();
    // Shorter than a connection may be silent: it is closed for another, or not in this time.
    let patience = Some(Duration::from_secs(9));
    first.set_read_timeout(patience).unwrap();
    let _second = TcpStream::connect(gate.page()).unwrap();
    // This asks by a third connection: the one that was idle longest makes room.
    assert!(gate.count("portcullis_admin_connections{side=\"page\"}") > 0.0);
    let closed = match first.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    };
    assert!(closed, "it was not closed");
}

/// While the store is locked, whoever is refused waits for the record; so many may wait.
fn clients_that_nobody_has_time_for_are_reset_and_on_the_record_as_a_number() {
    const TOLD_AT_A_TIME: usize = 256;
    let gate = Gate::start(
        "session-rate-per-client: 1/day",
        ", store: FOLDER/audit.db, queue: 16",
        "",
    );
    let honest = Client::login(BELA, gate.ftp());
    Client::login(ANNA, gate.ftp()).rest_after_quit();
    let lock = Connection::open(gate.folder().join("audit.db")).unwrap();
    lock.execute_batch("BEGIN EXCLUSIVE").unwrap();

    let clients: Vec<_> = (0..TOLD_AT_A_TIME + 100)
        .map(|_| {
            thread::spawn({
                let to = gate.ftp();
                move || Client::dial(ANNA, to).rest()
            })
        })
        .collect();
    wait_for("resets", || {
        (gate.refused("unanswered") >= 20.0).then_some(())
    });
    lock.execute_batch("ROLLBACK").unwrap();

    let said: Vec<String> = clients
        .into_iter()
        .map(|client| client.join().unwrap())
        .collect();
    let unheard = said.iter().filter(|said| said.is_empty()).count() as f64;
    let told = said.iter().filter(|said| said.starts_with("421")).count() as f64;
    assert_eq!(unheard + told, said.len() as f64, "{said:?}");
    assert_eq!(gate.refused("unanswered"), unheard);
    assert_eq!(gate.refused("session_rate"), told);
    let count = |line: &str| -> f64 {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line["portcullis"]["count"].as_f64().unwrap()
    };
    wait_for("all of them on the record", || {
        let record = gate.record();
        let whole = record.rfind('\n').map_or("", |end| &record[..end]);
        let sums = whole
            .lines()
            .filter(|line| line.contains("\"clients-unheard\""));
        (sums.map(count).sum::<f64>() == unheard).then_some(())
    });
    assert!(!honest.rest_after_quit().is_empty());
}
