//! Bytes to lines: a bounded buffer that gives one line at a time, however the bytes were cut.

use memchr::memchr;
use thiserror::Error;

/// How a line ended on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// CR LF, as RFC 959 §5.3.1 wants it.
    Crlf,
    /// LF alone.
    Lf,
}

/// Why the bytes at hand can never become a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum LineError {
    /// No line end within the limit.
    #[error("no line end within {limit} bytes")]
    TooLong {
        /// Bytes, line end not counted.
        limit: usize,
    },
}

/// Holds the bytes of one direction until they make a line.
///
/// It never grows by itself: whoever fills it looks at [`Self::len`] first and stops reading.
#[derive(Debug, Default)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    start: usize,
    /// How far the search for LF has come, so that a line that trickles in is searched once.
    searched: usize,
}

impl LineBuffer {
    /// Takes bytes as they came.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.space().extend_from_slice(bytes);
    }

    /// Where bytes are to be appended as they came; what is there stays as it is.
    pub(crate) fn space(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.bytes.drain(..self.start);
            self.searched -= self.start;
            self.start = 0;
        }
        &mut self.bytes
    }

    /// The memory that it holds nothing in; `None` where it holds something.
    pub(crate) fn room(&mut self) -> Option<&mut Vec<u8>> {
        self.is_empty().then(|| {
            self.clear();
            &mut self.bytes
        })
    }

    /// Bytes held that no line was made of.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all that is held.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.start = 0;
        self.searched = 0;
    }

    /// Takes all that is held, lines or not.
    pub fn take_all(&mut self) -> Vec<u8> {
        let all = self.bytes.get(self.start..).unwrap_or_default().to_vec();
        self.clear();
        all
    }

    /// Takes the next whole line, its end removed, into `line`; gives `None` while there is none.
    ///
    /// `limit` says how many bytes a line may have, from its first bytes (at most 16 are shown).
    ///
    /// # Errors
    /// [`LineError::TooLong`] as soon as more bytes than the limit are held without a line end, or
    /// the line is longer; the bytes stay where they are, and the session can only be closed.
    pub fn take_line(
        &mut self,
        line: &mut Vec<u8>,
        limit: impl Fn(&[u8]) -> usize,
    ) -> Result<Option<Ending>, LineError> {
        let held = self.bytes.get(self.start..).unwrap_or_default();
        if held.is_empty() {
            return Ok(None);
        }
        let unsearched = self.bytes.get(self.searched..).unwrap_or_default();
        let limit = limit(held.get(..16).unwrap_or(held));
        let Some(found) = memchr(b'\n', unsearched) else {
            self.searched = self.bytes.len();
            // One byte more for the CR of a line that has exactly the limit.
            if held.len() > limit + 1 {
                return Err(LineError::TooLong { limit });
            }
            return Ok(None);
        };
        let end = self.searched + found;
        let whole = self.bytes.get(self.start..end).unwrap_or_default();
        let (text, ending) = match whole.split_last() {
            Some((b'\r', text)) => (text, Ending::Crlf),
            _ => (whole, Ending::Lf),
        };
        if text.len() > limit {
            return Err(LineError::TooLong { limit });
        }
        line.clear();
        line.extend_from_slice(text);
        self.start = end + 1;
        self.searched = self.start;
        if self.start == self.bytes.len() {
            self.clear();
        }
        Ok(Some(ending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<(Vec<u8>, Ending)> {
        let mut buffer = LineBuffer::default();
        let (mut found, mut line) = (Vec::new(), Vec::new());
        for piece in pieces {
            buffer.extend(piece);
            while let Some(ending) = buffer.take_line(&mut line, |_| 512).unwrap() {
                found.push((line.clone(), ending));
            }
        }
        found
    }

    #[test]
    fn cutting_does_not_change_the_lines() {
        let whole: &[u8] = b"NOOP\r\nPORT 1,2,3,4,5,6\r\n\r\nLIST\n";
        let expected = lines(&[whole]);
        assert_eq!(expected.len(), 4);
        assert_eq!(expected.last().unwrap(), &(b"LIST".to_vec(), Ending::Lf));
        for cut in 0..whole.len() {
            assert_eq!(lines(&[&whole[..cut], &whole[cut..]]), expected);
        }
        let single: Vec<&[u8]> = whole.chunks(1).collect();
        assert_eq!(lines(&single), expected);
    }

    #[test]
    fn p04_no_line_end_within_the_limit_is_an_error() {
        let mut buffer = LineBuffer::default();
        let mut line = Vec::new();
        buffer.extend(&[b'A'; 512]);
        assert_eq!(buffer.take_line(&mut line, |_| 512), Ok(None));
        buffer.extend(b"\r\n");
        assert_eq!(buffer.take_line(&mut line, |_| 512), Ok(Some(Ending::Crlf)));
        buffer.extend(&[b'A'; 514]);
        let long = Err(LineError::TooLong { limit: 512 });
        assert_eq!(buffer.take_line(&mut line, |_| 512), long);
        let mut buffer = LineBuffer::default();
        buffer.extend(&[b'A'; 513]);
        buffer.extend(b"\r\n");
        assert_eq!(buffer.take_line(&mut line, |_| 512), long);
    }
}
