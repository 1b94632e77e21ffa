//! The compiled policy and its verdicts.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::ftp::Verb;
use crate::yaml::{Problems, Source};

use super::compile::Compiled;
use super::index::Index;
use super::rule::{Rule, RuleAction};
use super::when::Clock;
use super::{
    Class, DataPath, Decision, Grants, Loudness, Protocol, Request, RuleName, Tls, TransferMode,
    Verdict, Window, compile,
};

/// A compiled policy; cloning and deciding copy no text.
#[derive(Clone, Debug)]
pub struct Policy {
    protocol: Protocol,
    rules: Arc<[Rule]>,
    index: Arc<Index>,
    uses_paths: bool,
    uses_times: bool,
    built_in: Arc<RuleName>,
    /// What it was compiled from; shows rules as they are written.
    source: Option<Arc<Source>>,
    /// RFC 959 §5.4 gives USER, PASS and ACCT no 550; their refusal is 530.
    denied_login: Arc<str>,
    denied: Arc<str>,
}

impl Policy {
    /// Compiles the text of a policy file; `file` is the name that rules and problems carry.
    ///
    /// # Errors
    /// Gives every problem of the file. Warnings alone are dropped; [`Policy::read`] gives them.
    pub fn parse(file: &str, text: &str) -> Result<Self, Problems> {
        let source = Arc::new(Source::new(file, text));
        Self::read(&source, None).map(|(policy, _warnings)| policy)
    }

    /// Compiles a policy file and gives its warnings; where `listeners` are named, rules may name no others.
    ///
    /// # Errors
    /// Gives every problem of the file, warnings included.
    pub fn read(
        source: &Arc<Source>,
        listeners: Option<&BTreeSet<String>>,
    ) -> Result<(Self, Problems), Problems> {
        let (compiled, warnings) = compile::compile(source, listeners)?;
        let source = Some(Arc::clone(source));
        let policy = Self::new(compiled);
        Ok((Self { source, ..policy }, warnings))
    }

    /// Makes a policy of one built-in rule that allows everything; for tests.
    pub fn allow_all() -> Self {
        let rule = Rule::built_in(built_in("allow-all"), RuleAction::Allow);
        let rules = vec![rule];
        Self::new(Compiled {
            protocol: Protocol::default(),
            index: Index::new(&rules),
            rules,
        })
    }

    fn new(compiled: Compiled) -> Self {
        let Compiled {
            protocol,
            rules,
            index,
        } = compiled;
        Self {
            protocol,
            index: Arc::new(index),
            uses_paths: rules.iter().any(|rule| rule.paths.is_some()),
            uses_times: rules.iter().any(|rule| rule.times.is_some()),
            rules: rules.into(),
            built_in: built_in("default"),
            source: None,
            denied_login: "530 Permission denied by policy".into(),
            denied: "550 Permission denied by policy".into(),
        }
    }

    /// Decides on one command; names exactly one rule, the built-in `default` included.
    pub fn decide(&self, request: &Request<'_>) -> Verdict {
        let class = Class::of(request.verb, request.path.is_some());
        let clock = request.at.map(Clock::at);
        let first = self
            .index
            .candidates(request)
            .filter_map(|place| self.rules.get(place))
            .find(|rule| rule.matches_by(request, class, clock.as_ref()));
        self.verdict(first, request)
    }

    /// The rules as compiled, in the order written.
    pub(super) fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The file it was compiled from.
    pub(super) fn source(&self) -> Option<&Source> {
        self.source.as_deref()
    }

    /// What follows where this rule is the first that matches, or none does.
    pub(super) fn verdict(&self, first: Option<&Rule>, request: &Request<'_>) -> Verdict {
        let Some(rule) = first else {
            return Verdict {
                decision: Decision::Deny(self.refusal(request.verb)),
                rule: Arc::clone(&self.built_in),
                grants: Grants::default(),
                audit: Loudness::default(),
                limit: None,
            };
        };
        let decision = match &rule.action {
            RuleAction::Allow => Decision::Allow,
            RuleAction::Deny(Some(reply)) => Decision::Deny(Arc::clone(reply)),
            RuleAction::Deny(None) => Decision::Deny(self.refusal(request.verb)),
        };
        Verdict {
            decision,
            rule: Arc::clone(&rule.name),
            grants: rule.grants.clone(),
            audit: rule.audit,
            limit: None,
        }
    }

    /// How strictly peers are held to the protocol.
    pub fn protocol(&self) -> &Protocol {
        &self.protocol
    }

    /// The names of its rules in the order written, the built-in one aside.
    pub fn rule_names(&self) -> impl Iterator<Item = &Arc<RuleName>> {
        self.rules.iter().map(|rule| &rule.name)
    }

    /// Its rules in the order written, each with whether it allows; the built-in one aside.
    pub fn actions(&self) -> impl Iterator<Item = (&Arc<RuleName>, bool)> {
        let allows = |rule: &Rule| rule.action == RuleAction::Allow;
        self.rules
            .iter()
            .map(move |rule| (&rule.name, allows(rule)))
    }

