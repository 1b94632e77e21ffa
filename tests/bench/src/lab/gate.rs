//! portcullis on the edge, as it ships: the policy for such an edge, the record in a file and a store on a disk,
//! the sandbox on. Only the limits are raised, which else would turn the load away.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::{Lab, Process, System};

/// What differs from [`Setting::default`] in some measurements.
#[derive(Clone, Debug, Default)]
pub struct Setting {
    /// Another policy than `rules/active-clients.yaml`.
    pub rules: Option<PathBuf>,
    /// `server-sees: client` instead of `edge`.
    pub sees_client: bool,
}

/// Limits no measurement comes near.
const LIMITS: &str = "{ sessions: 1000000, sessions-per-client: 1000000, session-rate: 1000000/s, \
                      session-rate-per-client: 1000000/s, pinholes-per-client: 10000, idle-timeout: 1h }";

/// Starts it and waits until it is ready; gives how long that took from the moment it was started.
pub(super) fn start(lab: &Lab, setting: &Setting) -> anyhow::Result<(Process, Duration)> {
    let data = match lab.system {
        System::PortcullisRelay => {
            lab.topology("relay")?;
            "relay"
        }
        _ => "kernel",
    };
    let shipped = lab.places.repository.join("rules/active-clients.yaml");
    let rules = setting.rules.as_ref().unwrap_or(&shipped);
    let sees = if setting.sees_client {
        "client"
    } else {
        "edge"
    };
    let (record, rules) = (lab.disk.display(), rules.display());
    let text = format!(
        "listeners:\n  - name: lan\n    transparent: {{ interfaces: [lan0] }}\n    server-sees: {sees}\n    \
         rules: {rules}\n    data: {data}\nlimits: {LIMITS}\n\
         audit: {{ output: {record}/eve.json, store: {record}/audit.db }}\n\
         admin: {{ socket: {record}/admin.sock, page: '127.0.0.1:8021', token-file: {record}/page.token }}\n"
    );
    let config = lab.disk.join("portcullis.yaml");
    std::fs::write(&config, text)?;
    let mut command = lab.command(&lab.edge, &lab.places.portcullis);
    command.args(["run", "--config"]).arg(&config);
    let began = Instant::now();
    let process = Process::start("portcullis", &mut command)?;
    let (ready, _) = process.wait_for(" ready")?;
    Ok((process, ready - began))
}
