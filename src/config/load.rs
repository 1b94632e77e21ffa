//! Loading: the configuration file and all its policies, with every problem of all of them at once.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::rules::{DataPath, Policy};
use crate::yaml::{self, MAX_FILE, Node, Problem, Problems, Report, Source};

use super::{
    AdminSettings, AuditSettings, Config, Kernel, Limits, Listener, admin, audit, keys, listeners,
    settings,
};

/// Loads a configuration file and the policies it names, and gives the warnings with them.
///
/// `interfaces` are the names that the machine has; listeners may name no others.
///
/// # Errors
/// Gives every problem of the file and of its policies, in the order of files, lines and columns.
pub fn load(path: &Path, interfaces: &BTreeSet<String>) -> Result<(Config, Problems), Problems> {
    let name = path.display().to_string();
    let text = read(path).map_err(|reason| one(Problem::of_file(name.as_str(), reason)))?;
    let source = Arc::new(Source::new(name, text));
    let root = yaml::parse(&source)?;
    let mut loader = Loader {
        report: Report::new(source),
        folder: path.parent().unwrap_or_else(|| Path::new("")).to_owned(),
        interfaces,
    };
    let config = loader.config(&root);
    let failed = loader.report.has_errors();
    let problems = loader.report.finish();
    match config {
        Some(config) if !failed => Ok((config, problems)),
        _ => Err(problems),
    }
}

/// Where a configuration puts what others ask by: the record and the socket.
#[derive(Clone, Debug)]
pub struct Places {
    /// Where the record goes.
    pub audit: AuditSettings,
    /// How it is asked while it runs.
    pub admin: AdminSettings,
}

/// Reads `audit` and `admin` of a configuration file alone: what asks a gate that runs, or its store,
/// works while rules are being edited.
///
/// # Errors
/// Gives every problem of the two sections, or of the file as YAML.
pub fn places(path: &Path) -> Result<Places, Problems> {
    let name = path.display().to_string();
    let text = read(path).map_err(|reason| one(Problem::of_file(name.as_str(), reason)))?;
    let source = Arc::new(Source::new(name, text));
    let root = yaml::parse(&source)?;
    let mut report = Report::new(source);
    let read = report
        .section(&root, "the configuration", &keys::CONFIGURATION)
        .and_then(|mut map| {
            let audit = map.required("audit", &mut report);
            let audit = audit.and_then(|node| audit::read(node, &mut report));
            let admin = match map.optional("admin") {
                Some(node) => admin::read(node, &mut report),
                None => Some(AdminSettings::default()),
            };
            let (audit, admin) = (audit?, admin?);
            Some(Places { audit, admin })
        });
    let failed = report.has_errors();
    match read {
        Some(places) if !failed => Ok(places),
        _ => Err(report.finish()),
    }
}

struct Loader<'a> {
    report: Report,
    /// Where paths in the file begin.
    folder: PathBuf,
    interfaces: &'a BTreeSet<String>,
}

