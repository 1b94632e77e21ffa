//! A small FTP server and client for transfers that last as long as a test wants.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

/// How long any answer is waited for before the test fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What every file holds.
pub(crate) const CONTENT: &[u8] = b"what every file holds\n";

/// A server that takes any login; `RETR /slow` waits in mid-transfer until it is let go.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    held: Arc<(Mutex<bool>, Condvar)>,
}

impl Server {
    /// Starts it on port 2100, unless it is to be away.
    pub(crate) fn start(ip: Ipv4Addr, there: bool) -> Self {
        let address = SocketAddr::from((ip, 2100));
        let held = Arc::new((Mutex::new(true), Condvar::new()));
        let shared = Arc::clone(&held);
        if !there {
            return Self { address, held };
        }
        let listener = TcpListener::bind(address).unwrap();
        // Ends with the process.
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let held = Arc::clone(&shared);
                thread::spawn(move || drop(serve(stream, ip, &held)));
            }
        });
        Self { address, held }
    }

    /// Lets the transfers of `/slow` end.
    pub(crate) fn let_go(&self) {
        *self.held.0.lock().unwrap() = false;
        self.held.1.notify_all();
    }
}

fn serve(stream: TcpStream, ip: Ipv4Addr, held: &(Mutex<bool>, Condvar)) -> std::io::Result<()> {
    let mut control = stream.try_clone()?;
    let mut data: Option<TcpListener> = None;
    control.write_all(b"220 ready\r\n")?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let (verb, argument) = line.split_once(' ').unwrap_or((&line, ""));
        let reply = match verb.to_ascii_uppercase().as_str() {
            "USER" => "331 password, please".to_owned(),
            "PASS" => "230 welcome".to_owned(),
            "TYPE" | "NOOP" | "DELE" => "200 done".to_owned(),
            "CWD" => "250 there".to_owned(),
            "PASV" => {
                let listener = TcpListener::bind((ip, 0))?;
                let port = listener.local_addr()?.port();
                let [a, b, c, d] = ip.octets();
                let (high, low) = (port / 256, port % 256);
                data = Some(listener);
                format!("227 entering ({a},{b},{c},{d},{high},{low})")
            }
            "RETR" | "STOR" => {
                control.write_all(b"150 here it comes\r\n")?;
                let listener = data.take().ok_or(std::io::ErrorKind::NotConnected)?;
                let (mut connection, _) = listener.accept()?;
                if verb.eq_ignore_ascii_case("STOR") {
                    connection.read_to_end(&mut Vec::new())?;
                } else {
                    connection.write_all(CONTENT)?;
                }
                if argument == "/slow" {
                    let waiting = held.0.lock().unwrap();
                    drop(held.1.wait_while(waiting, |held| *held).unwrap());
                }
                drop(connection);
                "226 done".to_owned()
            }
            "QUIT" => {
                control.write_all(b"221 bye\r\n")?;
                return Ok(());
            }
            _ => "502 what?".to_owned(),
        };
        control.write_all(format!("{reply}\r\n").as_bytes())?;
    }
    Ok(())
}

/// A client's control connection.
pub(crate) struct Client {
    lines: BufReader<TcpStream>,
}

impl Client {
    /// Connects and reads the greeting.
    pub(crate) fn connect(to: SocketAddr) -> Self {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut client = Self {
            lines: BufReader::new(stream),
        };
        assert!(client.reply().starts_with("220"));
        client
    }

    pub(crate) fn login(to: SocketAddr, user: &str) -> Self {
        let mut client = Self::connect(to);
        client.ask(&format!("USER {user}"), "331");
        client.ask("PASS secret", "230");
        client
    }

    /// Reads one reply.
    pub(crate) fn reply(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    pub(crate) fn send(&mut self, line: &str) {
        let line = format!("{line}\r\n");
        self.lines.get_mut().write_all(line.as_bytes()).unwrap();
    }

    /// Sends a command, expects a reply that begins so, and gives it.
    pub(crate) fn ask(&mut self, line: &str, expected: &str) -> String {
        self.send(line);
        let reply = self.reply();
        assert!(reply.starts_with(expected), "{line}: {reply}");
        reply
    }

    /// Ends the session.
    pub(crate) fn quit(mut self) {
        self.ask("QUIT", "221");
    }

    /// Asks for a passive data connection and gives its address.
    pub(crate) fn passive(&mut self) -> SocketAddr {
        let reply = self.ask("PASV", "227");
        let numbers = reply.split(['(', ')']).nth(1).unwrap();
        let numbers: Vec<u8> = numbers.split(',').map(|n| n.parse().unwrap()).collect();
        let ip: [u8; 4] = numbers[..4].try_into().unwrap();
        let port = u16::from_be_bytes([numbers[4], numbers[5]]);
        (IpAddr::from(ip), port).into()
    }

    /// Fetches a file to its end.
    pub(crate) fn fetch(&mut self, path: &str) -> Vec<u8> {
        let data = self.begin(path);
        self.end(data)
    }

    /// Begins to fetch a file; gives the data connection.
    pub(crate) fn begin(&mut self, path: &str) -> TcpStream {
        let address = self.passive();
        let data = TcpStream::connect(address).unwrap();
        data.set_read_timeout(Some(PATIENCE)).unwrap();
        self.ask(&format!("RETR {path}"), "150");
        data
    }

    /// Reads the rest of a file and the reply behind it.
    pub(crate) fn end(&mut self, mut data: TcpStream) -> Vec<u8> {
        let mut content = Vec::new();
        data.read_to_end(&mut content).unwrap();
        let reply = self.reply();
        assert!(reply.starts_with("226"), "{reply}");
        content
    }
}
