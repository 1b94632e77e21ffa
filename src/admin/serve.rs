//! The sockets: bound with the right mode, served with bounds on connections and on patience.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::{Router, middleware};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time;

use crate::config::{AdminSettings, SocketSettings};
use crate::monitor::{AdminSide, Monitor};
use crate::net::{Seldom, failed_for_one};

use super::auth::Keeper;
use super::places::{Place, Places};
use super::routes::Door;
use super::{Sources, State, page, routes};

/// How long a request's head may take, and how long a connection may stay without one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long taking connections pauses when the machine has no room for one more.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the gate cannot be asked.
#[derive(Debug, Error)]
pub enum AdminError {
    /// The unix socket cannot be made.
    #[error("admin socket {}: {reason}", path.display())]
    Socket {
        /// Where it was to be.
        path: PathBuf,
        /// What is wrong, or what the system said.
        reason: String,
    },
    /// The group of the socket is not known here.
    #[error("admin socket {}: there is no group `{group}` on this machine; create it, or change `admin: group`", path.display())]
    Group {
        /// Where the socket was to be.
        path: PathBuf,
        /// The name.
        group: String,
    },
    /// The page's address cannot be bound.
    #[error("the page cannot listen on {address}: {reason}")]
    Page {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: String,
    },
    /// The token cannot be had.
    #[error("the page's token {}: {reason}", path.display())]
    Token {
        /// Its file.
        path: PathBuf,
        /// What is wrong, or what the system said.
        reason: String,
    },
}

/// The bound sockets.
#[derive(Debug)]
pub struct Admin {
    socket: Option<(std::os::unix::net::UnixListener, PathBuf)>,
    page: Option<(std::net::TcpListener, Keeper)>,
    /// Connections at one time, to each.
    connections: usize,
}

impl Admin {
    /// Binds what the configuration names; needs a tokio runtime. A socket that a program has left
    /// behind is replaced, one that is served is not.
    ///
    /// # Errors
    /// Any [`AdminError`].
    pub fn bind(settings: &AdminSettings) -> Result<Self, AdminError> {
        let socket = settings.socket.as_ref().map(bind_socket).transpose()?;
        let page = settings.page.as_ref().map(|page| {
            let address = page.address;
            let keeper = Keeper::open(&page.token_file)?;
            let listener = crate::net::listen(address).map_err(|error| {
                let reason = error.to_string();
                AdminError::Page { address, reason }
            })?;
            tracing::info!(
                "the page is at http://{address}/, its token in {}",
                page.token_file.display()
            );
            Ok((listener, keeper))
        });
        Ok(Self {
            socket,
            page: page.transpose()?,
            connections: settings.connections,
        })
    }

    /// Answers until the program stops.
    pub async fn serve(self, sources: Sources, mut stop: watch::Receiver<bool>) {
        let monitor = Arc::clone(&sources.monitor);
        let state = State::new(sources);
        let api = routes::api(state.clone());
        let room = self.connections;
        let (socket, path) = self.socket.unzip();
        let on_socket = async {
            match socket.map(UnixListener::from_std).transpose() {
                Ok(None) => {}
                Ok(Some(listener)) => {
                    let api = api.clone().layer(middleware::from_fn(routes::trusted));
                    let places = Places::new(AdminSide::Socket, room, Arc::clone(&monitor));
                    take_unix(&listener, &api, places).await;
                }
                Err(error) => tracing::error!("the admin socket cannot be served: {error}"),
            }
        };
        let on_page = async {
            if let Some((listener, keeper)) = self.page {
                let door = Door::new(keeper, Arc::clone(&monitor));
                let guarded = routes::guarded(api.clone(), page::routes(), door);
                let places = Places::new(AdminSide::Page, room, Arc::clone(&monitor));
                match TcpListener::from_std(listener) {
                    Ok(listener) => take_tcp(&listener, &guarded, places).await,
                    Err(error) => tracing::error!("the page cannot be served: {error}"),
                }
            }
        };
        tokio::select! {
            // An error means that the sender is gone, which is a stop as well.
            _ = stop.wait_for(|stop| *stop) => {}
            _ = async { tokio::join!(on_socket, on_page, std::future::pending::<()>()) } => {}
        }
        if let Some(path) = &path
            && let Err(error) = fs::remove_file(path)
        {
            tracing::debug!(%error, "the admin socket was gone before its program");
        }
    }
}

/// What is answered, without the sockets: fuzzing asks it over streams in memory.
#[doc(hidden)]
#[derive(Debug)]
pub struct Answers {
    state: State,
    monitor: Arc<Monitor>,
}

impl Answers {
    /// Answers from these.
    pub fn new(sources: Sources) -> Self {
        let monitor = Arc::clone(&sources.monitor);
        let state = State::new(sources);
        Self { state, monitor }
    }

