//! A command line: its verb and its argument.

use memchr::{memchr, memchr2};

use super::Verb;

/// Why a line is not a command, or not one to send on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommandFault {
    /// CR inside the line, neither before LF nor before NUL (RFC 2640 §3.1).
    BareCr,
    /// NUL that does not follow CR.
    Nul,
    /// No verb at the start of the line.
    NoVerb,
}

/// A command as it stands in its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<'a> {
    /// The verb.
    pub verb: Verb,
    /// All behind the one space that follows the verb, byte for byte (RFC 2640: further spaces
    /// belong to the pathname); `None` where no space follows it.
    pub argument: Option<&'a [u8]>,
}

impl<'a> Command<'a> {
    /// Reads a line without its end.
    pub fn parse(line: &'a [u8]) -> Result<Self, CommandFault> {
        let first = memchr2(b'\r', 0, line).unwrap_or(line.len());
        let mut rest = line.iter().skip(first);
        while let Some(&byte) = rest.next() {
            match byte {
                b'\r' if rest.next() != Some(&0) => return Err(CommandFault::BareCr),
                0 => return Err(CommandFault::Nul),
                _ => {}
            }
        }
        let (verb, argument) = match memchr(b' ', line) {
            Some(space) => {
                let (verb, rest) = line.split_at(space);
                (verb, rest.get(1..))
            }
            None => (line, None),
        };
        // Longest in use: XSHA512. `@` stands in P@SW, digits in MD5.
        let readable = (1..=16).contains(&verb.len())
            && verb
                .iter()
                .all(|&byte| byte.is_ascii_alphanumeric() || byte == b'@');
        match std::str::from_utf8(verb) {
            Ok(verb) if readable => Ok(Self {
                verb: Verb::parse(verb),
                argument,
            }),
            _ => Err(CommandFault::NoVerb),
        }
    }

    /// The argument without the spaces around it, for verbs whose argument is not a pathname.
    pub fn trimmed(&self) -> &'a [u8] {
        self.argument.unwrap_or_default().trim_ascii()
    }

    /// How many bytes a line that begins with `start` may have (protocol rule 4): `for_paths` for
    /// verbs whose argument is a pathname or free text, 512 for all others.
    pub(crate) fn line_limit(start: &[u8], for_paths: usize) -> usize {
        let verb = start.split(|&byte| byte == b' ').next().unwrap_or_default();
        match std::str::from_utf8(verb).map(Verb::parse) {
            Ok(verb) if verb.takes_path() => for_paths.max(SHORT_LINE),
            _ => SHORT_LINE,
        }
    }
}

/// Bytes of a line whose verb takes no pathname.
const SHORT_LINE: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p11_exactly_one_space_splits_verb_and_pathname() {
        let command = Command::parse(b"RETR  two spaces ").unwrap();
        assert_eq!(command.argument, Some(b" two spaces ".as_slice()));
        assert_eq!(Command::parse(b"LIST").unwrap().argument, None);
        assert_eq!(
            Command::parse(b"LIST ").unwrap().argument,
            Some(b"".as_slice())
        );
    }

    #[test]
    fn p12_pathnames_pass_byte_exact() {
        let command = Command::parse(b"RETR \xff\xc3\xa9\xe2\x82").unwrap();
        assert_eq!(command.argument, Some(b"\xff\xc3\xa9\xe2\x82".as_slice()));
    }

    #[test]
    fn p06_cr_inside_an_argument_is_refused_unless_nul_follows() {
        assert_eq!(Command::parse(b"NOOP\rPORT 1"), Err(CommandFault::BareCr));
        assert_eq!(Command::parse(b"RETR a\r"), Err(CommandFault::BareCr));
        assert_eq!(Command::parse(b"RETR a\r\0b").unwrap().verb, Verb::Retr);
    }

    #[test]
    fn p07_nul_elsewhere_is_refused() {
        assert_eq!(Command::parse(b"RETR a\0b"), Err(CommandFault::Nul));
        assert_eq!(Command::parse(b"RETR a\r\0\0"), Err(CommandFault::Nul));
    }

    #[test]
    fn lines_without_a_verb_are_refused() {
        for line in [b"".as_slice(), b" LIST", b"US\tER x", b"\xff\xf4ABOR"] {
            assert_eq!(Command::parse(line), Err(CommandFault::NoVerb), "{line:?}");
        }
    }

    #[test]
    fn p04_the_limit_depends_on_the_verb() {
        assert_eq!(Command::line_limit(b"RETR /aaaa", 4096), 4096);
        assert_eq!(Command::line_limit(b"PORT 1,2,3", 4096), 512);
        assert_eq!(Command::line_limit(b"xyz", 4096), 512);
    }
}