    /// The file it was read from, as it was named; `built-in` for one that was not read.
    pub fn file(&self) -> &str {
        self.source.as_deref().map_or("built-in", Source::name)
    }

    /// Whether any rule looks at paths, so that the session's directory must be known.
    pub fn uses_paths(&self) -> bool {
        self.uses_paths
    }

    /// Whether any rule looks at the time, so that it must be known.
    pub fn uses_times(&self) -> bool {
        self.uses_times
    }

    /// The windows that its rules open beside TLS, sorted, each once.
    pub fn windows(&self) -> Vec<Window> {
        let windows = self.rules.iter().filter_map(|rule| match &rule.grants.tls {
            Tls::Window(window) => Some(window.clone()),
            Tls::Refuse | Tls::Pass => None,
        });
        let windows: BTreeSet<Window> = windows.collect();
        windows.into_iter().collect()
    }

    /// Whether a rule asks for the kernel by name: `data: kernel`, or a window beside TLS.
    pub fn asks_for_kernel(&self) -> bool {
        self.rules.iter().any(|rule| {
            rule.grants.data == Some(DataPath::Kernel) || matches!(rule.grants.tls, Tls::Window(_))
        })
    }

    /// The first rule that bounds bytes, where no rule has the data go by the relay, which alone
    /// can stop a transfer: then the listener has to. A bound in a rule that allows announcements
    /// brings the relay with it.
    pub fn bounded_without_relay(&self) -> Option<&RuleName> {
        let announces = |rule: &Rule| {
            let mut verbs = Verb::KNOWN.iter();
            verbs.any(|verb| TransferMode::of(verb).is_some() && rule.can_match(verb))
        };
        let bounds = |rule: &&Rule| rule.grants.max_bytes.is_some();
        let relays = |rule: &Rule| {
            rule.grants.data == Some(DataPath::Relay) || (bounds(&rule) && announces(rule))
        };
        match self.rules.iter().any(relays) {
            true => None,
            false => self.rules.iter().find(bounds).map(|rule| &*rule.name),
        }
    }

    fn refusal(&self, verb: &Verb) -> Arc<str> {
        let login = matches!(verb, Verb::User | Verb::Pass | Verb::Acct);
        Arc::clone(if login {
            &self.denied_login
        } else {
            &self.denied
        })
    }
}

