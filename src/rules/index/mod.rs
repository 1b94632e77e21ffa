//! Finds the rules that may match a request without looking at all the others.
//!
//! Every rule stands under the keys of one of its conditions: the one whose keys the fewest rules
//! share. A request is looked up by its own keys, so that rules which differ in any indexed condition
//! do not cost one another. The candidates come in the order written.

mod keys;
mod lists;

use super::Request;
use super::rule::Rule;
use keys::{Counts, Key};
use lists::{ByNetwork, ByText, Found};

/// Places of rules in a policy, under the condition that tells them apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    by_client: ByNetwork,
    by_server: ByNetwork,
    by_foreign: ByNetwork,
    by_listener: ByText,
    by_host: ByText,
    by_user: ByText,
    by_path: ByText,
    by_command: keys::ByCommand,
    /// Denying rules under a path from the root: a path of unknown folder may be theirs.
    by_unknown_folder: Vec<usize>,
    others: Vec<usize>,
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let conditions: Vec<_> = rules.iter().map(keys::conditions).collect();
        let counts = Counts::new(&conditions);
        let mut index = Self::default();
        for (place, (rule, conditions)) in rules.iter().zip(&conditions).enumerate() {
            let keys = counts.best(conditions);
            if keys.is_empty() {
                index.others.push(place);
            }
            let mut from_root = false;
            for key in keys {
                match key {
                    Key::Client(net) => index.by_client.add(*net, place),
                    Key::Server(net) => index.by_server.add(*net, place),
                    Key::Foreign(net) => index.by_foreign.add(*net, place),
                    Key::Listener(text) => index.by_listener.add(*text, place),
                    Key::Host(text) => index.by_host.add(*text, place),
                    Key::User(text) => index.by_user.add(*text, place),
                    Key::Path(text) => {
                        index.by_path.add(*text, place);
                        from_root = true;
                    }
                    Key::Command(command) => index.by_command.add(command, place),
                }
            }
            if from_root && !rule.allows() {
                let mut paths = rule.paths.iter().flatten();
                if paths.any(|glob| glob.is_absolute()) {
                    index.by_unknown_folder.push(place);
                }
            }
        }
        index
    }

    /// Gives the places of all rules that may match, in rising order; a place may come twice.
    pub(super) fn candidates(&self, request: &Request<'_>) -> Candidates<'_> {
        let mut found = Found::new();
        found.push(self.others.as_slice());
        self.by_client.find(request.client, &mut found);
        self.by_server.find(request.server, &mut found);
        if let Some(foreign) = request.foreign {
            self.by_foreign.find(foreign, &mut found);
        }
        self.by_listener
            .find(request.listener.as_bytes(), &mut found);
        if let Some(host) = request.host {
            self.by_host.find(host.as_bytes(), &mut found);
        }
        if let Some(user) = request.user {
            self.by_user.find(user.as_bytes(), &mut found);
        }
        if let Some(path) = request.path {
            if path.first() != Some(&b'/') {
                found.push(&self.by_unknown_folder);
            }
            match path {
                [folder @ .., b'/'] if !folder.is_empty() => self.by_path.find(folder, &mut found),
                _ => self.by_path.find(path, &mut found),
            }
        }
        self.by_command.find(request, &mut found);
        found.retain(|list| !list.is_empty());
        Candidates { lists: found }
    }
}

/// Merges rising lists of places into one.
pub(super) struct Candidates<'a> {
    lists: Found<'a>,
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let lists = self.lists.iter_mut().filter(|list| !list.is_empty());
        let nearest = lists.min_by_key(|list| list.first().copied())?;
        let (place, rest) = nearest.split_first()?;
        *nearest = rest;
        Some(*place)
    }
}

#[cfg(test)]
mod tests {
    use crate::ftp::Verb;
    use crate::rules::compile::{Compiled, compile};
    use crate::yaml::Source;

    use super::*;

