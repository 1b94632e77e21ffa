//! Listeners: takes connections, connects each to its server, and starts its session.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time;

use crate::audit;
use crate::config::{Listener, ListenerKind, ServerSees};
use crate::inspect::{EndReason, ListenerRules, Settings};
use crate::nat::{self, Legs};
use crate::net::{self, Source};

use super::session::{Session, record_refusal};
use super::{Shared, stopped};

/// How long taking connections pauses when the machine has no room for one more.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a 421 may take to be written to a client that is turned away.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long sessions may take to end once portcullis stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// One listener of the configuration with its bound sockets.
#[derive(Debug)]
pub struct Gate {
    listener: Arc<Listener>,
    name: Arc<str>,
    rules: watch::Receiver<ListenerRules>,
    sockets: Vec<TcpListener>,
}

/// Gives new rules to a listener and its sessions.
pub type RulesSender = watch::Sender<ListenerRules>;

impl Gate {
    /// Binds the listener's sockets; nothing is taken from them yet. Needs a tokio runtime.
    ///
    /// # Errors
    /// Gives the address that could not be bound with what the kernel says.
    pub fn bind(listener: Listener) -> Result<(Self, RulesSender), (String, io::Error)> {
        let sockets = match &listener.kind {
            ListenerKind::Transparent { bind_port, .. } => net::listen_transparent(*bind_port)
                .map_err(|error| (format!("port {bind_port}"), error))?,
            ListenerKind::Published { listen, .. } => listen
                .iter()
                .map(|&address| net::listen(address).map_err(|error| (address.to_string(), error)))
                .collect::<Result<_, _>>()?,
        };
        let name = Arc::from(listener.name.as_str());
        let (sender, rules) = watch::channel(rules_of(&listener));
        let listener = Arc::new(listener);
        Ok((
            Self {
                listener,
                name,
                rules,
                sockets,
            },
            sender,
        ))
    }

    /// Takes connections until portcullis stops and the last session has ended.
    pub async fn serve(self, shared: Arc<Shared>) {
        let mut takers = JoinSet::new();
        for socket in self.sockets {
            let taker = Taker {
                listener: Arc::clone(&self.listener),
                name: Arc::clone(&self.name),
                rules: self.rules.clone(),
                shared: Arc::clone(&shared),
            };
            takers.spawn(taker.take_all(socket));
        }
        while takers.join_next().await.is_some() {}
    }
}

#[derive(Clone, Debug)]
struct Taker {
    listener: Arc<Listener>,
    name: Arc<str>,
    rules: watch::Receiver<ListenerRules>,
    shared: Arc<Shared>,
}

