//! What the program gives up, by its configuration: before it reads the first byte of a peer.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use crate::config::{AuditOutput, Config, ListenerKind, ServerSees};
use crate::sandbox::{self, Capabilities, Paths};

/// Gives up, before anything is opened, the files that the configuration does not name, and the
/// capabilities that no start needs.
///
/// # Errors
/// Says what the kernel did not take.
pub(super) fn start(file: &Path, config: &Config) -> anyhow::Result<()> {
    if !config.sandbox {
        tracing::warn!("`sandbox: false`: the program keeps all that its user may do");
        return Ok(());
    }
    let start = Capabilities {
        net_admin: config.needs_kernel(),
        bind_service: true,
        ..while_serving(config)
    };
    sandbox::drop_bounding(start);
    sandbox::keep_only(start)?;
    if let Some(note) = sandbox::restrict_files(&paths(file, config))? {
        tracing::warn!("{note}");
    }
    Ok(())
}

/// Gives up what only the start needed, and all system calls but those that serving takes.
///
/// # Errors
/// Says what the kernel did not take.
pub(super) fn finish(sandbox: &bool, needed: Capabilities) -> anyhow::Result<()> {
    if *sandbox {
        sandbox::keep_only(needed)?;
        sandbox::restrict_calls()?;
    }
    Ok(())
}

/// The capabilities that sessions need themselves.
pub(super) fn while_serving(config: &Config) -> Capabilities {
    // Sockets with the addresses of others: a server's, where its data is relayed, or a client's.
    let others = config.listeners.iter().any(|listener| {
        let transparent = matches!(listener.kind, ListenerKind::Transparent { .. });
        transparent || listener.server_sees == ServerSees::Client
    });
    let raw = Capabilities {
        net_raw: true,
        ..Capabilities::default()
    };
    // Either of the two is enough for the kernel; the lesser one may not have been given.
    let has_raw = sandbox::may_have(raw);
    Capabilities {
        net_raw: others && has_raw,
        net_admin: others && !has_raw,
        dac_override: geteuid().is_root() && written(config).iter().any(|folder| foreign(folder)),
        ..Capabilities::default()
    }
}

fn foreign(folder: &Path) -> bool {
    fs::metadata(folder).is_ok_and(|about| about.uid() != 0)
}

fn paths(file: &Path, config: &Config) -> Paths {
    let mut read: BTreeSet<PathBuf> = BTreeSet::from([folder(file)]);
    for listener in &config.listeners {
        for policy in listener.policies() {
            read.insert(folder(Path::new(policy.file())));
        }
    }
    Paths {
        read: read.into_iter().collect(),
        write: written(config).into_iter().collect(),
    }
}

/// The folders in which the program makes and changes files.
fn written(config: &Config) -> BTreeSet<PathBuf> {
    let audit = &config.audit;
    let lines = match &audit.output {
        AuditOutput::File(path) => Some(path),
        AuditOutput::Stdout => None,
    };
    let store = audit.store.as_ref().map(|store| &store.path);
    let socket = config.admin.socket.as_ref().map(|socket| &socket.path);
    let token = config.admin.page.as_ref().map(|page| &page.token_file);
    let files = [lines, store, socket, token].into_iter().flatten();
    files.map(|file| folder(file)).collect()
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}
