//! The oracle's own reading of what went over the wire: plain, slow, and shared with nobody.
//!
//! It says what a line may mean at most. Where it reads more kindly than the inspector, nothing is
//! opened, and no harm is done.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const IAC: u8 = 255;

/// One direction of text: Telnet removed, then lines.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    text: Vec<u8>,
    telnet: Telnet,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Telnet {
    #[default]
    Text,
    Escape,
    /// The option follows; the answer to it, if it wants one.
    Option(Option<u8>),
    Inside,
    InsideEscape,
}

impl Reader {
    /// Takes bytes; gives the answers to Telnet options.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut answers = Vec::new();
        for &byte in bytes {
            self.telnet = match self.telnet {
                Telnet::Text if byte == IAC => Telnet::Escape,
                Telnet::Text => {
                    self.text.push(byte);
                    Telnet::Text
                }
                Telnet::Escape => match byte {
                    250 => Telnet::Inside,
                    251 => Telnet::Option(Some(254)),
                    253 => Telnet::Option(Some(252)),
                    252 | 254 => Telnet::Option(None),
                    240..=249 => Telnet::Text,
                    _ => {
                        self.text.extend([IAC, byte]);
                        Telnet::Text
                    }
                },
                Telnet::Option(answer) => {
                    answers.extend(answer.into_iter().flat_map(|word| [IAC, word, byte]));
                    Telnet::Text
                }
                Telnet::Inside if byte == IAC => Telnet::InsideEscape,
                Telnet::Inside => Telnet::Inside,
                Telnet::InsideEscape if byte == 240 => Telnet::Text,
                Telnet::InsideEscape => Telnet::Inside,
            };
        }
        answers
    }

    /// The next whole line, its end removed.
    pub(crate) fn line(&mut self) -> Option<Vec<u8>> {
        let end = self.text.iter().position(|&byte| byte == b'\n')?;
        let mut line: Vec<u8> = self.text.drain(..=end).collect();
        line.pop();
        line.pop_if(|last| *last == b'\r');
        Some(line)
    }

    pub(crate) fn has_line(&self) -> bool {
        self.text.contains(&b'\n')
    }

    pub(crate) fn rest(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.text)
    }

    pub(crate) fn give_back(&mut self, text: &[u8]) {
        self.text.extend_from_slice(text);
    }

    pub(crate) fn len(&self) -> usize {
        self.text.len()
    }
}

/// Follows TLS records by their headers.
#[derive(Debug, Default)]
pub(crate) struct Records {
    header: Vec<u8>,
    body: usize,
    pub(crate) begun: bool,
}

impl Records {
    /// How many of the bytes are records.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> usize {
        for (at, &byte) in bytes.iter().enumerate() {
            if self.body > 0 {
                self.body -= 1;
            } else if self.header.is_empty() && !(20..=24).contains(&byte) {
                return at;
            } else {
                self.header.push(byte);
                if let [_, _, _, high, low] = self.header[..] {
                    self.body = usize::from(high) * 256 + usize::from(low);
                    self.header.clear();
                    self.begun = true;
                }
            }
        }
        bytes.len()
    }
}

/// The code of a line that is a reply or begins one, and what stands behind it.
pub(crate) fn code(line: &[u8]) -> Option<(u16, u8)> {
    let digits = std::str::from_utf8(line.get(..3)?).ok()?;
    let number: u16 = digits.parse().ok().filter(|_| !digits.starts_with('+'))?;
    let mark = line.get(3).copied().unwrap_or(b' ');
    ((100..600).contains(&number) && matches!(mark, b' ' | b'-')).then_some((number, mark))
}

/// The first word, in upper case, and what stands behind the space.
pub(crate) fn words(line: &[u8]) -> (String, Vec<u8>) {
    let mut read = Vec::with_capacity(line.len());
    let mut bytes = line.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == IAC {
            bytes.next_if_eq(&IAC);
        }
        read.push(byte);
    }
    let end = read.iter().position(|&byte| byte == b' ');
    let (verb, rest) = read.split_at(end.unwrap_or(read.len()));
    let verb = String::from_utf8_lossy(verb).to_ascii_uppercase();
    (verb, rest.get(1..).unwrap_or_default().to_vec())
}