    /// Serves one connection as the unix socket does. Needs a tokio runtime.
    pub async fn on_socket<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) {
        let api = routes::api(self.state.clone()).layer(middleware::from_fn(routes::trusted));
        let places = Places::new(AdminSide::Socket, 1, Arc::clone(&self.monitor));
        converse(stream, api, places.take().await).await;
    }

    /// Serves one connection as the page's address does. Needs a tokio runtime.
    ///
    /// # Errors
    /// [`AdminError::Token`] where the file holds no token and none can be made.
    pub async fn on_page<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: S,
        token_file: &Path,
    ) -> Result<(), AdminError> {
        let door = Door::new(Keeper::open(token_file)?, Arc::clone(&self.monitor));
        let guarded = routes::guarded(routes::api(self.state.clone()), page::routes(), door);
        let places = Places::new(AdminSide::Page, 1, Arc::clone(&self.monitor));
        converse(stream, guarded, places.take().await).await;
        Ok(())
    }
}

async fn take_unix(listener: &UnixListener, router: &Router, places: Arc<Places>) {
    let log = Seldom::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => spawn(stream, router.clone(), places.take().await),
            Err(error) => pause(&error, &places, &log).await,
        }
    }
}

async fn take_tcp(listener: &TcpListener, router: &Router, places: Arc<Places>) {
    let log = Seldom::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => spawn(stream, router.clone(), places.take().await),
            Err(error) => pause(&error, &places, &log).await,
        }
    }
}

/// Whoever asks waits until there is room again.
async fn pause(error: &io::Error, places: &Places, log: &Seldom) {
    if failed_for_one(error) {
        return;
    }
    places.accept_failed(error);
    if let Some(untold) = log.due(Instant::now()) {
        tracing::warn!(%error, untold, "connections to the page or the admin socket cannot be taken");
    }
    time::sleep(ACCEPT_PAUSE).await;
}

fn spawn<S>(stream: S, router: Router, place: Arc<Place>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let task = tokio::spawn(converse(stream, router, Arc::clone(&place)));
    place.belongs_to(task.abort_handle());
}

/// Serves one connection until it ends.
async fn converse<S>(stream: S, router: Router, own: Arc<Place>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let router = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        own.moved();
        request.extensions_mut().insert(Arc::clone(&own));
        router.call(request)
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(64 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = served.await {
        tracing::debug!(%error, "a connection to the page or the admin socket broke");
    }
}

fn bind_socket(
    settings: &SocketSettings,
) -> Result<(std::os::unix::net::UnixListener, PathBuf), AdminError> {
    let path = settings.path.clone();
    let failed = |reason: String| AdminError::Socket {
        path: settings.path.clone(),
        reason,
    };
    if let Some(folder) = path.parent()
        && !folder.is_dir()
    {
        let folder = folder.display();
        return Err(failed(format!(
            "the folder {folder} does not exist; create it, or change `admin: socket`"
        )));
    }
    clear(&path)?;
    let group = match &settings.group {
        Some(name) => Some(group_id(name).ok_or_else(|| AdminError::Group {
            path: path.clone(),
            group: name.clone(),
        })?),
        None => None,
    };
    // Bound under another name first: whoever finds it under its own finds it with its mode.
    let unready = PathBuf::from(format!("{}.new", path.display()));
    clear(&unready)?;
    let listener = std::os::unix::net::UnixListener::bind(&unready)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
        .map_err(|error| failed(error.to_string()))?;
    if let Err(reason) = place(&unready, settings, group) {
        drop(fs::remove_file(&unready));
        return Err(failed(reason));
    }
    Ok((listener, path))
}

/// Gives the socket its mode and group, then its name.
fn place(unready: &Path, settings: &SocketSettings, group: Option<u32>) -> Result<(), String> {
    let said = |error: io::Error| error.to_string();
    // The group before the mode: it is never open to another group.
    if let (Some(id), Some(name)) = (group, &settings.group) {
        std::os::unix::fs::chown(unready, None, Some(id)).map_err(|error| {
            format!("it cannot be given to the group `{name}` ({error}); make the user of portcullis a member of it")
        })?;
    }
    let mode = if group.is_some() { 0o660 } else { 0o600 };
    fs::set_permissions(unready, fs::Permissions::from_mode(mode)).map_err(said)?;
    fs::rename(unready, &settings.path).map_err(said)
}

/// Takes away a socket that nobody serves; leaves everything else.
fn clear(path: &Path) -> Result<(), AdminError> {
    let failed = |reason: String| AdminError::Socket {
        path: path.to_owned(),
        reason,
    };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error.to_string())),
        Ok(about) if !about.file_type().is_socket() => Err(failed(
            "a file is there that is no socket; move it away, or change `admin: socket`".to_owned(),
        )),
        Ok(_) => match std::os::unix::net::UnixStream::connect(path) {
            Ok(_) => Err(failed(
                "another portcullis answers there; stop it, or change `admin: socket`".to_owned(),
            )),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(path).map_err(|error| failed(error.to_string()))
            }
            // Perhaps somebody else's, whom this user may not ask.
            Err(error) => Err(failed(format!(
                "a socket is there that may be in use ({error}); remove it if not, or change `admin: socket`"
            ))),
        },
    }
}

/// Looks a group up in group(5); a number is itself.
fn group_id(name: &str) -> Option<u32> {
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let groups = fs::read_to_string("/etc/group").ok()?;
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    })
}

/// Connects to a socket, for [`super::Client`].
pub(super) async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}
