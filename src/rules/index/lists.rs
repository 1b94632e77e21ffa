//! Lists of places under networks and texts: one look-up for each length in use.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use foldhash::fast::FixedState;
use ipnet::IpNet;
use smallvec::SmallVec;

/// Places of rules, rising.
pub(super) type Places<'a> = &'a [usize];

/// The lists that a request finds; more than these take memory of their own.
pub(super) type Found<'a> = SmallVec<[Places<'a>; 16]>;

/// Lists by key. What is in them comes from the policy, so that nobody who is looked up can choose keys
/// that collide; and each run finds the same.
pub(super) type Lists<K> = HashMap<K, Vec<usize>, FixedState>;

/// Places of rules by network.
#[derive(Clone, Debug, Default)]
pub(super) struct ByNetwork {
    lengths4: Vec<u8>,
    lengths6: Vec<u8>,
    /// By length and first address.
    places4: Lists<(u8, u32)>,
    places6: Lists<(u8, u128)>,
}

/// Part of a text that a rule asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Text<'a> {
    Whole(&'a [u8]),
    Prefix(&'a [u8]),
    Suffix(&'a [u8]),
}

/// Places of rules by text, or by how it begins or ends.
#[derive(Clone, Debug, Default)]
pub(super) struct ByText {
    whole: Lists<Vec<u8>>,
    prefixes: Lists<Vec<u8>>,
    prefix_lengths: Vec<usize>,
    suffixes: Lists<Vec<u8>>,
    suffix_lengths: Vec<usize>,
}

impl ByNetwork {
    pub(super) fn add(&mut self, net: IpNet, place: usize) {
        let length = net.prefix_len();
        match net {
            IpNet::V4(net) => {
                note(&mut self.lengths4, length);
                insert(&mut self.places4, &(length, net.network().to_bits()), place);
            }
            IpNet::V6(net) => {
                note(&mut self.lengths6, length);
                insert(&mut self.places6, &(length, net.network().to_bits()), place);
            }
        }
    }

    pub(super) fn find<'a>(&'a self, address: IpAddr, found: &mut Found<'a>) {
        match address.to_canonical() {
            IpAddr::V4(address) => {
                for &length in &self.lengths4 {
                    let others = u32::MAX.checked_shr(length.into()).unwrap_or_default();
                    let net = (length, address.to_bits() & !others);
                    found.extend(self.places4.get(&net).map(Vec::as_slice));
                }
            }
            IpAddr::V6(address) => {
                for &length in &self.lengths6 {
                    let others = u128::MAX.checked_shr(length.into()).unwrap_or_default();
                    let net = (length, address.to_bits() & !others);
                    found.extend(self.places6.get(&net).map(Vec::as_slice));
                }
            }
        }
    }
}

impl ByText {
    pub(super) fn add(&mut self, text: Text<'_>, place: usize) {
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

    pub(super) fn find<'a>(&'a self, text: &[u8], found: &mut Found<'a>) {
        if !self.whole.is_empty() {
            found.extend(self.whole.get(text).map(Vec::as_slice));
        }
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
pub(super) fn insert<K, Q>(lists: &mut Lists<K>, key: &Q, place: usize)
where
    K: Borrow<Q> + Eq + Hash,
    Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
{
    match lists.get_mut(key) {
        Some(places) if places.last() == Some(&place) => {}
        Some(places) => places.push(place),
        None => {
            lists.insert(key.to_owned(), vec![place]);
        }
    }
}

fn note<T: PartialEq>(lengths: &mut Vec<T>, length: T) {
    if !lengths.contains(&length) {
        lengths.push(length);
    }
}