    #[test]
    fn only_rules_that_may_match_are_looked_at() {
        let mut text = "rules:\n".to_owned();
        for number in 0..250 {
            text.push_str(&format!(
                "  - {{ id: c{number}, allow: true, client: 10.0.0.{number} }}\n"
            ));
            text.push_str(&format!(
                "  - {{ id: s{number}, allow: true, server: 10.1.0.{number} }}\n"
            ));
            text.push_str(&format!(
                "  - {{ id: u{number}, allow: true, user: u{number} }}\n"
            ));
            text.push_str(&format!(
                "  - {{ id: f{number}, allow: true, fxp: 10.2.0.{number} }}\n"
            ));
        }
        text.push_str("  - { id: net, allow: true, client: [10.0.0.0/8, 10.0.0.0/24] }\n");
        text.push_str("  - { id: glob, allow: true, user: 'u*' }\n");
        let source = std::sync::Arc::new(Source::new("f", text));
        let (Compiled { rules, index, .. }, _) = compile(&source, None).unwrap();
        let mut request = Request {
            user: Some("u3"),
            ..Request::new(
                "lan",
                [10, 0, 0, 9].into(),
                [10, 1, 0, 7].into(),
                &Verb::Retr,
            )
        };
        let found = |request: &Request<'_>| -> Vec<&str> {
            let places = index.candidates(request);
            places.map(|place| rules[place].name.id.as_str()).collect()
        };
        assert_eq!(found(&request), ["u3", "s7", "c9", "net", "net", "glob"]);
        request.foreign = Some([10, 2, 0, 5].into());
        let with_foreign = ["u3", "f5", "s7", "c9", "net", "net", "glob"];
        assert_eq!(found(&request), with_foreign);
    }
    /// Asks two thousand rules that differ in one condition, and gives how many are looked at.
    fn looked_at(rule: impl Fn(usize) -> String, ask: &Request<'_>) -> usize {
        let mut text = "rules:\n".to_owned();
        for number in 0..2_000 {
            text.push_str(&format!("  - {{ id: r{number}, {} }}\n", rule(number)));
        }
        let source = std::sync::Arc::new(Source::new("f", text));
        let (Compiled { rules, index, .. }, _) = compile(&source, None).unwrap();
        let class = crate::rules::Class::of(ask.verb, ask.path.is_some());
        let found: Vec<usize> = index.candidates(ask).collect();
        assert!(found.iter().any(|place| rules[*place].matches(ask, class)));
        found.len()
    }

    #[test]
    fn rules_that_differ_in_any_one_condition_cost_like_a_few() {
        let (client, server) = ([10, 0, 0, 9].into(), [10, 1, 0, 7].into());
        let verb = Verb::parse("X77");
        let asked = Request {
            user: Some("up-77-x"),
            host: Some("h77.example"),
            path: Some(b"/in/77/a.exe"),
            ..Request::new("l77", client, server, &Verb::Retr)
        };
        let same = "allow: true, client: 10.0.0.0/8, command: [read, list], ";
        for (what, key) in [
            ("user", "up-#-*"),
            ("user", "up-#-x"),
            ("host", "h#.*"),
            ("listener", "l#"),
            ("path", "/in/#/**"),
        ] {
            let rule = |number: usize| {
                let key = key.replace('#', &number.to_string());
                format!("{same}{what}: '{key}'")
            };
            assert!(looked_at(rule, &asked) <= 2, "{what} {key}");
        }
        let ending = Request {
            user: Some("x-77"),
            path: Some(b"/in/a.77"),
            ..asked
        };
        for what in ["user: '*-#'", "path: '/in/*.#'", "path: '*.#'"] {
            let rule = |number: usize| format!("{same}{}", what.replace('#', &number.to_string()));
            // `*-7` and `*-77` end differently; none of the others ends in the same way.
            assert!(looked_at(rule, &ending) <= 2, "{what}");
        }
        let unknown = Request {
            verb: &verb,
            ..asked
        };
        let by_verb = |number: usize| format!("allow: true, command: X{number}");
        assert_eq!(looked_at(by_verb, &unknown), 1);
        let by_word = |number: usize| format!("allow: true, command: SITE W{number}");
        let site = Request {
            verb: &Verb::Site,
            site: Some("W77"),
            path: None,
            ..asked
        };
        assert_eq!(looked_at(by_word, &site), 1);
    }
}
