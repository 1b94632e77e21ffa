//! Puts table, policy routing and kernel settings in place, and takes away what is portcullis's own.

use std::fs;
use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use rustix::io::Errno;

use super::privilege::{nft_program, not_permitted, share_with_children};
use super::wire::Connection;
use super::{FirewallError, Settings, routing, ruleset};
use crate::config::Kernel;

/// The longest interface name, IFNAMSIZ less its NUL.
const MAX_INTERFACE_NAME: usize = 15;
/// The longest table name taken here; the kernel takes 255.
const MAX_TABLE_NAME: usize = 64;

/// What [`install`] put in place. Dropping it leaves all there; [`Installed::remove`] takes it away.
#[derive(Debug)]
pub struct Installed {
    kernel: Kernel,
    notes: Vec<String>,
}

/// Puts the table, the policy routing and the kernel settings in place; what an earlier run left is
/// replaced. Runs `nft` and waits for it: call it before the process gives up the right to run programs.
///
/// # Errors
/// Any [`FirewallError`]; then nothing of it stays.
pub fn install(settings: &Settings) -> Result<Installed, FirewallError> {
    check_names(settings)?;
    let mut notes = Vec::new();
    let kernel = &settings.kernel;
    if let Err(error) =
        routing::add(kernel, &mut notes).and_then(|()| load(&kernel.table, &ruleset(settings)))
    {
        // The first error is the one worth telling.
        let _ = routing::remove(kernel);
        return Err(error);
    }
    // Behind the table, whose rules load connection tracking where it is a module.
    count_connections(&mut notes);
    Ok(Installed {
        kernel: kernel.clone(),
        notes,
    })
}

impl Installed {
    /// What was changed or could not be had outside the table, each in a sentence for the operator.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Removes table and policy routing; what is absent is not missed. Kernel settings stay, since others
    /// may count on them. Runs no program.
    ///
    /// # Errors
    /// [`FirewallError::Netlink`] and [`FirewallError::Routing`], after trying both.
    pub fn remove(self) -> Result<(), FirewallError> {
        let table = Connection::open(&self.kernel.table)
            .and_then(|mut connection| connection.delete_table());
        let routes = routing::remove(&self.kernel);
        match table {
            Err(source) if Errno::from_io_error(&source) != Some(Errno::NOENT) => {
                return Err(FirewallError::Netlink {
                    doing: "delete the nftables table",
                    source,
                });
            }
            _ => {}
        }
        routes.map_err(|source| FirewallError::Routing {
            doing: "remove rule and local route",
            table: self.kernel.routing_table,
            source,
        })
    }
}

fn check_names(settings: &Settings) -> Result<(), FirewallError> {
    let table = &settings.kernel.table;
    let mut characters = table.chars();
    let usable = table.len() <= MAX_TABLE_NAME
        && characters
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic())
        && characters.all(|next| next.is_ascii_alphanumeric() || next == '_' || next == '-');
    if !usable {
        return Err(FirewallError::UnusableName {
            what: "the table name",
            name: table.clone(),
            limit: MAX_TABLE_NAME,
            allowed: "ASCII letters, digits, `_` and `-`, a letter first",
        });
    }
    let interfaces = settings
        .intercepts
        .iter()
        .flat_map(|intercept| &intercept.interfaces);
    for name in interfaces {
        let usable = (1..=MAX_INTERFACE_NAME).contains(&name.len())
            && name
                .chars()
                .all(|next| next.is_ascii_graphic() && !matches!(next, '"' | '\\' | '/' | '*'));
        if !usable {
            return Err(FirewallError::UnusableName {
                what: "the interface name",
                name: name.clone(),
                limit: MAX_INTERFACE_NAME,
                allowed: "printable ASCII without space, quotation mark, slashes and `*`",
            });
        }
    }
    Ok(())
}

/// Feeds `text` to `nft -f -`.
fn load(table: &str, text: &str) -> Result<(), FirewallError> {
    let run = |source| FirewallError::Netlink {
        doing: "run nft",
        source,
    };
    let program = nft_program().ok_or(FirewallError::NftMissing)?;
    share_with_children();
    let child = Command::new(program)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(FirewallError::NftMissing);
        }
        Err(error) => return Err(run(error)),
    };
    // nft reads all before it writes anything; where it ends early, its stderr says why.
    if let Some(mut stdin) = child.stdin.take() {
        let _ = stdin.write_all(text.as_bytes());
    }
    let output = child.wait_with_output().map_err(run)?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if stderr.contains("Operation not permitted") {
        return Err(not_permitted(table));
    }
    Err(FirewallError::NftRefused {
        table: table.to_owned(),
        stderr,
    })
}

/// Byte counts and times of data connections come from connection tracking, which keeps them only when
/// told to.
fn count_connections(notes: &mut Vec<String>) {
    for (name, without) in [
        ("nf_conntrack_acct", "records lack the bytes of transfers"),
        (
            "nf_conntrack_timestamp",
            "the duration of transfers is measured by portcullis",
        ),
    ] {
        let path = format!("/proc/sys/net/netfilter/{name}");
        let was = fs::read_to_string(&path).map(|value| value.trim().to_owned());
        match was {
            Ok(value) if value == "1" => {}
            Ok(value) => notes.push(match fs::write(&path, "1") {
                Ok(()) => format!("set net.netfilter.{name} to 1 (it was {value})"),
                Err(error) => {
                    format!("could not set net.netfilter.{name} to 1 ({error}): {without}")
                }
            }),
            Err(error) => notes.push(format!(
                "could not read net.netfilter.{name} ({error}): {without}"
            )),
        }
    }
    let events = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_events");
    if events.is_ok_and(|value| value.trim() == "0") {
        notes.push(
            "net.netfilter.nf_conntrack_events is 0: the end of transfers is not seen; set it to 2"
                .to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firewall::Intercept;

    fn settings(table: &str, interface: &str) -> Settings {
        Settings {
            kernel: Kernel {
                table: table.into(),
                ..Kernel::default()
            },
            intercepts: vec![Intercept {
                interfaces: vec![interface.into()],
                ports: vec![21],
                bind_port: 2121,
            }],
            windows: Vec::new(),
            capacity: 10,
            pinhole_lifetime: std::time::Duration::from_secs(60),
            servers: std::collections::BTreeSet::new(),
        }
    }

    #[test]
    fn refuses_names_that_would_end_a_ruleset_statement() {
        assert!(check_names(&settings("gate-2", "eth0.100")).is_ok());
        for (table, interface) in [
            ("gate { }", "eth0"),
            ("", "eth0"),
            ("2gate", "eth0"),
            ("gate", "eth0\" drop"),
            ("gate", ""),
            ("gate", "eth*"),
            ("gate", "a-name-of-sixteen"),
        ] {
            assert!(
                check_names(&settings(table, interface)).is_err(),
                "{table:?} {interface:?}"
            );
        }
    }
}
