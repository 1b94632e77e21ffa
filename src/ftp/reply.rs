//! Replies: which line ends one, and which is only its text (RFC 959 §4.2).

/// One line of a server, as its place among the lines says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyLine {
    /// A line of a multi-line reply that does not end it, whatever it looks like.
    Text {
        /// The code of the reply it belongs to.
        code: u16,
    },
    /// The line that ends a reply.
    End {
        /// 100 to 599.
        code: u16,
    },
    /// A line outside any reply that does not begin one.
    Stray,
}

/// Tells reply lines apart; keeps only the code of the reply that is being read, and a count.
#[derive(Debug, Default)]
pub struct ReplyReader {
    inside: Option<u16>,
    strays: u32,
}

impl ReplyReader {
    /// Takes the next line, its end removed.
    pub fn handle_line(&mut self, line: &[u8]) -> ReplyLine {
        let start = code_and_mark(line);
        match (self.inside, start) {
            (Some(open), Some((code, mark))) if code == open && mark != b'-' => {
                self.inside = None;
                ReplyLine::End { code }
            }
            (Some(code), _) => ReplyLine::Text { code },
            (None, Some((code, b'-'))) => {
                self.inside = Some(code);
                ReplyLine::Text { code }
            }
            (None, Some((code, _))) => ReplyLine::End { code },
            (None, None) => {
                self.strays = self.strays.saturating_add(1);
                ReplyLine::Stray
            }
        }
    }

    /// How many lines have stood outside any reply.
    pub fn strays(&self) -> u32 {
        self.strays
    }
}

/// Splits `227-…`, `227 …` or a bare `227` into code and the byte behind it (SP for a bare code).
fn code_and_mark(line: &[u8]) -> Option<(u16, u8)> {
    let (digits, rest) = line.split_at_checked(3)?;
    let mark = match rest.first() {
        None => b' ',
        Some(&mark @ (b' ' | b'-')) => mark,
        Some(_) => return None,
    };
    if !matches!(digits.first(), Some(b'1'..=b'5')) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code = digits
        .iter()
        .fold(0, |code, &digit| code * 10 + u16::from(digit - b'0'));
    Some((code, mark))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Vec<ReplyLine> {
        let mut reader = ReplyReader::default();
        lines
            .iter()
            .map(|line| reader.handle_line(line.as_bytes()))
            .collect()
    }

    #[test]
    fn p14_a_multi_line_reply_ends_only_at_its_own_code() {
        use ReplyLine::{End, Text};
        let text = Text { code: 230 };
        assert_eq!(
            read(&[
                "230-Welcome",
                "227 Entering (1,2,3,4,5,6)",
                "230-more",
                " 230 no",
                "230 End"
            ]),
            [text, text, text, text, End { code: 230 }]
        );
    }

    #[test]
    fn single_lines_end_at_once() {
        use ReplyLine::{End, Stray};
        assert_eq!(
            read(&["220 hello", "200", "PORT 1,2", "99 x", "600 x", "2000", ""]),
            [
                End { code: 220 },
                End { code: 200 },
                Stray,
                Stray,
                Stray,
                Stray,
                Stray
            ]
        );
    }
}
