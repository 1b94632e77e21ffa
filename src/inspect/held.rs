//! What a session holds in memory of bytes that it could not act on so far.

use super::Inspector;

impl Inspector {
    /// Bytes of both sides that are held unread; the actions that wait are not among them. For those who
    /// measure that it stays bounded.
    #[doc(hidden)]
    pub fn held(&self) -> usize {
        self.client.buffer.len() + self.server.buffer.len()
    }
}
