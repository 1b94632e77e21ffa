//! `portcullis run`: privileges, listeners, kernel, sessions, and everything taken back at the end.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::admin::{Admin, ListenerView, MAX_RELOADS, ReloadRequest, Sources};
use crate::audit::Audit;
use crate::config::{Config, Listener, ListenerKind};
use crate::conntrack::{self, Watcher};
use crate::firewall::{self, Asking, Intercept};
use crate::keeper::{Keeper, KeptWays};
use crate::monitor::Monitor;
use crate::net::Ports;
use crate::proxy::{Cores, Flows, Gate, KernelSide, Parts, Shared};

use super::confine;
use super::reload::Reload;

/// Serves until a signal says stop.
///
/// What only a start needs is given up before the threads exist that read what peers send: programs are
/// run by the keeper alone, and capabilities stay with the threads that talk to the firewall.
///
/// # Errors
/// Says what is missing or taken; nothing is left in the kernel.
pub(super) fn run(file: &Path, config: Config) -> anyhow::Result<()> {
    let needs_kernel = config.needs_kernel();
    if needs_kernel && let Some(missing) = firewall::missing_privilege() {
        return Err(anyhow!(missing));
    }
    raise_file_limit(config.limits.sessions);
    // On this thread alone, and before anything is in the kernel: a signal that nobody takes would leave
    // it there.
    let own = runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("starting the runtime of the signals")?;
    let signals = own.block_on(async { Signals::take() })?;
    let started = needs_kernel.then(|| Keeper::start(Cores::count()));
    let (keeper, ways) = started.transpose()?.unzip();
    // The socket's group is looked up, and given, with rights that serving does not have.
    let admin = Admin::bind(&config.admin)?;
    confine::start(file, &config)?;
    let needed = confine::while_serving(&config);
    let settings = firewall_settings(&config);
    let ports = Ports::new(config.kernel.data_ports.clone());
    let windows = config.windows();
    let audit = Audit::open(&config.audit).context("opening the record")?;

    // Listeners first: a second portcullis fails here, before it touches the table of the first.
    let mut reload = Reload::new(file, &config);
    let (gates, views) = bind(config.listeners, &mut reload)?;
    let monitor = Arc::new(Monitor::new(SystemTime::now(), &config.limits));
    let flows = Arc::new(Flows::default());
    let kernel = match (&keeper, ways) {
        (Some(keeper), Some(ways)) => Some(set_up(keeper, ways, &settings, &flows)?),
        (_, _) => None,
    };
    let serving = || -> anyhow::Result<()> {
        confine::finish(&config.sandbox, needed)?;
        let (stop, stopping) = watch::channel(false);
        let (reloads, requests) = mpsc::channel(MAX_RELOADS);
        let sources = Sources {
            monitor: Arc::clone(&monitor),
            audit: audit.clone(),
            store: config.audit.store,
            listeners: views,
            rules_loaded: reload.last(),
            reloads,
        };
        let cores = Cores::start().context("starting the threads of sessions")?;
        let kernel = kernel.map(|(asking, watcher)| KernelSide {
            firewalls: asking.connect(&config.kernel.table, |number| cores.runtime(number)),
            watcher,
        });
        let shared = Arc::new(Shared::new(Parts {
            limits: config.limits,
            kernel,
            windows,
            ports,
            audit: audit.clone(),
            monitor,
            flows,
            run: random_run(),
            stop: stopping.clone(),
            seats: cores.seats(),
        }));
        // Takes connections, and serves those who ask about the gate; sessions have threads of their own.
        let runtime = runtime::Builder::new_multi_thread()
            .enable_all()
            .worker_threads(1)
            .thread_name("gate")
            .build()
            .context("starting the runtime")?;
        let mut served = runtime.block_on(async {
            let mut serving = JoinSet::new();
            tokio::spawn(conntrack::watch_room());
            serving.spawn(admin.serve(sources, stopping));
            for gate in gates {
                serving.spawn(gate.serve(Arc::clone(&shared)));
            }
            serving
        });
        tracing::info!("ready");
        let stopped = own.block_on(async {
            tokio::select! {
                () = signals.wait_for_stop(&audit, &reload, requests) => Ok(()),
                () = ended(keeper.as_ref()) => Err(anyhow!(
                    "the process that may open pinholes has ended (out of memory, or killed?), and without it \
                     no transfer is possible: portcullis stops, to be started anew"
                )),
            }
        });
        if stop.send(true).is_err() {
            tracing::debug!("nobody was left to stop");
        }
        runtime.block_on(async { while served.join_next().await.is_some() {} });
        drop(shared);
        // Sessions that did not end in time end here.
        drop(cores);
        let finished = own.block_on(audit.finish());
        // A question to the store may still run; it is not waited for.
        runtime.shutdown_timeout(STOP_TIMEOUT);
        finished.context("closing the record")?;
        stopped
    };
    let served = serving();
    if let Some(keeper) = keeper
        && let Err(error) = keeper.remove()
    {
        tracing::error!("the kernel still holds something of portcullis: {error}");
    }
    served?;
    tracing::info!("stopped");
    Ok(())
}

/// Binds all listeners; `reload` learns of each.
fn bind(
    listeners: Vec<Listener>,
    reload: &mut Reload,
) -> anyhow::Result<(Vec<Gate>, Vec<ListenerView>)> {
    let (mut gates, mut views) = (Vec::new(), Vec::new());
    for listener in listeners {
        let name = listener.name.clone();
        let (kind, address) = described(&listener.kind);
        let (gate, rules) = Gate::bind(listener).map_err(|(address, error)| {
            anyhow!("listener {name}: cannot listen on {address}: {error}")
        })?;
        views.push(ListenerView {
            name: name.clone(),
            kind,
            address,
            rules: rules.subscribe(),
        });
        reload.add(name, rules);
        gates.push(gate);
    }
    Ok((gates, views))
}

