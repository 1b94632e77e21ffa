//! What an allowing rule grants: TLS, who carries the data, masks, size, source port.

use std::ops::Range;
use std::sync::Arc;

use crate::ftp::Verb;
use crate::yaml::{Map, Node, Value, nearest, quoted};

use super::super::keys;
use super::super::rule::Rule;
use super::super::text::reply_text;
use super::super::{DataPath, FIRST_PORT, Grants, Mask, Tls, Window};
use super::Compiler;

/// Connections through a window at one time where none is written.
const WINDOW_AT_MOST: u16 = 4;

/// Bytes of a feature's name at most; the longest registered one has 7.
const MAX_FEATURE: usize = 32;

/// Features that bear no command's name (RFC 2640, RFC 3659).
const FEATURES: [&str; 2] = ["UTF8", "TVFS"];

/// Commands whose replies say what clients need to read: addresses, paths, sizes, times.
const TELLING: [Verb; 9] = [
    Verb::Pasv,
    Verb::Epsv,
    Verb::Pwd,
    Verb::Mkd,
    Verb::Stou,
    Verb::Size,
    Verb::Mdtm,
    Verb::Mlst,
    Verb::Feat,
];

/// Commands that announce a data connection, and for which `data` is looked at.
const ANNOUNCING: [Verb; 4] = [Verb::Port, Verb::Eprt, Verb::Pasv, Verb::Epsv];

/// The same and the commands with a data connection, for which `max-bytes` is looked at.
const CARRYING: [Verb; 11] = [
    Verb::Port,
    Verb::Eprt,
    Verb::Pasv,
    Verb::Epsv,
    Verb::Retr,
    Verb::Stor,
    Verb::Stou,
    Verb::Appe,
    Verb::List,
    Verb::Nlst,
    Verb::Mlsd,
];

/// What a rule grants, and the places of the keys that say so.
#[derive(Debug, Default)]
pub(super) struct Granted {
    pub(super) grants: Grants,
    keys: Vec<(&'static str, Range<usize>)>,
}

impl Granted {
    /// Notes a key that is read elsewhere.
    pub(super) fn note(&mut self, name: &'static str, written: Option<(&Node, &Node)>) {
        let noted = written.map(|(key, _)| (name, key.span.clone()));
        self.keys.extend(noted);
    }

