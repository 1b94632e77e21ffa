//! An FTP server that holds thousands of connections: this program again, in a process of its own.

use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::process::{Child, Command, ExitCode, Stdio};

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Set for the process that serves, to the address that it serves on.
pub(crate) const ADDRESS: &str = "PORTCULLIS_LOAD_SERVER";

/// Bytes of every file.
pub(crate) const FILE: usize = 200_000;

/// What every file holds: bytes whose order can be checked.
pub(crate) fn content() -> Vec<u8> {
    b"0123456789abcdefghijk"
        .iter()
        .copied()
        .cycle()
        .take(FILE)
        .collect()
}

/// The server's process; it ends with this.
pub(crate) struct Server(Child);

impl Server {
    /// Starts it and waits until it listens.
    pub(crate) fn start(address: SocketAddr) -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .env(ADDRESS, address.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut ready = [0; 1];
        let said = process.stdout.take().unwrap().read_exact(&mut ready);
        said.unwrap_or_else(|error| panic!("no server on {address}: {error}"));
        Self(process)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Serves until the process is ended, or its standard input, which is the test.
pub(crate) fn serve(address: &str) -> ExitCode {
    let address: SocketAddr = address.parse().unwrap();
    std::thread::spawn(|| {
        drop(io::stdin().read_to_end(&mut Vec::new()));
        std::process::abort();
    });
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(address).unwrap();
        let listener = socket.listen(4096).unwrap();
        io::Write::write_all(&mut io::stdout(), b"r").unwrap();
        io::Write::flush(&mut io::stdout()).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move { drop(talk(stream, address.ip()).await) });
        }
    })
}

async fn talk(stream: TcpStream, ip: IpAddr) -> io::Result<()> {
    let (read, mut control) = stream.into_split();
    // Small, because there are thousands.
    let mut lines = BufReader::with_capacity(512, read).lines();
    let mut data: Option<TcpListener> = None;
    control.write_all(b"220 ready\r\n").await?;
    while let Some(line) = lines.next_line().await? {
        let verb = line.split(' ').next().unwrap_or_default();
        let reply = match verb.to_ascii_uppercase().as_str() {
            "USER" => "331 password, please".to_owned(),
            "PASS" => "230 welcome".to_owned(),
            "TYPE" | "NOOP" => "200 done".to_owned(),
            "EPSV" => {
                let listener = TcpListener::bind((ip, 0)).await?;
                let port = listener.local_addr()?.port();
                data = Some(listener);
                format!("229 entering (|||{port}|)")
            }
            "RETR" => {
                control.write_all(b"150 here it comes\r\n").await?;
                let listener = data.take().ok_or(io::ErrorKind::NotConnected)?;
                let (mut connection, _) = listener.accept().await?;
                connection.write_all(&content()).await?;
                connection.shutdown().await?;
                "226 done".to_owned()
            }
            "QUIT" => "221 bye".to_owned(),
            _ => "502 what?".to_owned(),
        };
        control.write_all(format!("{reply}\r\n").as_bytes()).await?;
    }
    Ok(())
}