/// Has table and routing put in place, and starts what hears of connections while sessions run.
fn set_up(
    keeper: &Keeper,
    ways: KeptWays,
    settings: &firewall::Settings,
    flows: &Arc<Flows>,
) -> anyhow::Result<(Asking, Watcher)> {
    let notes = keeper.install(settings).context("setting up the kernel")?;
    for note in notes {
        tracing::info!("{note}");
    }
    let mark = settings.kernel.connection_mark;
    let watcher = conntrack::watch_asking(ways.questions, mark, Arc::clone(flows));
    let watcher = watcher.inspect_err(|_| {
        // The first error is the one worth telling.
        let _ = keeper.remove();
    });
    Ok((
        ways.firewall,
        watcher.context("following data connections")?,
    ))
}

/// Waits for the keeper to end; for ever where there is none.
async fn ended(keeper: Option<&Keeper>) {
    match keeper {
        Some(keeper) => keeper.ended().await,
        None => std::future::pending().await,
    }
}

/// The signals that are for portcullis; from the moment this exists they end nothing by themselves.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Needs a tokio runtime, the one that then waits.
    fn take() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).context("waiting for SIGTERM")?,
            interrupt: signal(SignalKind::interrupt()).context("waiting for SIGINT")?,
            hangup: signal(SignalKind::hangup()).context("waiting for SIGHUP")?,
        })
    }

    async fn wait_for_stop(
        mut self,
        audit: &Audit,
        reload: &Reload,
        mut requests: mpsc::Receiver<ReloadRequest>,
    ) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    reopen(audit).await;
                    reload.run();
                }
                () = sleep(REPLACED_PAUSE), if reload.has_replaced() => reload.drop_replaced(),
                Some(request) = requests.recv() => {
                    if request.send(reload.run()).is_err() {
                        tracing::debug!("nobody waits to hear how the reload went");
                    }
                }
            }
        }
    }
}

/// A listener's kind and place, in words.
fn described(kind: &ListenerKind) -> (&'static str, String) {
    let list = |items: Vec<String>| items.join(", ");
    match kind {
        ListenerKind::Transparent {
            interfaces, ports, ..
        } => {
            let ports = ports.iter().map(|port| format!(":{port}")).collect();
            let place = format!("{} on {}", list(ports), interfaces.join(", "));
            ("transparent", place)
        }
        ListenerKind::Published { listen, .. } => {
            let listen = listen.iter().map(ToString::to_string).collect();
            ("published", list(listen))
        }
    }
}

/// Files that are open beside the sockets of sessions, some to spare.
const OTHER_FILES: u64 = 64;

/// How long what runs beside the sessions may take to end once the record is closed.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Between two looks whether sessions still hold rules that were replaced.
const REPLACED_PAUSE: Duration = Duration::from_secs(1);

/// How long opening the record's file again may hold up other signals.
const REOPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// The record goes on in the file that has its name, after a rotation has moved the old one away.
async fn reopen(audit: &Audit) {
    // A disk that hangs must not keep the signals behind this one from being heard.
    match timeout(REOPEN_TIMEOUT, audit.reopen()).await {
        Ok(Ok(())) => tracing::info!("opened the file of the record again"),
        Ok(Err(error)) => tracing::error!("the record stays in the file it was in: {error}"),
        Err(_elapsed) => tracing::error!("the record's file is not opened again so far"),
    }
}

fn firewall_settings(config: &Config) -> firewall::Settings {
    let intercepts = config
        .listeners
        .iter()
        .filter_map(|listener| match &listener.kind {
            ListenerKind::Transparent {
                interfaces,
                ports,
                bind_port,
            } => Some(Intercept {
                interfaces: interfaces.clone(),
                ports: ports.clone(),
                bind_port: *bind_port,
            }),
            ListenerKind::Published { .. } => None,
        })
        .collect();
    firewall::Settings {
        kernel: config.kernel.clone(),
        intercepts,
        windows: config.windows(),
        capacity: config.limits.pinholes,
        pinhole_lifetime: config.limits.pinhole_lifetime,
        servers: published_servers(&config.listeners),
    }
}

/// The servers of a configuration whose clients cannot choose others; empty where they can.
fn published_servers(listeners: &[Listener]) -> BTreeSet<IpAddr> {
    let mut all = BTreeSet::new();
    for listener in listeners {
        match &listener.kind {
            ListenerKind::Published { servers, .. } => {
                all.extend(servers.iter().map(|server| server.ip().to_canonical()));
            }
            ListenerKind::Transparent { .. } => return BTreeSet::new(),
        }
    }
    all
}

/// Two sockets a session and one a pinhole: as many files as the system lets us have.
fn raise_file_limit(sessions: usize) {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit on open files stays at {:?}", limit.current);
    }
    let files = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let wanted = u64::try_from(sessions)
        .unwrap_or(u64::MAX)
        .saturating_mul(2);
    if files < wanted.saturating_add(OTHER_FILES) {
        tracing::warn!(
            "{files} files may be open, too few for {sessions} sessions of two sockets each: raise LimitNOFILE, \
             or lower `limits: sessions`; clients that there is no file for are answered 421"
        );
    }
}

/// A number that differs from run to run: the seconds of the clock are enough for that.
fn random_run() -> u32 {
    let now = SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = now.map_or(0, |since| since.as_secs());
    u32::try_from(seconds & 0x7fff_ffff).unwrap_or(0)
}