impl Loader<'_> {
    fn config(&mut self, root: &Node) -> Option<Config> {
        let mut map = self
            .report
            .section(root, "the configuration", &keys::CONFIGURATION)?;
        let listeners = map.required("listeners", &mut self.report);
        let limits = match map.optional("limits") {
            Some(node) => settings::limits(node, &mut self.report),
            None => Limits::default(),
        };
        let audit = map
            .required("audit", &mut self.report)
            .and_then(|node| audit::read(node, &mut self.report));
        let admin = match map.optional("admin") {
            Some(node) => admin::read(node, &mut self.report),
            None => Some(AdminSettings::default()),
        };
        let kernel = match map.optional("kernel") {
            Some(node) => settings::kernel(node, &mut self.report),
            None => Kernel::default(),
        };
        map.finish(&mut self.report);
        let listeners = self.listeners(listeners?);
        Some(Config {
            listeners: listeners?,
            limits,
            audit: audit?,
            admin: admin?,
            kernel,
        })
    }

    fn listeners(&mut self, node: &Node) -> Option<Vec<Listener>> {
        let items = self.report.list(node, "`listeners`")?;
        if items.is_empty() {
            let help = "add a listener; without one there is nothing to do";
            let span = node.span.clone();
            self.report
                .error(span, "`listeners` is an empty list", help);
        }
        let written: Vec<listeners::Written<'_>> = items
            .iter()
            .filter_map(|item| listeners::read(item, self.interfaces, &mut self.report))
            .collect();
        listeners::compare(&written, &mut self.report);
        let names: BTreeSet<String> = written
            .iter()
            .filter_map(|listener| listener.name.clone())
            .collect();
        // With a listener unreadable, rules may rightly name what is not in the set.
        let names = (names.len() == items.len()).then_some(names);
        let mut policies = BTreeMap::new();
        let mut usable = Vec::new();
        for listener in written {
            let policy = listener.rules.and_then(|node| {
                let policy = self.policy(node, "`rules`", names.as_ref(), &mut policies)?;
                self.warn_of_no_bound(&policy, listener.data, node);
                Some(policy)
            });
            let mut hosts = BTreeMap::new();
            for (host, node) in listener.hosts {
                let what = format!("the host `{host}`");
                if let Some(policy) = self.policy(node, &what, names.as_ref(), &mut policies) {
                    self.warn_of_no_bound(&policy, listener.data, node);
                    hosts.insert(host, policy);
                }
            }
            if let (Some(name), Some(kind), Some(server_sees), Some(policy)) =
                (listener.name, listener.kind, listener.server_sees, policy)
            {
                usable.push(Listener {
                    name,
                    kind,
                    server_sees,
                    policy,
                    hosts,
                    data: listener.data,
                    convert: listener.convert,
                    nat64: listener.nat64,
                });
            }
        }
        (usable.len() == items.len()).then_some(usable)
    }

    /// Listeners may share a policy file; it is read, and its problems are told, once.
    fn policy(
        &mut self,
        node: &Node,
        what: &str,
        listeners: Option<&BTreeSet<String>>,
        loaded: &mut BTreeMap<PathBuf, Option<Arc<Policy>>>,
    ) -> Option<Arc<Policy>> {
        let text = self.report.text(node, what)?;
        let path = shown(self.folder.join(text));
        if let Some(policy) = loaded.get(&path) {
            return policy.clone();
        }
        let policy = match read(&path) {
            Ok(text) => {
                let source = Arc::new(Source::new(path.display().to_string(), text));
                match Policy::read(&source, listeners) {
                    Ok((policy, warnings)) => {
                        self.report.append(warnings);
                        Some(Arc::new(policy))
                    }
                    Err(problems) => {
                        self.report.append(problems);
                        None
                    }
                }
            }
            Err(reason) => {
                let message = format!("rules file `{}`: {reason}", path.display());
                let help = "paths begin at the folder of this file";
                self.report.error(node.span.clone(), message, help);
                None
            }
        };
        loaded.insert(path, policy.clone());
        policy
    }

    /// The kernel stops no transfer, so that a bound on its bytes needs the relay.
    fn warn_of_no_bound(&mut self, policy: &Policy, data: DataPath, node: &Node) {
        if data == DataPath::Kernel
            && let Some(rule) = policy.bounded_without_relay()
        {
            let message = format!("`max-bytes` of the rule {rule} bounds nothing here");
            let help = "the kernel carries the data and stops no transfer; write `data: relay` in \
                        the listener, or in the rules that allow PORT, EPRT, PASV and EPSV";
            self.report.warn(node.span.clone(), message, help);
        }
    }
}

/// Reads a whole file; the reason why not is in words for the operator.
fn read(path: &Path) -> Result<String, String> {
    let limit = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
    let file = File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut bytes)
        .map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > MAX_FILE {
        return Err(format!("is larger than {MAX_FILE} bytes"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let line = error
            .as_bytes()
            .iter()
            .take(at)
            .filter(|&&b| b == b'\n')
            .count()
            + 1;
        format!("is not UTF-8 text: line {line} has other bytes")
    })
}

/// Takes `folder/..` out of a path, so that messages show it as an operator would write it.
///
/// Where `folder` is a symbolic link that would lead to another file; then the path stays.
fn shown(path: PathBuf) -> PathBuf {
    let mut tidied = PathBuf::new();
    for part in path.components() {
        match (part, tidied.components().next_back()) {
            (Component::CurDir, _) => {}
            (Component::ParentDir, Some(Component::Normal(_))) => {
                tidied.pop();
            }
            _ => tidied.push(part),
        }
    }
    let same = path.canonicalize().ok() == tidied.canonicalize().ok();
    if same { tidied } else { path }
}

fn one(problem: Problem) -> Problems {
    let mut problems = Problems::default();
    problems.push(problem);
    problems
}
