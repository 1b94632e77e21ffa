//! Slow-loris: thousands of connections that send a byte now and then, and honest clients between them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, getrlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::ground::{Gate, PATIENCE};
use crate::server::content;

crate::claims![ten_thousand_connections_that_trickle_do_not_disturb_honest_clients];

/// Connections that trickle; fewer only where the system does not let a process open two files for each.
const MANY: u64 = 10_000;
/// Asks for another number, to be measured.
const SESSIONS: &str = "PORTCULLIS_LOAD_SESSIONS";
/// Files of the gate and of the test beside those.
const OTHER_FILES: u64 = 400;
/// Connections of one address.
const EACH: u64 = 20;
/// Bytes of memory that the gate may take for each, built without optimisation.
const MAX_BYTES_EACH: u64 = 40 * 1024;
/// How often each sends its byte.
const PAUSE: Duration = Duration::from_secs(2);
/// Files that each honest client fetches.
const FETCHES: usize = 25;

fn ten_thousand_connections_that_trickle_do_not_disturb_honest_clients() {
    let files = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let many = std::env::var(SESSIONS).map_or(MANY, |text| text.parse().unwrap());
    let many = many.min(files.saturating_sub(OTHER_FILES) / 2);
    assert!(
        many >= 1000,
        "the limit on open files, {files}, is too low: raise `ulimit -Hn`"
    );
    let gate = Gate::start(
        "sessions: 10100, session-rate: 1000000/s, login-timeout: 1h, idle-timeout: 1h",
        "",
        "",
    );
    let address = gate.ftp();
    assert!(Client::login(Ipv4Addr::new(127, 79, 0, 1), address).fetch() == content());
    let before = gate.resident();

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let began = Instant::now();
    let held = runtime.block_on(dial_all(many, address));
    let (took, after) = (began.elapsed(), gate.resident());
    let stop = Arc::new(AtomicBool::new(false));
    let trickling = runtime.spawn(trickle(held, Arc::clone(&stop)));

    let began = Instant::now();
    thread::scope(|scope| {
        for last in 1..=4 {
            scope.spawn(move || {
                let mut honest = Client::login(Ipv4Addr::new(127, 79, 0, last), address);
                for _ in 0..FETCHES {
                    assert!(honest.fetch() == content(), "a file came in pieces");
                }
            });
        }
    });
    let fetched = began.elapsed();
    // Every one has sent a byte more than once.
    thread::sleep(2 * PAUSE);
    assert!(gate.count("portcullis_sessions") >= many as f64);
    stop.store(true, Ordering::Relaxed);
    let (held, rounds) = runtime.block_on(trickling).unwrap();
    let open = held.iter().filter(|stream| is_open(stream)).count();
    let each = after.saturating_sub(before) / many;
    eprintln!(
        "{many} connections held after {took:.1?}, {rounds} bytes each; {} files of 200 kB in {fetched:.1?} meanwhile; \
         RSS {} KiB before, {} KiB with them, {} KiB at the end: {each} bytes each",
        4 * FETCHES,
        before / 1024,
        after / 1024,
        gate.resident() / 1024,
    );
    assert_eq!(open as u64, many, "some were not held");
    assert!(each < MAX_BYTES_EACH, "{each} bytes each");
}

/// Connects from many addresses and reads the greeting on each.
async fn dial_all(many: u64, to: SocketAddr) -> Vec<TcpStream> {
    let at_a_time = Arc::new(Semaphore::new(64));
    let mut dials = JoinSet::new();
    for number in 0..many {
        let turn = Arc::clone(&at_a_time).acquire_owned().await.unwrap();
        dials.spawn(async move {
            let dialled = tokio::time::timeout(PATIENCE, dial(number / EACH, to)).await;
            drop(turn);
            dialled.unwrap()
        });
    }
    dials.join_all().await
}

async fn dial(address: u64, to: SocketAddr) -> TcpStream {
    let [high, low] = u16::try_from(address).unwrap().to_be_bytes();
    let socket = TcpSocket::new_v4().unwrap();
    socket
        .bind((Ipv4Addr::new(127, 80, high, low), 0).into())
        .unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let mut greeting = [0; 11];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
    stream
}

/// Sends a byte on each, over and over, until it is to stop; gives how often.
async fn trickle(mut held: Vec<TcpStream>, stop: Arc<AtomicBool>) -> (Vec<TcpStream>, u32) {
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        for stream in &mut held {
            stream.write_all(b"U").await.unwrap();
        }
        rounds += 1;
        tokio::time::sleep(PAUSE).await;
    }
    (held, rounds)
}

fn is_open(stream: &TcpStream) -> bool {
    let read = stream.try_read(&mut [0; 1]);
    read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}