/// The numbers in a text, in order.
fn numbers(text: &[u8]) -> Vec<u64> {
    let text = String::from_utf8_lossy(text);
    text.split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap_or(u64::MAX))
        .collect()
}

fn octets(numbers: &[u64]) -> Option<Vec<u8>> {
    let small = |number: &u64| u8::try_from(*number).ok();
    numbers.iter().map(small).collect()
}

fn six(numbers: &[u64]) -> Option<SocketAddr> {
    let octets = octets(numbers.get(..6)?)?;
    let address = Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]);
    let port = u16::from_be_bytes([octets[4], octets[5]]);
    Some(SocketAddr::new(address.into(), port))
}

/// What PORT, EPRT or LPRT may announce.
pub(crate) fn announced(verb: &str, argument: &[u8]) -> Option<SocketAddr> {
    let argument = argument.trim_ascii();
    match verb {
        "PORT" => six(&numbers(argument)),
        "EPRT" => {
            let text = std::str::from_utf8(argument).ok()?;
            let fields: Vec<&str> = text.split(text.chars().next()?).collect();
            let address: IpAddr = fields.get(2)?.parse().ok()?;
            Some(SocketAddr::new(address, fields.get(3)?.parse().ok()?))
        }
        "LPRT" => {
            let octets = octets(&numbers(argument))?;
            let (address, port): (IpAddr, _) = match octets.first()? {
                4 => (<[u8; 4]>::try_from(octets.get(2..6)?).ok()?.into(), 7),
                6 => (<[u8; 16]>::try_from(octets.get(2..18)?).ok()?.into(), 19),
                _ => return None,
            };
            let port = octets.get(port..port + 2)?;
            Some(SocketAddr::new(
                address,
                u16::from_be_bytes([port[0], port[1]]),
            ))
        }
        _ => None,
    }
}

/// How PORT and EPRT are written where nothing can be read in two ways.
pub(crate) fn written(verb: &str, end: SocketAddr) -> String {
    let (number, address, port) = (if end.is_ipv4() { 1 } else { 2 }, end.ip(), end.port());
    match verb {
        "PORT" => {
            let (list, [high, low]) = (address.to_string().replace('.', ","), port.to_be_bytes());
            format!("PORT {list},{high},{low}\r\n")
        }
        "EPRT" => format!("EPRT |{number}|{address}|{port}|\r\n"),
        _ => String::new(),
    }
}

/// The port that 227 or 229 may announce, and the address where it names one.
pub(crate) fn answered(code: u16, line: &[u8]) -> Option<(Option<IpAddr>, u16)> {
    let text = line.get(4..)?;
    match code {
        227 => six(&numbers(text)).map(|end| (Some(end.ip()), end.port())),
        229 => {
            let open = text.iter().position(|&byte| byte == b'(')?;
            let port = *numbers(text.get(open + 4..)?).first()?;
            Some((None, u16::try_from(port).ok()?))
        }
        _ => None,
    }
}

/// Where a line of the gate tells its reader to dial; 228 among them.
pub(crate) fn told(line: &[u8]) -> Option<(Option<IpAddr>, u16)> {
    match code(line) {
        Some((228, _)) => {
            let (_, list) = std::str::from_utf8(line).ok()?.split_once('(')?;
            announced("LPRT", list.as_bytes()).map(|end| (Some(end.ip()), end.port()))
        }
        Some((code, _)) => answered(code, line),
        None => None,
    }
}

/// Whether no data connection may ever go there.
pub(crate) fn is_forbidden(address: IpAddr) -> bool {
    let v4 = |v4: Ipv4Addr| {
        let [first, second, ..] = v4.octets();
        first == 0
            || first == 127
            || (224..240).contains(&first)
            || (first == 169 && second == 254)
            || v4 == Ipv4Addr::BROADCAST
    };
    match address.to_canonical() {
        IpAddr::V4(address) => v4(address),
        IpAddr::V6(address) => {
            let [first, ..] = address.segments();
            address == Ipv6Addr::LOCALHOST
                || address == Ipv6Addr::UNSPECIFIED
                || first >> 8 == 0xff
                || first & 0xffc0 == 0xfe80
        }
    }
}
