//! A small FTP server for loads that others cannot carry: files of any size that exist nowhere, uploads
//! that go nowhere, a hundred thousand sessions, and a stamp of the clock in each reply that announces.
//!
//! `RETR N` sends N bytes. Anybody may log in. Ends when its standard input does.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use portcullis_bench::clock;
use portcullis_bench::control::{Control, port_argument, read_eprt, read_port};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections that may wait to be taken.
const BACKLOG: i32 = 4096;
/// Bytes of a file that are handed to the kernel at one time, and taken of an upload.
const PIECE: usize = 256 * 1024;

static ZEROES: [u8; PIECE] = [0; PIECE];

/// What it is started with.
#[derive(Parser)]
#[command(about = "An FTP server whose files are as long as their names say")]
struct Arguments {
    /// Address and port.
    #[arg(long, default_value = "[::]:21")]
    listen: SocketAddr,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let socket = Socket::new(Domain::for_address(arguments.listen), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_nonblocking(true)?;
        socket
            .bind(&arguments.listen.into())
            .context("taking the port")?;
        socket.listen(BACKLOG)?;
        let listener = TcpListener::from_std(socket.into())?;
        let mut end = [0];
        let mut input = tokio::io::stdin();
        loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => drop(tokio::spawn(serve(stream))),
                    // No file for it; somebody will leave.
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                },
                _ = input.read(&mut end) => return Ok(()),
            }
        }
    })
}

fn raise_file_limit() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let current = maximum;
    // What is there has to do then.
    let _ = setrlimit(Resource::Nofile, Rlimit { current, maximum });
}

/// Where the next data connection comes from.
enum Data {
    None,
    Passive(TcpListener),
    Active(SocketAddr),
}

async fn serve(stream: TcpStream) {
    // Whatever ends a session is between it and its client.
    let _ = converse(stream).await;
}

async fn converse(stream: TcpStream) -> anyhow::Result<()> {
    let own = stream.local_addr()?.ip().to_canonical();
    let mut control = Control::new(stream)?;
    let mut data = Data::None;
    control.send(b"220 ready\r\n").await?;
    loop {
        let Some(line) = control.line().await? else {
            return Ok(());
        };
        let (verb, argument) = line.split_once(' ').unwrap_or((line, ""));
        let mut reply = match verb.to_ascii_uppercase().as_str() {
            "USER" => "331 any password will do".to_owned(),
            "PASS" => "230 welcome".to_owned(),
            "TYPE" | "NOOP" | "MODE" | "STRU" => "200 done".to_owned(),
            "PWD" => "257 \"/\" is where you are".to_owned(),
            "CWD" => "250 done".to_owned(),
            "SYST" => "215 UNIX Type: L8".to_owned(),
            "PORT" | "EPRT" => {
                let announced = read_port(argument).or_else(|| read_eprt(argument));
                match announced {
                    Some(address) => {
                        data = Data::Active(address);
                        "200 done".to_owned()
                    }
                    None => "501 no address".to_owned(),
                }
            }
            verb @ ("PASV" | "EPSV") => {
                let listener = listen(own)?;
                let port = listener.local_addr()?.port();
                data = Data::Passive(listener);
                match (verb, own) {
                    ("PASV", IpAddr::V4(own)) => {
                        format!("227 entering passive mode ({})", port_argument(own, port))
                    }
                    _ => format!("229 entering extended passive mode (|||{port}|)"),
                }
            }
            "RETR" => {
                let length = argument.parse().unwrap_or(0);
                match connect(std::mem::replace(&mut data, Data::None), own).await {
                    Ok(mut stream) => {
                        control.send(b"150 here it comes\r\n").await?;
                        give(&mut stream, length).await?;
                        "226 done".to_owned()
                    }
                    Err(error) => format!("425 no data connection: {error}"),
                }
            }
            "STOR" => match connect(std::mem::replace(&mut data, Data::None), own).await {
                Ok(mut stream) => {
                    control.send(b"150 go on\r\n").await?;
                    let taken = take(&mut stream).await?;
                    format!("226 took {taken} bytes")
                }
                Err(error) => format!("425 no data connection: {error}"),
            },
            "QUIT" => {
                control.send(b"221 bye\r\n").await?;
                return Ok(());
            }
            _ => "502 not here".to_owned(),
        };
        if reply.starts_with("200") || reply.starts_with("22") {
            clock::stamp(&mut reply);
        }
        reply.push_str("\r\n");
        control.send(reply.as_bytes()).await?;
    }
}

fn listen(own: IpAddr) -> io::Result<TcpListener> {
    let at = SocketAddr::new(own, 0);
    let socket = Socket::new(Domain::for_address(at), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&at.into())?;
    socket.listen(1)?;
    TcpListener::from_std(socket.into())
}

async fn connect(data: Data, own: IpAddr) -> io::Result<TcpStream> {
    match data {
        Data::None => Err(io::Error::other("PORT or PASV first")),
        Data::Passive(listener) => Ok(listener.accept().await?.0),
        Data::Active(address) => {
            let socket = match address {
                SocketAddr::V4(_) => TcpSocket::new_v4()?,
                SocketAddr::V6(_) => TcpSocket::new_v6()?,
            };
            socket2::SockRef::from(&socket).set_reuse_address(true)?;
            socket.bind(SocketAddr::new(own, 0))?;
            socket.connect(address).await
        }
    }
}

async fn give(stream: &mut TcpStream, length: usize) -> io::Result<()> {
    let mut left = length;
    while left > 0 {
        left -= stream.write(&ZEROES[..left.min(PIECE)]).await?;
    }
    stream.shutdown().await
}

async fn take(stream: &mut TcpStream) -> io::Result<u64> {
    let mut buffer = vec![0; PIECE];
    let mut taken = 0;
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(taken),
            read => taken += read as u64,
        }
    }
}
