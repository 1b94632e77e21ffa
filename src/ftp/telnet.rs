//! The Telnet layer under the control connection (RFC 959 §4.1.3, RFC 854): commands are taken out
//! of the bytes before lines are made of them.
//!
//! Nothing is ever negotiated: DO is answered WONT, WILL is answered DONT. `IAC IAC`, one byte 255
//! of a pathname, stays as it is in the line, so that it goes on as it came; [`unescape`] reads it.

use std::borrow::Cow;

use memchr::memchr;

/// Interpret as command.
const IAC: u8 = 255;
/// Subnegotiation begins.
const SB: u8 = 250;
/// Subnegotiation ends; the lowest command.
const SE: u8 = 240;
const WILL: u8 = 251;
const WONT: u8 = 252;
const DO: u8 = 253;
const DONT: u8 = 254;
/// Data mark: the Synch's own byte.
const DM: u8 = 242;
/// Interrupt process.
const IP: u8 = 244;

/// What a Synch sends as ordinary bytes ahead of its urgent one.
pub const SYNCH_LEAD: [u8; 3] = [IAC, IP, IAC];
/// The byte of a Synch that goes as TCP urgent data (RFC 959 §4.1.3).
pub const SYNCH_MARK: u8 = DM;

/// Takes Telnet commands out of one direction's bytes, however they are cut.
#[derive(Debug, Default)]
pub struct TelnetFilter {
    state: State,
    synch: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// IAC was read.
    Command,
    /// IAC WILL or IAC DO was read; the option follows, and this is the answer to it.
    Answer(u8),
    /// IAC WONT or IAC DONT was read; the option follows and needs no answer.
    Option,
    /// Inside a subnegotiation.
    Parameters,
    /// IAC was read inside a subnegotiation.
    ParametersCommand,
}

impl TelnetFilter {
    /// Takes bytes as they came; hands on the text, and the answers that go back to the sender.
    pub fn take(&mut self, bytes: &[u8], text: &mut Vec<u8>, answers: &mut Vec<u8>) {
        // Almost every line is free of Telnet: it goes on as one piece.
        if self.state == State::Text && memchr(IAC, bytes).is_none() {
            text.extend_from_slice(bytes);
            return;
        }
        for &byte in bytes {
            self.state = match (self.state, byte) {
                (State::Text, IAC) => State::Command,
                (State::Text, _) => {
                    text.push(byte);
                    State::Text
                }
                (State::Command, IAC) => {
                    text.extend_from_slice(&[IAC, IAC]);
                    State::Text
                }
                (State::Command, WILL) => State::Answer(DONT),
                (State::Command, DO) => State::Answer(WONT),
                (State::Command, WONT | DONT) => State::Option,
                (State::Command, SB) => State::Parameters,
                (State::Command, IP | DM) => {
                    self.synch = true;
                    State::Text
                }
                (State::Command, SE..) => State::Text,
                // No Telnet command is below 240: a pathname whose sender did not double its 255.
                (State::Command, _) => {
                    text.extend_from_slice(&[IAC, byte]);
                    State::Text
                }
                (State::Answer(answer), option) => {
                    answers.extend_from_slice(&[IAC, answer, option]);
                    State::Text
                }
                (State::Option, _) => State::Text,
                (State::Parameters, IAC) => State::ParametersCommand,
                (State::Parameters, _) => State::Parameters,
                (State::ParametersCommand, SE) => State::Text,
                (State::ParametersCommand, _) => State::Parameters,
            };
        }
    }

    /// Whether a Synch (IP or the data mark) came since this was last asked.
    pub fn take_synch(&mut self) -> bool {
        std::mem::take(&mut self.synch)
    }
}

/// Reads `IAC IAC` as the one byte that it stands for.
pub fn unescape(line: &[u8]) -> Cow<'_, [u8]> {
    if memchr(IAC, line).is_none() {
        return Cow::Borrowed(line);
    }
    let mut read = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == IAC {
            bytes.next_if_eq(&IAC);
        }
        read.push(byte);
    }
    Cow::Owned(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filtered(pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>, bool) {
        let mut filter = TelnetFilter::default();
        let (mut text, mut answers) = (Vec::new(), Vec::new());
        for piece in pieces {
            filter.take(piece, &mut text, &mut answers);
        }
        (text, answers, filter.take_synch())
    }

    #[test]
    fn p08_commands_are_removed_and_options_refused() {
        let wire = [
            b"NO".as_slice(),
            &[IAC, DO, 6, IAC, WILL, 24, IAC, DONT, 1, IAC, 241],
            b"OP\r\n",
        ]
        .concat();
        let expected = (
            b"NOOP\r\n".to_vec(),
            vec![IAC, WONT, 6, IAC, DONT, 24],
            false,
        );
        assert_eq!(filtered(&[&wire]), expected);
        let single: Vec<&[u8]> = wire.chunks(1).collect();
        assert_eq!(filtered(&single), expected);
    }

    #[test]
    fn p08_a_doubled_255_is_one_byte_of_a_pathname() {
        let (text, answers, _) = filtered(&[b"RETR a\xff\xffb\r\n"]);
        assert_eq!(
            (text.as_slice(), answers.len()),
            (b"RETR a\xff\xffb\r\n".as_slice(), 0)
        );
        assert_eq!(unescape(&text).as_ref(), b"RETR a\xffb\r\n");
        assert_eq!(unescape(b"\xff").as_ref(), b"\xff");
    }

    #[test]
    fn p09_a_synch_is_noticed() {
        let (text, _, synch) = filtered(&[&[IAC, IP, IAC], &[DM], b"ABOR\r\n"]);
        assert_eq!((text.as_slice(), synch), (b"ABOR\r\n".as_slice(), true));
    }

    #[test]
    fn subnegotiations_are_passed_over() {
        let wire = [
            &[IAC, SB, 24, 0, IAC, IAC, 65, IAC, SE],
            b"NOOP\r\n".as_slice(),
        ]
        .concat();
        assert_eq!(filtered(&[&wire]).0, b"NOOP\r\n");
    }
}