fn built_in(id: &str) -> Arc<RuleName> {
    Arc::new(RuleName {
        id: id.to_owned(),
        at: "built-in".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse("edge.yaml", text).unwrap_or_else(|problems| panic!("{problems}"))
    }

    fn request<'a>(verb: &'a Verb, path: Option<&'a str>) -> Request<'a> {
        Request {
            user: Some("upload-7"),
            path: path.map(str::as_bytes),
            ..Request::new("lan", [10, 0, 0, 1].into(), [192, 0, 2, 1].into(), verb)
        }
    }

    fn deciding(policy: &Policy, request: &Request<'_>) -> (String, Decision) {
        let verdict = policy.decide(request);
        (verdict.rule.id.clone(), verdict.decision)
    }

    #[test]
    fn the_first_match_decides_and_names_its_line() {
        let policy = policy(
            "rules:\n  - id: no-exe\n    deny: 553 No programs\n    path: '*.exe'\n  - id: rest\n    allow: true\n",
        );
        let verdict = policy.decide(&request(&Verb::Retr, Some("/a.exe")));
        assert_eq!(verdict.decision, Decision::Deny("553 No programs".into()));
        assert_eq!(verdict.rule.to_string(), "no-exe (edge.yaml:2)");
        assert_eq!(
            deciding(&policy, &request(&Verb::Retr, Some("/a.txt"))),
            ("rest".into(), Decision::Allow)
        );
    }

    #[test]
    fn no_match_is_denied_by_the_built_in_rule() {
        let policy = policy("rules:\n  - { id: a, allow: true, client: 192.0.2.0/24 }\n");
        assert_eq!(
            deciding(&policy, &request(&Verb::Retr, None)),
            (
                "default".into(),
                Decision::Deny("550 Permission denied by policy".into())
            )
        );
        let verdict = policy.decide(&request(&Verb::User, None));
        assert_eq!(
            verdict.decision,
            Decision::Deny("530 Permission denied by policy".into())
        );
        assert_eq!(verdict.rule.at, "built-in");
    }

    #[test]
    fn a_user_rule_waits_for_user_and_a_path_rule_for_a_path() {
        let policy = policy(
            "rules:\n  - { id: u, allow: true, user: 'upload-*', path: /in/** }\n  - { id: l, allow: true, user: upload-7 }\n",
        );
        let mut asked = request(&Verb::Stor, Some("/in/a"));
        assert_eq!(deciding(&policy, &asked).0, "u");
        asked.path = None;
        assert_eq!(deciding(&policy, &asked).0, "l");
        asked.user = None;
        assert_eq!(deciding(&policy, &asked).0, "default");
        assert!(policy.uses_paths());
    }

    #[test]
    fn a_path_of_unknown_folder_is_covered_by_a_deny_and_not_by_an_allow() {
        let policy = policy(
            "rules:\n  - { id: secret, deny: true, command: RETR, path: /secret/** }\n  - { id: pub, allow: true, path: /pub/** }\n  - { id: text, allow: true, path: '*.txt' }\n",
        );
        assert_eq!(
            deciding(&policy, &request(&Verb::Retr, Some("a.txt"))).0,
            "secret"
        );
        assert_eq!(
            deciding(&policy, &request(&Verb::Stor, Some("a.txt"))).0,
            "text"
        );
    }

    #[test]
    fn groups_listeners_and_port_20_are_looked_at() {
        let policy = policy(
            "groups: { partners: [10.0.0.0/24, '2001:db8::/32'] }\nrules:\n  - { id: p, allow: true, client: partners, server: 192.0.2.1, listener: [dmz, lan], source-port-20: true }\n",
        );
        let mut asked = request(&Verb::Retr, None);
        assert!(policy.decide(&asked).grants.source_port_20);
        asked.listener = "wan";
        assert_eq!(deciding(&policy, &asked).0, "default");
        asked.listener = "dmz";
        asked.client = "2001:db8::9".parse().unwrap();
        assert_eq!(deciding(&policy, &asked).0, "p");
        asked.server = [192, 0, 2, 2].into();
        assert_eq!(deciding(&policy, &asked).0, "default");
    }

    #[test]
    fn the_order_written_holds_across_conditions_of_different_kinds() {
        let policy = policy(
            "rules:\n  - { id: a, deny: true, server: 192.0.2.0/24, command: DELE }\n  - { id: b, deny: true, user: upload-7, command: [DELE, STOR] }\n  - { id: c, deny: true, client: 10.0.0.1, command: [STOR, RETR] }\n  - { id: d, allow: true, client: [10.0.0.0/8, 10.0.0.1] }\n",
        );
        for (verb, id) in [
            (Verb::Dele, "a"),
            (Verb::Stor, "b"),
            (Verb::Retr, "c"),
            (Verb::List, "d"),
        ] {
            assert_eq!(deciding(&policy, &request(&verb, None)).0, id);
        }
    }

    #[test]
    fn p26_a_foreign_address_is_allowed_only_by_a_rule_that_names_it() {
        let policy = policy(
            "groups: { partners: [203.0.113.0/24, '2001:db8::/32'] }\nrules:\n  - { id: no-eprt, deny: true, client: 10.9.0.0/16 }\n  - { id: all, allow: true }\n  - { id: fxp, allow: true, fxp: partners }\n  - { id: rest, deny: 500 No FXP here, command: [data] }\n",
        );
        let mut asked = request(&Verb::Port, None);
        assert_eq!(deciding(&policy, &asked).0, "all");
        asked.foreign = Some([203, 0, 113, 9].into());
        assert_eq!(deciding(&policy, &asked), ("fxp".into(), Decision::Allow));
        asked.foreign = Some("2001:db8::9".parse().unwrap());
        assert_eq!(deciding(&policy, &asked).0, "fxp");
        asked.foreign = Some([192, 0, 2, 9].into());
        let refused = Decision::Deny("500 No FXP here".into());
        assert_eq!(deciding(&policy, &asked), ("rest".into(), refused));
        asked.client = [10, 9, 0, 1].into();
        assert_eq!(deciding(&policy, &asked).0, "no-eprt");
    }

    #[test]
    fn p26_no_rule_for_a_foreign_address_is_a_deny() {
        let policy = policy(
            "rules:\n  - { id: other, allow: true, fxp: 192.0.2.0/24, client: 10.0.0.2 }\n  - { id: all, allow: true }\n",
        );
        let mut asked = request(&Verb::Port, None);
        asked.foreign = Some([192, 0, 2, 9].into());
        assert_eq!(deciding(&policy, &asked).0, "default");
        asked.client = [10, 0, 0, 2].into();
        assert_eq!(deciding(&policy, &asked).0, "other");
        asked.foreign = None;
        assert_eq!(deciding(&policy, &asked).0, "all");
    }

    #[test]
    fn windows_come_sorted_and_each_once() {
        let policy = policy(
            "rules:\n  - { id: a, allow: true, server: 192.0.2.1, tls: { window: { ports: 50000-50100 } } }\n  - { id: b, allow: true, server: 192.0.2.2, tls: { window: { ports: 2000, at-most: 9 } } }\n  - { id: c, allow: true, tls: { window: { ports: 50000-50100, at-most: 4 } } }\n",
        );
        let shown = policy.windows();
        let shown: Vec<_> = shown.iter().map(|w| (w.ports(), w.at_most)).collect();
        assert_eq!(shown, [(2000..=2000, 9), (50000..=50100, 4)]);
        assert!(policy.asks_for_kernel());
        assert!(!Policy::allow_all().asks_for_kernel());
    }

    #[test]
    fn allow_all_allows_all() {
        let verb = Verb::parse("XYZZY");
        let verdict = Policy::allow_all().decide(&request(&verb, None));
        assert_eq!(verdict.decision, Decision::Allow);
        assert!(!Policy::allow_all().uses_paths());
    }
}
