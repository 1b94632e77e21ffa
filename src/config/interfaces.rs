//! The names of the machine's network interfaces.

use std::collections::BTreeSet;

/// Gives the names of all interfaces, up or down; none where the kernel does not tell.
pub fn interface_names() -> BTreeSet<String> {
    pnet::datalink::interfaces()
        .into_iter()
        .map(|interface| interface.name)
        .collect()
}
