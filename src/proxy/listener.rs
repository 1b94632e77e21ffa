//! Listeners: takes connections, connects each to its server, and starts its session.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time;

use crate::audit;
use crate::config::{Listener, ListenerKind, ServerSees};
use crate::inspect::{EndReason, ListenerRules, Settings};
use crate::nat::{self, Legs};
use crate::net::{self, Shortage, Source};

use super::counts::Place;
use super::door::{Arrived, Door};
use super::orders::{Orders, RulesSender, orders};
use super::session::{Session, record_refusal};
use super::unheard::{self, SUM_TIME, Unheard};
use super::{Shared, stopped};

/// How long a 421 may take to be written to a client that is turned away.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(2);

/// What a client is told that the machine has no file or memory for.
const NO_ROOM: &str = "no room for one more connection, try again later";

/// How long sessions may take to end once portcullis stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(8);

/// One listener of the configuration with its bound sockets.
#[derive(Debug)]
pub struct Gate {
    listener: Arc<Listener>,
    name: Arc<str>,
    orders: Orders,
    sockets: Vec<std::net::TcpListener>,
}

impl Gate {
    /// Binds the listener's sockets; nothing is taken from them yet.
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
        let (sender, orders) = orders(rules_of(&listener));
        let listener = Arc::new(listener);
        Ok((
            Self {
                listener,
                name,
                orders,
                sockets,
            },
            sender,
        ))
    }

    /// Takes connections until portcullis stops and the last session has ended.
    pub async fn serve(self, shared: Arc<Shared>) {
        let mut takers = JoinSet::new();
        let unheard = Arc::<Unheard>::default();
        for socket in self.sockets {
            let socket = match TcpListener::from_std(socket) {
                Ok(socket) => socket,
                Err(error) => {
                    tracing::error!(listener = %self.name, %error, "a socket cannot be served");
                    continue;
                }
            };
            let taker = Taker {
                listener: Arc::clone(&self.listener),
                name: Arc::clone(&self.name),
                orders: self.orders.clone(),
                shared: Arc::clone(&shared),
                unheard: Arc::clone(&unheard),
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
    orders: Orders,
    shared: Arc<Shared>,
    /// Of all sockets of the listener.
    unheard: Arc<Unheard>,
}

impl Taker {
    async fn take_all(self, socket: TcpListener) {
        let mut stop = self.shared.stop.clone();
        let mut sessions = JoinSet::new();
        let monitor = Arc::clone(&self.shared.monitor);
        let mut door = Door::new(Arc::clone(&self.name), socket, monitor);
        loop {
            tokio::select! {
                arrived = door.next() => match arrived {
                    Arrived::Client(client) => {
                        self.seat(&mut sessions, client);
                    }
                    // Here and not beside: its file is the last, and is needed for the next of its kind.
                    Arrived::Beyond(client) => self.turn_away_beyond(client).await,
                },
                Some(_) = sessions.join_next() => {}
                () = stopped(&mut stop) => break,
            }
        }
        drop(door);
        self.orders.told.wake_all();
        let all = async { while sessions.join_next().await.is_some() {} };
        if time::timeout(STOP_TIMEOUT, all).await.is_err() {
            tracing::warn!(listener = %self.name, "sessions did not end in time");
        }
    }

    /// Begins a session on one of the threads for them.
    fn seat(&self, sessions: &mut JoinSet<()>, client: TcpStream) {
        let (Some((seat, handle)), Ok(client)) = (self.shared.seats.seat(), client.into_std())
        else {
            return;
        };
        // On the heap, and given back before the session runs.
        let beginning = Box::pin(self.clone().begin(client));
        let session = async move {
            let mut begun = beginning.await;
            // By reference: what is moved has room in both places.
            if let Some((session, orders)) = &mut begun {
                session.run(orders).await;
            }
            drop(seat);
        };
        sessions.spawn_on(session, handle);
    }

    /// Brings a client together with its server; `None` where that was not to be, which it has been told.
    async fn begin(mut self, client: std::net::TcpStream) -> Option<(Session, Orders)> {
        let client = match TcpStream::from_std(client) {
            Ok(client) => client,
            Err(error) => {
                tracing::warn!(listener = %self.name, %error, "a client cannot be served");
                return None;
            }
        };
        // A client that is gone before it was looked at has no addresses any more.
        let mut about = self.about(&client)?;
        let (address, dialled) = (about.client, about.dialled);
        let place = match self.admit(address.ip()) {
            Ok(place) => place,
            Err((reason, limit)) => {
                let Ok(_told) = self.shared.refusals.try_acquire() else {
                    self.reset_unheard(client, about).await;
                    return None;
                };
                self.turn_away(client, about, reason, &limit).await;
                return None;
            }
        };
        let server = match self.reach_server(&mut about).await {
            Ok(server) => server,
            Err((reason, text)) => {
                self.turn_away(client, about, reason, &text).await;
                return None;
            }
        };
        let seen = about.seen?;
        let legs = Legs {
            client: address.ip(),
            dialled: dialled.ip(),
            server: about.server.ip(),
            seen: seen.ip(),
        };
        let settings = Settings {
            listener: Arc::clone(&self.name),
            legs,
            rules: self.orders.rules.borrow_and_update().clone(),
            meters: Arc::clone(&self.shared.meters),
            data: self.listener.data,
            convert: self.listener.convert,
            pinhole_lifetime: self.shared.limits.pinhole_lifetime,
            login_timeout: self.shared.limits.login_timeout,
            idle_timeout: self.shared.limits.idle_timeout,
            client_is_edge: net::is_local(address.ip()).unwrap_or(false),
        };
        let shared = Arc::clone(&self.shared);
        let session = Session::new(shared, about, settings, (client, server), place);
        Some((session, self.orders))
    }

    /// Numbers a session and says who talks to whom; as far as it is known.
    fn about(&self, client: &TcpStream) -> Option<audit::Session> {
        let (address, dialled) = ends_of(client).ok()?;
        let (id, flow_id) = self.shared.next_session();
        Some(audit::Session {
            id,
            flow_id,
            client: address,
            dialled,
            server: dialled,
            seen: None,
            listener: Arc::clone(&self.name),
        })
    }

    /// Counts a session against the limits on sessions; says which is reached.
    fn admit(&self, client: IpAddr) -> Result<Place, (EndReason, String)> {
        let Shared {
            arrivals, counts, ..
        } = &*self.shared;
        arrivals
            .enter(client, Instant::now())
            .map_err(|limit| (EndReason::SessionRate, limit))?;
        counts
            .enter_session(client)
            .map_err(|limit| (EndReason::TooManySessions, limit))
    }

    /// Connects to the server that the client means; says why not, also in words for the client.
    async fn reach_server(
        &self,
        about: &mut audit::Session,
    ) -> Result<TcpStream, (EndReason, String)> {
        let unmeant = |why: String| (EndReason::ConnectFailed(why.clone()), why);
        about.server = match &self.listener.kind {
            ListenerKind::Published { servers, .. } => {
                let same = |server: &&SocketAddr| server.is_ipv4() == about.dialled.is_ipv4();
                // Where none is of the client's family, the one there is; data is relayed then.
                let server = servers.iter().find(same).or_else(|| servers.first());
                *server.ok_or_else(|| unmeant("no server is configured".to_owned()))?
            }
            ListenerKind::Transparent { .. } => {
                let server = self.behind_prefix(about.dialled).unwrap_or(about.dialled);
                // An address of the edge would lead back here, for ever; its loopback, which only the
                // NAT64 prefix can name, would lead past the edge's firewall.
                for address in [about.dialled, server] {
                    if nat::is_forbidden(address.ip()) {
                        return Err(unmeant(format!("{address} is no address of a server")));
                    }
                    // What cannot be looked up, for want of a file above all, may be one.
                    if net::is_local(address.ip()).map_err(|error| not_reached(server, &error))? {
                        return Err(unmeant(format!("{address} is this gate itself")));
                    }
                }
                server
            }
        };
        let server = about.server;
        let timeout = self.shared.limits.connect_timeout;
        let failed = |error: io::Error| not_reached(server, &error);
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

    /// There is no file for this client: it is told so, within a bounded time, and closed.
    async fn turn_away_beyond(&self, client: TcpStream) {
        let Some(about) = self.about(&client) else {
            return;
        };
        let told = self.turn_away(client, about, EndReason::NoResources, NO_ROOM);
        if time::timeout(REFUSAL_TIMEOUT, told).await.is_err() {
            tracing::debug!(listener = %self.name, "a client was not told 421 in time");
        }
    }

    /// Too many are being told already. The first of those within [`SUM_TIME`] stays to put their number on
    /// the record, as what it was itself.
    async fn reset_unheard(&self, client: TcpStream, about: audit::Session) {
        self.shared.monitor.unanswered();
        if let Some(untold) = self.shared.refusals_log.due(Instant::now()) {
            tracing::warn!(
                listener = %self.name, untold,
                "clients beyond the limits come faster than they can be told: reset"
            );
        }
        net::reset(client);
        if !self.unheard.add(Instant::now()) {
            return;
        }
        let mut stop = self.shared.stop.clone();
        tokio::select! {
            () = time::sleep(SUM_TIME) => {}
            () = stopped(&mut stop) => {}
        }
        unheard::record(&self.shared, about, self.unheard.take(Instant::now())).await;
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

/// Why there is no connection to a server, for the record and in words for the client.
fn not_reached(server: SocketAddr, error: &io::Error) -> (EndReason, String) {
    match Shortage::of(error) {
        Some(_) => (EndReason::NoResources, NO_ROOM.to_owned()),
        None => {
            let why = format!("{server} cannot be reached: {error}");
            (EndReason::ConnectFailed(why.clone()), why)
        }
    }
}

/// The client's address and the one it dialled.
fn ends_of(client: &TcpStream) -> io::Result<(SocketAddr, SocketAddr)> {
    Ok((
        net::canonical(client.peer_addr()?),
        net::canonical(client.local_addr()?),
    ))
}
