//! `portcullis run`: privileges, listeners, kernel, sessions, and everything taken back at the end.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, anyhow};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use crate::admin::{Admin, ListenerView, MAX_RELOADS, ReloadRequest, Sources};
use crate::audit::Audit;
use crate::config::{Config, Kernel, ListenerKind};
use crate::conntrack::{self, Watcher};
use crate::firewall::{self, Firewall, Healer, Installed, Intercept};
use crate::monitor::Monitor;
use crate::net::Ports;
use crate::proxy::{Flows, Gate, KernelSide, Parts, Shared};

use super::reload::Reload;

/// Serves until a signal says stop.
///
/// # Errors
/// Says what is missing or taken; nothing is left in the kernel.
pub(super) fn run(file: &Path, config: Config) -> anyhow::Result<()> {
    if config.needs_kernel()
        && let Some(missing) = firewall::missing_privilege()
    {
        return Err(anyhow!(missing));
    }
    raise_file_limit();
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("portcullis")
        .build()
        .context("starting the runtime")?;
    let ended = runtime.block_on(serve(file, config));
    // A question to the store may still run; it is not waited for.
    runtime.shutdown_timeout(STOP_TIMEOUT);
    ended
}

/// How long what runs beside the sessions may take to end once the record is closed.
const STOP_TIMEOUT: Duration = Duration::from_secs(1);

async fn serve(file: &Path, config: Config) -> anyhow::Result<()> {
    let settings = config.needs_kernel().then(|| firewall_settings(&config));
    let ports = Ports::new(config.kernel.data_ports.clone());
    let windows = config.windows();
    let (stop, stopping) = watch::channel(false);
    // Before anything is in the kernel: a signal that nobody takes would leave it there.
    let signals = Signals::take()?;
    let audit = Audit::open(&config.audit).context("opening the record")?;

    // Listeners first: a second portcullis fails here, before it touches the table of the first.
    let mut gates = Vec::new();
    let mut views = Vec::new();
    let mut reload = Reload::new(file, &config);
    for listener in config.listeners {
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
    let admin = Admin::bind(&config.admin)?;
    let monitor = Arc::new(Monitor::new(SystemTime::now(), &config.limits));
    let (reloads, mut reload_requests) = mpsc::channel(MAX_RELOADS);
    let sources = Sources {
        monitor: Arc::clone(&monitor),
        audit: audit.clone(),
        store: config.audit.store.map(|store| store.path),
        listeners: views,
        rules_loaded: reload.last(),
        reloads,
    };
    let flows = Arc::new(Flows::default());
    let kernel = settings
        .map(|settings| Held::set_up(settings, &flows))
        .transpose()?;
    let (held, kernel) = kernel.unzip();
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
    }));

    let mut serving = JoinSet::new();
    serving.spawn(admin.serve(sources, stopping));
    for gate in gates {
        serving.spawn(gate.serve(Arc::clone(&shared)));
    }
    tracing::info!("ready");
    signals
        .wait_for_stop(&audit, &reload, &mut reload_requests)
        .await;
    if stop.send(true).is_err() {
        tracing::debug!("nobody was left to stop");
    }
    while serving.join_next().await.is_some() {}
    drop(shared);
    if let Some(held) = held {
        held.take_down().await;
    }
    audit.finish().await.context("closing the record")?;
    tracing::info!("stopped");
    Ok(())
}

/// What is in the kernel as long as portcullis runs.
struct Held {
    installed: Installed,
    healer: Healer,
    healing: JoinHandle<()>,
}

impl Held {
    /// Puts table and routing in place, and starts what talks to the kernel while sessions run.
    fn set_up(
        settings: firewall::Settings,
        flows: &Arc<Flows>,
    ) -> anyhow::Result<(Self, KernelSide)> {
        let installed = firewall::install(&settings).context("setting up the kernel")?;
        for note in installed.notes() {
            tracing::info!("{note}");
        }
        let (firewall, watcher) = match kernel_threads(&settings.kernel, flows) {
            Ok(threads) => threads,
            Err(error) => {
                take_down(installed);
                return Err(error);
            }
        };
        let healer = Healer::new(settings);
        let firewall = firewall.healed_by(healer.clone());
        let healing = tokio::spawn({
            let healer = healer.clone();
            async move { healer.watch().await }
        });
        Ok((
            Self {
                installed,
                healer,
                healing,
            },
            KernelSide { firewall, watcher },
        ))
    }

    async fn take_down(self) {
        // Before the table goes, or it would come back.
        self.healing.abort();
        self.healer.stop().await;
        take_down(self.installed);
    }
}

/// Starts what talks to the kernel while sessions run.
fn kernel_threads(kernel: &Kernel, flows: &Arc<Flows>) -> anyhow::Result<(Firewall, Watcher)> {
    let firewall = Firewall::start(kernel).context("starting the firewall's thread")?;
    let flows = Arc::clone(flows);
    let watcher = conntrack::watch(kernel.connection_mark, move |event| {
        flows.handle_event(event)
    })
    .context("following data connections")?;
    Ok((firewall, watcher))
}

fn take_down(installed: Installed) {
    if let Err(error) = installed.remove() {
        tracing::error!("the kernel still holds something of portcullis: {error}");
    }
}

/// The signals that are for portcullis; from the moment this exists they end nothing by themselves.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
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
        requests: &mut mpsc::Receiver<ReloadRequest>,
    ) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {
                    reopen(audit).await;
                    reload.run();
                }
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
    }
}

/// Two sockets a session and one a pinhole: as many files as the system lets us have.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit on open files stays at {:?}", limit.current);
    }
}

/// A number that differs from run to run: the seconds of the clock are enough for that.
fn random_run() -> u32 {
    let now = SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seconds = now.map_or(0, |since| since.as_secs());
    u32::try_from(seconds & 0x7fff_ffff).unwrap_or(0)
}
