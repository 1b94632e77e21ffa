//! The bound on the bytes of one transfer, which may become smaller while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of both directions together; all copies are one bound.
#[derive(Clone, Debug)]
pub(super) struct Bound(Arc<AtomicU64>);

impl Bound {
    /// This many, or as many as there are.
    pub(super) fn new(max_bytes: Option<u64>) -> Self {
        Self(Arc::new(AtomicU64::new(max_bytes.unwrap_or(u64::MAX))))
    }

    /// Makes it smaller, never larger.
    pub(super) fn lower(&self, max_bytes: u64) {
        self.0.fetch_min(max_bytes, Ordering::Relaxed);
    }

    /// How many bytes it is at present.
    pub(super) fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
