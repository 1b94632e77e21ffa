//! The netlink messages of one pinhole: the active transfer of a client behind NAT.

use std::hint::black_box;
use std::time::Duration;

use portcullis::firewall::{Change, encode, plan_close, plan_open};
use portcullis::net::netlink::Builder;
use portcullis::pinhole::Pinhole;

use super::sessions::legs;

/// How long a pinhole stays open unused.
const LIFETIME: Duration = Duration::from_secs(60);

/// Plans and encodes, into the same memory again and again.
pub struct Encoder {
    pinhole: Pinhole,
    builder: Builder,
}

impl Default for Encoder {
    fn default() -> Self {
        Self {
            pinhole: legs().plan_active(41_000, Some(50_000), false),
            builder: Builder::default(),
        }
    }
}

impl Encoder {
    /// What opens it, in bytes.
    pub fn open(&mut self) -> usize {
        let changes = plan_open(black_box(&self.pinhole), LIFETIME);
        self.encode(&changes)
    }

    /// What closes it, in bytes.
    pub fn close(&mut self) -> usize {
        let changes = plan_close(black_box(&self.pinhole));
        self.encode(&changes)
    }

    fn encode(&mut self, changes: &[Change]) -> usize {
        self.builder.clear();
        for (sequence, change) in (1..).zip(changes) {
            encode(&mut self.builder, sequence, "portcullis", change);
        }
        black_box(self.builder.bytes()).len()
    }
}