    fn at(&self, key: &str) -> Option<Range<usize>> {
        let written = self.keys.iter().find(|(name, _)| *name == key);
        written.map(|(_, span)| span.clone())
    }
}

impl Compiler<'_> {
    /// Reads everything that only an allowing rule may say; of `fxp`, which is a condition, only the
    /// key is noted.
    pub(super) fn grants(&mut self, map: &mut Map<'_>, fxp: Option<(&Node, &Node)>) -> Granted {
        let mut granted = Granted::default();
        granted.note("fxp", fxp);
        let mut take = |name: &'static str| {
            let (key, node) = map.keyed(name)?;
            granted.keys.push((name, key.span.clone()));
            Some(node)
        };
        let port_20 = take("source-port-20");
        let tls = take("tls");
        let data = take("data");
        let max_bytes = take("max-bytes");
        let text = take("mask-text");
        let features = take("hide-features");
        let port_20 = port_20.and_then(|node| self.report.boolean(node, "`source-port-20`"));
        if port_20 != Some(true) {
            granted.keys.retain(|(name, _)| *name != "source-port-20");
        }
        let mask = Mask {
            text: text
                .and_then(|node| reply_text(node, "`mask-text`", &mut self.report))
                .map(str::to_owned),
            hidden_features: features.map(|n| self.features(n)).unwrap_or_default(),
        };
        granted.grants = Grants {
            source_port_20: port_20.unwrap_or_default(),
            tls: tls.and_then(|node| self.tls(node)).unwrap_or_default(),
            data: data.and_then(|node| self.report.choice(node, "`data`", &DataPath::NAMED)),
            mask: (mask != Mask::default()).then(|| Arc::new(mask)),
            max_bytes: max_bytes.and_then(|node| self.report.size(node, "`max-bytes`")),
            limits: None,
        };
        granted
    }

    /// Notes what a denying rule says of data and replies that there will not be.
    pub(super) fn refuse_grants(&mut self, granted: &Granted) {
        for (name, span) in &granted.keys {
            let help = match *name {
                "source-port-20" => "it is a condition on data connections that a rule allows",
                "fxp" => "what no rule allows by `fxp` is denied; take the key out",
                "limits" => "what is denied needs no limit; write it in the rule that allows",
                _ => "it says how an allowed command is carried out; take it out",
            };
            let message = format!("`{name}` in a rule that denies");
            self.report.error(span.clone(), message, help);
        }
    }

    /// Warns of keys that nothing the rule allows will ever ask for.
    pub(super) fn warn_of_idle_grants(&mut self, rule: &Rule, granted: &Granted) {
        let asks = |verbs: &[Verb]| verbs.iter().any(|verb| rule.can_match(verb));
        let idle: [(&str, &[Verb], &str); 5] = [
            (
                "fxp",
                &[Verb::Port, Verb::Eprt],
                "PORT and EPRT announce addresses; add them, or the class `data`, to `command`",
            ),
            (
                "tls",
                &[Verb::Auth],
                "AUTH asks for TLS; add it, or the class `security`, to `command`",
            ),
            (
                "data",
                &ANNOUNCING,
                "PORT, EPRT, PASV and EPSV begin data connections; add them, or the class `data`, to `command`",
            ),
            (
                "max-bytes",
                &CARRYING,
                "these announce or begin transfers; add the class `data`, `list`, `read` or `write` to `command`",
            ),
            (
                "hide-features",
                &[Verb::Feat],
                "FEAT lists features; add it, or the class `session`, to `command`",
            ),
        ];
        for (name, verbs, help) in idle {
            if let Some(span) = granted.at(name)
                && !asks(verbs)
            {
                let names: Vec<&str> = verbs.iter().map(Verb::as_str).collect();
                let names = names.join(", ");
                let message = format!("`{name}` in a rule that does not match {names}");
                self.report.warn(span, message, help);
            }
        }
        if let Some(span) = granted.at("max-bytes")
            && granted.grants.data == Some(DataPath::Kernel)
        {
            let message = "`max-bytes` bounds nothing with `data: kernel`";
            let help = "only the relay can stop a transfer; write `data: relay`";
            self.report.warn(span, message, help);
        }
        if let Some(span) = granted.at("mask-text")
            && let Some(verb) = TELLING.iter().find(|verb| rule.can_match(verb))
        {
            let message = format!("`mask-text` in a rule that matches {verb}");
            let help =
                "clients read that reply; name the commands to mask in `command`, such as SYST";
            self.report.warn(span, message, help);
        }
    }

    fn tls(&mut self, node: &Node) -> Option<Tls> {
        if !matches!(node.value, Value::Map(_)) {
            let text = self.report.text(node, "`tls`")?;
            let words = [("refuse", Tls::Refuse), ("pass", Tls::Pass)];
            if let Some((_, tls)) = words.iter().find(|(word, _)| *word == text) {
                return Some(tls.clone());
            }
            let near = nearest(text, words.iter().map(|(word, _)| *word));
            let near = near.map(|near| format!("did you mean `{near}`? "));
            let help = near.unwrap_or_default()
                + "possible: refuse, pass, or { window: { ports: 50000-50100, at-most: 4 } }";
            let message = format!("`tls` cannot be {}", quoted(text));
            self.report.error(node.span.clone(), message, help);
            return None;
        }
        let mut map = self.report.section(node, "`tls`", &keys::TLS)?;
        let window = map.required("window", &mut self.report);
        map.finish(&mut self.report);
        self.window(window?).map(Tls::Window)
    }

    fn window(&mut self, node: &Node) -> Option<Window> {
        let mut map = self.report.section(node, "`window`", &keys::WINDOW)?;
        let ports = map.required("ports", &mut self.report);
        let written = map.has("at-most");
        let at_most = map.integer("at-most", &mut self.report);
        map.finish(&mut self.report);
        let at_most = match written {
            true => at_most.and_then(|number| u16::try_from(number).ok()),
            false => Some(WINDOW_AT_MOST),
        };
        let ports = self.report.ports(ports?, "`ports`", FIRST_PORT)?;
        Some(Window {
            first: *ports.start(),
            last: *ports.end(),
            at_most: at_most?,
        })
    }

    /// Names of features, in upper case and each once.
    fn features(&mut self, node: &Node) -> Vec<String> {
        let mut features: Vec<String> = Vec::new();
        for item in self.report.one_or_many(node, "`hide-features`") {
            let Some(text) = self.report.text(item, "`hide-features`") else {
                continue;
            };
            let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
            if !plain || text.len() > MAX_FEATURE {
                let message = format!("{} cannot be the name of a feature", quoted(text));
                let help = format!(
                    "write the first word of its line in the reply to FEAT, such as MLST; {MAX_FEATURE} bytes at most"
                );
                self.report.error(item.span.clone(), message, help);
                continue;
            }
            let name = text.to_ascii_uppercase();
            let known = || Verb::KNOWN.iter().map(Verb::as_str).chain(FEATURES);
            if !known().any(|known| known == name)
                && let Some(near) = nearest(&name, known())
            {
                let message = format!("{} is no feature that portcullis knows", quoted(text));
                let help =
                    format!("did you mean `{near}`? another name is hidden as it is written");
                self.report.warn(item.span.clone(), message, help);
            }
            if !features.contains(&name) {
                features.push(name);
            }
        }
        features
    }
}
