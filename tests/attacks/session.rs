//! A control connection from one script to another, over whoever guards the edge.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use portcullis::ftp;
use socket2::SockRef;

use crate::arena::Stage;
use crate::lab::PATIENCE;

/// Between two writes that have to be two segments.
const PAUSE: Duration = Duration::from_millis(30);
/// How long the other end is listened to where nothing has to come.
const QUIET: Duration = Duration::from_secs(2);

/// What a scripted server does with a line: true if it has answered.
pub(crate) type Manner = Box<dyn FnMut(&str, &mut Wire) -> bool + Send>;

/// One end of a control connection; what is sent in one call is a segment.
pub(crate) struct Wire {
    stream: TcpStream,
    /// All that has come.
    heard: Arc<Mutex<Vec<u8>>>,
    /// How far lines were taken from it.
    taken: usize,
}

impl Wire {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("it is TCP");
        stream.set_nonblocking(false).expect("it is a socket");
        Self {
            stream,
            heard: Arc::default(),
            taken: 0,
        }
    }

    /// Sends each of these as a segment of its own; a connection that is gone takes nothing.
    pub(crate) fn segments<B: AsRef<[u8]>>(&mut self, segments: &[B]) {
        for segment in segments {
            drop(self.stream.write_all(segment.as_ref()));
            std::thread::sleep(PAUSE);
        }
    }

    /// Sends a line.
    pub(crate) fn say(&mut self, line: &str) {
        drop(self.stream.write_all(format!("{line}\r\n").as_bytes()));
    }

    /// Sends a line as a segment of its own.
    pub(crate) fn segment(&mut self, line: &str) {
        std::thread::sleep(PAUSE);
        self.segments(&[format!("{line}\r\n")]);
    }

    /// The next line, its end removed; `None` where none comes within this time or ever.
    pub(crate) fn line(&mut self, within: Duration) -> Option<String> {
        let started = Instant::now();
        loop {
            {
                let heard = self.heard.lock().expect("nobody panics with it");
                let rest = &heard[self.taken..];
                if let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                    let line = String::from_utf8_lossy(&rest[..end]);
                    let line = line.trim_end_matches('\r').to_owned();
                    self.taken += end + 1;
                    return Some(line);
                }
            }
            let left = within
                .checked_sub(started.elapsed())
                .filter(|left| !left.is_zero())?;
            self.stream
                .set_read_timeout(Some(left))
                .expect("it is a socket");
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(len) => {
                    let mut heard = self.heard.lock().expect("nobody panics with it");
                    heard.extend_from_slice(&chunk[..len]);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }

    /// Listens until a line with this in it comes; `None` where the connection ends or nothing comes for a while.
    pub(crate) fn hear(&mut self, part: &str) -> Option<String> {
        loop {
            let line = self.line(QUIET)?;
            if line.contains(part) {
                return Some(line);
            }
        }
    }

    /// Asks until the answer has come, so that all that was said before has been looked at; false where the other
    /// end does not answer.
    pub(crate) fn settle(&mut self) -> bool {
        self.say("NOOP");
        self.hear("in step").is_some()
    }

    /// Takes little in advance, so that an end which does not read holds the other one up.
    pub(crate) fn narrow(&self) {
        let socket = SockRef::from(&self.stream);
        socket.set_recv_buffer_size(4096).expect("it is a socket");
    }

    /// All that has come.
    pub(crate) fn all(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().expect("nobody panics with it")).into_owned()
    }

    /// Closes in an orderly way.
    pub(crate) fn close(self) {}

    /// Resets the connection.
    pub(crate) fn reset(self) {
        let socket = SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("it is TCP");
    }
}

/// What a scripted server has heard.
#[derive(Clone)]
pub(crate) struct Heard(Arc<Mutex<Arc<Mutex<Vec<u8>>>>>);

impl Heard {
    /// All of it.
    pub(crate) fn text(&self) -> String {
        let wire = Arc::clone(&self.0.lock().expect("nobody panics with it"));
        let heard = wire.lock().expect("nobody panics with it");
        String::from_utf8_lossy(&heard).into_owned()
    }

    /// Where PORT or EPRT told the server to dial, the last one if there are several.
    pub(crate) fn announced(&self) -> Option<SocketAddrV4> {
        let wire = Arc::clone(&self.0.lock().expect("nobody panics with it"));
        let (mut text, mut answers) = (Vec::new(), Vec::new());
        ftp::TelnetFilter::default().take(
            &wire.lock().expect("nobody panics with it"),
            &mut text,
            &mut answers,
        );
        let mut lines = text
            .split(|&byte| byte == b'\n')
            .map(<[u8]>::trim_ascii_end)
            .rev();
        let read = lines.find_map(|line| {
            let command = ftp::Command::parse(line).ok()?;
            ftp::read_announcement(&command.verb, command.trimmed())?.ok()
        })?;
        match read {
            std::net::SocketAddr::V4(v4) => Some(v4),
            std::net::SocketAddr::V6(_) => None,
        }
    }
}

impl Stage {
    /// Has a server listen that answers in its manner, and agreeably to all else. `greeting` is sent as it is.
    pub(crate) fn serve(&self, greeting: &'static [&'static str], mut manner: Manner) -> Heard {
        let listener = self.server_host().listen(&format!("{}:21", self.server()));
        let heard = Heard(Arc::default());
        let shared = heard.clone();
        std::thread::spawn(move || {
            let Ok((stream, _)) = listener.accept() else {
                return;
            };
            let mut wire = Wire::new(stream);
            *shared.0.lock().expect("nobody panics with it") = Arc::clone(&wire.heard);
            wire.segments(greeting);
            while let Some(line) = wire.line(PATIENCE) {
                if !manner(&line, &mut wire) {
                    wire.say(agreeable(&line));
                }
            }
        });
        heard
    }

    /// A client that has dialled.
    pub(crate) fn dial(&self) -> Wire {
        let to = format!("{}:21", self.dialled());
        Wire::new(
            self.client_host()
                .connect(&to)
                .expect("the control connection stands"),
        )
    }

    /// A session of a client that has logged in with a server of this manner.
    pub(crate) fn session(
        &self,
        manner: impl FnMut(&str, &mut Wire) -> bool + Send + 'static,
    ) -> (Wire, Heard) {
        let heard = self.serve(&["220 ready\r\n"], Box::new(manner));
        let mut client = self.dial();
        client.log_in();
        (client, heard)
    }

    /// The same with a server that agrees to everything.
    pub(crate) fn agreeable(&self) -> (Wire, Heard) {
        self.session(|_, _| false)
    }
}

impl Wire {
    pub(crate) fn log_in(&mut self) {
        self.hear("220").expect("a greeting");
        self.say("USER anonymous");
        self.hear("331").expect("USER is taken");
        self.say("PASS guest");
        self.hear("230").expect("PASS is taken");
    }
}

/// What a server says that likes everything.
fn agreeable(line: &str) -> &'static str {
    match line.split(' ').next().unwrap_or_default() {
        "USER" => "331 password",
        "PASS" => "230 welcome",
        "PWD" => "257 \"/\"",
        "NOOP" => "200 in step",
        "AUTH" => "234 go on",
        "QUIT" => "221 bye",
        "LIST" | "RETR" => "150 here it comes",
        _ => "200 as you wish",
    }
}

/// `h1,h2,h3,h4,p1,p2`
pub(crate) fn six(at: SocketAddrV4) -> String {
    let [a, b, c, d] = at.ip().octets();
    let [high, low] = at.port().to_be_bytes();
    format!("{a},{b},{c},{d},{high},{low}")
}
