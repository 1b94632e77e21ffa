//! Lists of places under networks and texts: one look-up for each length in use.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;

/// Places of rules, rising.
pub(super) type Places<'a> = &'a [usize];

/// Places of rules by network.
#[derive(Clone, Debug, Default)]
pub(super) struct ByNetwork {
    lengths4: Vec<u8>,
    lengths6: Vec<u8>,
    places: BTreeMap<IpNet, Vec<usize>>,
}

/// Part of a text that a rule asks for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Text {
    Whole(Vec<u8>),
    Prefix(Vec<u8>),
    Suffix(Vec<u8>),
}

/// Places of rules by text, or by how it begins or ends.
#[derive(Clone, Debug, Default)]
pub(super) struct ByText {
    whole: BTreeMap<Vec<u8>, Vec<usize>>,
    prefixes: BTreeMap<Vec<u8>, Vec<usize>>,
    prefix_lengths: Vec<usize>,
    suffixes: BTreeMap<Vec<u8>, Vec<usize>>,
    suffix_lengths: Vec<usize>,
}

impl ByNetwork {
    pub(super) fn add(&mut self, net: IpNet, place: usize) {
        let lengths = match net {
            IpNet::V4(_) => &mut self.lengths4,
            IpNet::V6(_) => &mut self.lengths6,
        };
        note(lengths, net.prefix_len());
        insert(&mut self.places, net.trunc(), place);
    }

    pub(super) fn find<'a>(&'a self, address: IpAddr, found: &mut Vec<Places<'a>>) {
        let address = address.to_canonical();
        let lengths = match address {
            IpAddr::V4(_) => &self.lengths4,
            IpAddr::V6(_) => &self.lengths6,
        };
        for &length in lengths {
            let net = IpNet::new(address, length).map(|net| net.trunc()).ok();
            if let Some(places) = net.and_then(|net| self.places.get(&net)) {
                found.push(places);
            }
        }
    }
}

impl ByText {
    pub(super) fn add(&mut self, text: Text, place: usize) {
        match text {
            Text::Whole(text) => insert(&mut self.whole, text, place),
            Text::Prefix(text) => {
                note(&mut self.prefix_lengths, text.len());
                insert(&mut self.prefixes, text, place);
            }
            Text::Suffix(text) => {
                note(&mut self.suffix_lengths, text.len());
                insert(&mut self.suffixes, text, place);
            }
        }
    }

    pub(super) fn find<'a>(&'a self, text: &[u8], found: &mut Vec<Places<'a>>) {
        found.extend(self.whole.get(text).map(Vec::as_slice));
        let prefixes = self
            .prefix_lengths
            .iter()
            .filter_map(|end| text.get(..*end));
        for prefix in prefixes {
            found.extend(self.prefixes.get(prefix).map(Vec::as_slice));
        }
        for length in &self.suffix_lengths {
            let start = text.len().checked_sub(*length);
            let suffix = start.and_then(|start| text.get(start..));
            let places = suffix.and_then(|suffix| self.suffixes.get(suffix));
            found.extend(places.map(Vec::as_slice));
        }
    }
}

/// Adds a place under a key, each place once.
pub(super) fn insert<K: Ord>(places: &mut BTreeMap<K, Vec<usize>>, key: K, place: usize) {
    let places = places.entry(key).or_default();
    if places.last() != Some(&place) {
        places.push(place);
    }
}

fn note<T: PartialEq>(lengths: &mut Vec<T>, length: T) {
    if !lengths.contains(&length) {
        lengths.push(length);
    }
}
