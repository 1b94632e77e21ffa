//! Finds the rules that may match a request without looking at all the others.
//!
//! Every rule stands under one condition that few requests meet: its client networks, else its server
//! networks, else the foreign addresses it allows, else its user names, else under none. The candidates come in the order written.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Request;
use super::rule::Rule;

/// Lists that one request can meet: every prefix length of three addresses, a user, and the rest.
const MAX_LISTS: usize = 3 * 129 + 2;

/// Places of rules in a policy, under the condition that tells them apart.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    by_client: ByNetwork,
    by_server: ByNetwork,
    by_foreign: ByNetwork,
    by_user: BTreeMap<String, Vec<usize>>,
    others: Vec<usize>,
}

/// Places of rules by network: one look-up for each prefix length in use.
#[derive(Clone, Debug, Default)]
struct ByNetwork {
    lengths4: Vec<u8>,
    lengths6: Vec<u8>,
    places: BTreeMap<IpNet, Vec<usize>>,
}

impl Index {
    pub(super) fn new(rules: &[Rule]) -> Self {
        let mut index = Self::default();
        for (place, rule) in rules.iter().enumerate() {
            let users: Option<Vec<&str>> = rule
                .users
                .as_ref()
                .and_then(|users| users.iter().map(|user| user.literal()).collect());
            if let Some(client) = &rule.client {
                index.by_client.add(client.written(), place);
            } else if let Some(server) = &rule.server {
                index.by_server.add(server.written(), place);
            } else if let Some(fxp) = &rule.fxp {
                index.by_foreign.add(fxp.written(), place);
            } else if let Some(users) = users {
                for user in users {
                    let places = index.by_user.entry(user.to_owned()).or_default();
                    if places.last() != Some(&place) {
                        places.push(place);
                    }
                }
            } else {
                index.others.push(place);
            }
        }
        index
    }

    /// Gives the places of all rules that may match, in rising order; a place may come twice.
    pub(super) fn candidates(&self, request: &Request<'_>) -> Candidates<'_> {
        let mut candidates = Candidates {
            lists: [&[]; MAX_LISTS],
            count: 0,
        };
        candidates.add(&self.others);
        if let Some(places) = request.user.and_then(|user| self.by_user.get(user)) {
            candidates.add(places);
        }
        self.by_client.find(request.client, &mut candidates);
        self.by_server.find(request.server, &mut candidates);
        if let Some(foreign) = request.foreign {
            self.by_foreign.find(foreign, &mut candidates);
        }
        candidates
    }
}

impl ByNetwork {
    fn add(&mut self, networks: &[IpNet], place: usize) {
        for net in networks {
            let lengths = match net {
                IpNet::V4(_) => &mut self.lengths4,
                IpNet::V6(_) => &mut self.lengths6,
            };
            if !lengths.contains(&net.prefix_len()) {
                lengths.push(net.prefix_len());
            }
            let places = self.places.entry(net.trunc()).or_default();
            if places.last() != Some(&place) {
                places.push(place);
            }
        }
    }

    fn find<'a>(&'a self, address: IpAddr, candidates: &mut Candidates<'a>) {
        let address = address.to_canonical();
        let lengths = match address {
            IpAddr::V4(_) => &self.lengths4,
            IpAddr::V6(_) => &self.lengths6,
        };
        for &length in lengths {
            let net = IpNet::new(address, length).map(|net| net.trunc()).ok();
            if let Some(places) = net.and_then(|net| self.places.get(&net)) {
                candidates.add(places);
            }
        }
    }
}

/// Merges rising lists of places into one.
pub(super) struct Candidates<'a> {
    lists: [&'a [usize]; MAX_LISTS],
    count: usize,
}

impl<'a> Candidates<'a> {
    fn add(&mut self, list: &'a [usize]) {
        if let Some(free) = self.lists.get_mut(self.count) {
            *free = list;
            self.count += 1;
        }
    }
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let lists = self.lists.get_mut(..self.count)?;
        let nearest = lists
            .iter_mut()
            .filter(|list| !list.is_empty())
            .min_by_key(|list| list.first().copied())?;
        let (place, rest) = nearest.split_first()?;
        *nearest = rest;
        Some(*place)
    }
}

#[cfg(test)]
mod tests {
    use crate::ftp::Verb;
    use crate::rules::compile::compile;
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
        let ((_, rules), _) = compile(&source, None).unwrap();
        let mut request = Request {
            listener: "lan",
            client: [10, 0, 0, 9].into(),
            server: [10, 1, 0, 7].into(),
            user: Some("u3"),
            verb: &Verb::Retr,
            site: None,
            foreign: None,
            path: None,
        };
        let index = Index::new(&rules);
        let found = |request: &Request<'_>| -> Vec<&str> {
            let places = index.candidates(request);
            places.map(|place| rules[place].name.id.as_str()).collect()
        };
        assert_eq!(found(&request), ["u3", "s7", "c9", "net", "net", "glob"]);
        request.foreign = Some([10, 2, 0, 5].into());
        let with_foreign = ["u3", "f5", "s7", "c9", "net", "net", "glob"];
        assert_eq!(found(&request), with_foreign);
    }
}