impl Taker {
    async fn take_all(self, socket: TcpListener) {
        let mut stop = self.shared.stop.clone();
        let mut sessions = JoinSet::new();
        loop {
            tokio::select! {
                taken = socket.accept() => match taken {
                    Ok((client, _)) => {
                        sessions.spawn(self.clone().serve(client));
                    }
                    Err(error) => {
                        tracing::warn!(listener = %self.name, %error, "connection not taken");
                        time::sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = sessions.join_next() => {}
                () = stopped(&mut stop) => break,
            }
        }
        drop(socket);
        let all = async { while sessions.join_next().await.is_some() {} };
        if time::timeout(STOP_TIMEOUT, all).await.is_err() {
            tracing::warn!(listener = %self.name, "sessions did not end in time");
        }
    }

    async fn serve(self, client: TcpStream) {
        // A client that is gone before it was looked at has no addresses any more.
        let Ok((address, dialled)) = ends_of(&client) else {
            return;
        };
        let (id, flow_id) = self.shared.next_session();
        let mut about = audit::Session {
            id,
            flow_id,
            client: address,
            dialled,
            server: dialled,
            seen: None,
            listener: Arc::clone(&self.name),
        };
        let place = match self.shared.counts.enter_session(address.ip()) {
            Ok(place) => place,
            Err(limit) => {
                let reason = EndReason::TooManySessions;
                return self.turn_away(client, about, reason, &limit).await;
            }
        };
        let server = match self.reach_server(&mut about).await {
            Ok(server) => server,
            Err(reason) => {
                let ended = EndReason::ConnectFailed(reason.clone());
                return self.turn_away(client, about, ended, &reason).await;
            }
        };
        let Some(seen) = about.seen else { return };
        let legs = Legs {
            client: address.ip(),
            dialled: dialled.ip(),
            server: about.server.ip(),
            seen: seen.ip(),
        };
        let settings = Settings {
            listener: Arc::clone(&self.name),
            legs,
            rules: self.rules.borrow().clone(),
            meters: Arc::clone(&self.shared.meters),
            data: self.listener.data,
            convert: self.listener.convert,
            pinhole_lifetime: self.shared.limits.pinhole_lifetime,
            idle_timeout: self.shared.limits.idle_timeout,
            client_is_edge: net::is_local(address.ip()).unwrap_or(false),
        };
        let shared = Arc::clone(&self.shared);
        Session::new(shared, about, settings, (client, server), place)
            .run(self.rules)
            .await;
    }

    /// Connects to the server that the client means; says why not in words for the client.
    async fn reach_server(&self, about: &mut audit::Session) -> Result<TcpStream, String> {
        about.server = match &self.listener.kind {
            ListenerKind::Published { servers, .. } => {
                let same = |server: &&SocketAddr| server.is_ipv4() == about.dialled.is_ipv4();
                // Where none is of the client's family, the one there is; data is relayed then.
                let server = servers.iter().find(same).or_else(|| servers.first());
                *server.ok_or("no server is configured")?
            }
            ListenerKind::Transparent { .. } => {
                let server = self.behind_prefix(about.dialled).unwrap_or(about.dialled);
                // An address of the edge would lead back here, for ever; its loopback, which only the
                // NAT64 prefix can name, would lead past the edge's firewall.
                for address in [about.dialled, server] {
                    if nat::is_forbidden(address.ip()) {
                        return Err(format!("{address} is no address of a server"));
                    }
                    if matches!(net::is_local(address.ip()), Ok(true)) {
                        return Err(format!("{address} is this gate itself"));
                    }
                }
                server
            }
        };
        let server = about.server;
        let timeout = self.shared.limits.connect_timeout;
        let failed = |error: io::Error| format!("{server} cannot be reached: {error}");
        let stream = net::connect(server, self.source_for(about), timeout)
            .await
            .map_err(failed)?;
        about.seen = Some(net::canonical(stream.local_addr().map_err(failed)?));
        Ok(stream)
    }

    /// The IPv4 server that an address within the listener's NAT64 prefix stands for (RFC 6052 §2.2,
    /// /96: the last 32 bits).
    fn behind_prefix(&self, dialled: SocketAddr) -> Option<SocketAddr> {
        let (SocketAddr::V6(v6), Some(prefix)) = (dialled, self.listener.nat64) else {
            return None;
        };
        prefix.contains(v6.ip()).then(|| {
            let [.., a, b, c, d] = v6.ip().octets();
            SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), v6.port())
        })
    }

    fn source_for(&self, about: &audit::Session) -> Source {
        match self.listener.server_sees {
            ServerSees::Edge => Source::Routed,
            ServerSees::Client => Source::Transparent(about.client),
            ServerSees::Address { v4, v6 } => {
                let address = match about.server {
                    SocketAddr::V4(_) => v4.map(IpAddr::V4),
                    SocketAddr::V6(_) => v6.map(IpAddr::V6),
                };
                address.map_or(Source::Routed, Source::Address)
            }
        }
    }

    /// Answers 421 with the reason, records it and closes.
    async fn turn_away(
        &self,
        mut client: TcpStream,
        about: audit::Session,
        reason: EndReason,
        text: &str,
    ) {
        let id = about.id;
        record_refusal(&self.shared, about, reason).await;
        let line = format!("421 Service not available: {text}.\r\n");
        let told = async {
            client.write_all(line.as_bytes()).await?;
            client.shutdown().await
        };
        if let Ok(Err(error)) = time::timeout(REFUSAL_TIMEOUT, told).await {
            tracing::debug!(session = id, %error, "client was gone before its 421");
        }
    }
}

/// The rules that a listener is configured with.
pub fn rules_of(listener: &Listener) -> ListenerRules {
    let policy = Arc::clone(&listener.policy);
    ListenerRules {
        policy,
        hosts: Arc::new(listener.hosts.clone()),
    }
}

/// The client's address and the one it dialled.
fn ends_of(client: &TcpStream) -> io::Result<(SocketAddr, SocketAddr)> {
    Ok((
        net::canonical(client.peer_addr()?),
        net::canonical(client.local_addr()?),
    ))
}
