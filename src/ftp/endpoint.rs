//! The endpoint that PORT, EPRT, 227 and 229 announce.
//!
//! What is read here is a claim; whether it may be believed is decided in `inspect`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};

use thiserror::Error;

use super::Verb;

/// Why an announcement can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EndpointError {
    /// It does not have the form that the RFC gives; the text says what is wrong.
    #[error("{0}")]
    Unreadable(&'static str),
    /// EPRT with a protocol number other than 1 and 2, or one that does not fit its address
    /// (RFC 2428 §2: answered 522).
    #[error("the protocol number is not 1 or 2, or does not fit the address")]
    OtherProtocol,
}

use EndpointError::{OtherProtocol, Unreadable};

/// Reads the argument of PORT: `h1,h2,h3,h4,p1,p2` (RFC 959 §5.3.2), spaces around it removed.
///
/// # Errors
/// [`EndpointError::Unreadable`] unless there are exactly six numbers of one to three digits, each
/// at most 255.
pub fn parse_port(argument: &[u8]) -> Result<SocketAddrV4, EndpointError> {
    let (endpoint, rest) = six_numbers(argument)?;
    if rest.is_empty() {
        Ok(endpoint)
    } else {
        Err(Unreadable("more than six numbers"))
    }
}

/// Reads a 227 line: the first digit behind the code begins six numbers (RFC 1123 §4.1.2.6).
///
/// # Errors
/// [`EndpointError::Unreadable`] unless exactly six numbers 0–255 with five commas are found.
pub fn parse_227(line: &[u8]) -> Result<SocketAddrV4, EndpointError> {
    let text = line.get(4..).unwrap_or_default();
    let first = text
        .iter()
        .position(u8::is_ascii_digit)
        .ok_or(Unreadable("no address in it"))?;
    let (endpoint, rest) = six_numbers(text.get(first..).unwrap_or_default())?;
    match rest.first() {
        Some(b',') => Err(Unreadable("more than six numbers")),
        _ => Ok(endpoint),
    }
}

/// Reads the argument of EPRT: `|1|132.235.1.2|6275|` (RFC 2428 §2), any delimiter of 33–126.
///
/// # Errors
/// [`EndpointError::OtherProtocol`] for a protocol other than 1 and 2 or one that does not fit the
/// address, [`EndpointError::Unreadable`] for all else.
pub fn parse_eprt(argument: &[u8]) -> Result<SocketAddr, EndpointError> {
    let (&delimiter, rest) = argument.split_first().ok_or(Unreadable("no argument"))?;
    if !(33..=126).contains(&delimiter) {
        return Err(Unreadable("the delimiter is not a printable character"));
    }
    let mut fields = rest.split(|&byte| byte == delimiter);
    let mut field = || fields.next().ok_or(Unreadable("fewer than three fields"));
    let (protocol, address, port) = (field()?, field()?, field()?);
    if fields.next() != Some(b"") || fields.next().is_some() {
        return Err(Unreadable("not exactly three fields"));
    }
    let port = decimal_port(port)?;
    let address = std::str::from_utf8(address).unwrap_or_default();
    let (v4, v6) = (address.parse::<Ipv4Addr>(), address.parse::<Ipv6Addr>());
    let address = match (protocol, v4, v6) {
        (b"1", Ok(v4), _) => IpAddr::V4(v4),
        (b"2", _, Ok(v6)) => IpAddr::V6(v6),
        (b"1", _, Ok(_)) | (b"2", Ok(_), _) => return Err(OtherProtocol),
        (b"1" | b"2", _, _) => return Err(Unreadable("the address is not one")),
        (number, _, _) if !number.is_empty() && number.iter().all(u8::is_ascii_digit) => {
            return Err(OtherProtocol);
        }
        _ => return Err(Unreadable("the protocol is not a number")),
    };
    Ok(SocketAddr::new(address, port))
}

/// Reads the argument of LPRT: `4,4,h1,h2,h3,h4,2,p1,p2` or `6,16,h1,…,h16,2,p1,p2` (RFC 1639 §2).
///
/// # Errors
/// [`EndpointError::OtherProtocol`] for an address family other than 4 and 6,
/// [`EndpointError::Unreadable`] for all else.
pub fn parse_lprt(argument: &[u8]) -> Result<SocketAddr, EndpointError> {
    let mut octets = Vec::with_capacity(21);
    for field in argument.split(|&byte| byte == b',') {
        if octets.len() == 21 {
            return Err(Unreadable("more numbers than an address and a port have"));
        }
        octets.push(octet(field)?);
    }
    match *octets.as_slice() {
        [4, 4, a, b, c, d, 2, high, low] => {
            let port = u16::from_be_bytes([high, low]);
            Ok(SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port))
        }
        [6, 16, ref address @ .., 2, high, low] => {
            let address = <[u8; 16]>::try_from(address)
                .map_err(|_| Unreadable("the address has not sixteen numbers"))?;
            Ok(SocketAddr::new(
                Ipv6Addr::from(address).into(),
                u16::from_be_bytes([high, low]),
            ))
        }
        [4 | 6, ..] => Err(Unreadable("lengths and numbers do not fit together")),
        _ => Err(OtherProtocol),
    }
}

/// Writes a 228 reply (RFC 1639 §3), line end included.
pub fn write_228(endpoint: SocketAddr) -> Vec<u8> {
    let mut line = with_room(b"228 Entering Long Passive Mode (");
    match endpoint.ip() {
        IpAddr::V4(v4) => {
            line.extend_from_slice(b"4,4,");
            numbers(&v4.octets(), &mut line);
        }
        IpAddr::V6(v6) => {
            line.extend_from_slice(b"6,16,");
            numbers(&v6.octets(), &mut line);
        }
    }
    line.extend_from_slice(b",2,");
    numbers(&endpoint.port().to_be_bytes(), &mut line);
    line.extend_from_slice(b")\r\n");
    line
}

/// Bytes behind the six numbers of a 227 line or of PORT's argument, the line end not counted; what
/// Cisco's strict inspection bounds by eight (protocol rule 21).
pub fn bytes_behind_port(text: &[u8]) -> usize {
    let first = text
        .iter()
        .position(u8::is_ascii_digit)
        .unwrap_or(text.len());
    six_numbers(text.get(first..).unwrap_or_default()).map_or(0, |(_, rest)| rest.len())
}

/// Reads a 229 line: `229 … (|||6446|)` (RFC 2428 §3), any delimiter of 33–126; gives the port.
///
/// # Errors
/// [`EndpointError::Unreadable`] unless the parentheses hold three equal delimiters, a port and the
/// delimiter again.
pub fn parse_229(line: &[u8]) -> Result<u16, EndpointError> {
    let open = line
        .iter()
        .position(|&byte| byte == b'(')
        .ok_or(Unreadable("no parenthesis"))?;
    let inside = line.get(open + 1..).unwrap_or_default();
    let &[delimiter, second, third, ref rest @ ..] = inside else {
        return Err(Unreadable("nothing in the parentheses"));
    };
    if delimiter != second || delimiter != third || !(33..=126).contains(&delimiter) {
        return Err(Unreadable("the first two fields are not blank"));
    }
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (port, end) = rest.split_at_checked(digits).unwrap_or_default();
    match end {
        [last, b')', ..] if *last == delimiter => decimal_port(port),
        _ => Err(Unreadable("the port is not closed by the delimiter")),
    }
}

/// Reads what a command announces, by its verb: PORT, EPRT or LPRT; `None` for other verbs. Spaces
/// around the argument are removed already.
pub fn read_announcement(
    verb: &Verb,
    argument: &[u8],
) -> Option<Result<SocketAddr, EndpointError>> {
    if *verb == Verb::Port {
        Some(parse_port(argument).map(SocketAddr::V4))
    } else if *verb == Verb::Eprt {
        Some(parse_eprt(argument))
    } else if *verb == Verb::Lprt {
        Some(parse_lprt(argument))
    } else {
        None
    }
}

/// Writes a PORT command, line end included.
pub fn write_port(endpoint: SocketAddrV4) -> Vec<u8> {
    let mut line = with_room(b"PORT ");
    six_fields(endpoint, &mut line);
    line.extend_from_slice(b"\r\n");
    line
}

/// Writes an EPRT command, line end included.
pub fn write_eprt(endpoint: SocketAddr) -> Vec<u8> {
    let protocol = if endpoint.is_ipv4() { 1 } else { 2 };
    format!(
        "EPRT |{protocol}|{}|{}|\r\n",
        endpoint.ip(),
        endpoint.port()
    )
    .into_bytes()
}

/// Writes a 227 reply in the form that every client reads, line end included.
pub fn write_227(endpoint: SocketAddrV4) -> Vec<u8> {
    let mut line = with_room(b"227 Entering Passive Mode (");
    six_fields(endpoint, &mut line);
    line.extend_from_slice(b").\r\n");
    line
}

/// Writes a 229 reply, line end included.
pub fn write_229(port: u16) -> Vec<u8> {
    let mut line = with_room(b"229 Entering Extended Passive Mode (|||");
    line.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
    line.extend_from_slice(b"|)\r\n");
    line
}

/// Begins a line with room for an IPv4 address.
fn with_room(start: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(64);
    line.extend_from_slice(start);
    line
}

fn six_fields(endpoint: SocketAddrV4, line: &mut Vec<u8>) {
    numbers(&endpoint.ip().octets(), line);
    line.push(b',');
    numbers(&endpoint.port().to_be_bytes(), line);
}

/// Appends numbers with commas between them.
fn numbers(octets: &[u8], line: &mut Vec<u8>) {
    for (place, octet) in octets.iter().enumerate() {
        if place > 0 {
            line.push(b',');
        }
        line.extend_from_slice(itoa::Buffer::new().format(*octet).as_bytes());
    }
}

/// Reads six numbers and gives what stands behind them.
fn six_numbers(mut text: &[u8]) -> Result<(SocketAddrV4, &[u8]), EndpointError> {
    let mut numbers = [0; 6];
    for (index, number) in numbers.iter_mut().enumerate() {
        if index > 0 {
            text = text
                .strip_prefix(b",")
                .ok_or(Unreadable("fewer than six numbers"))?;
        }
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (field, rest) = text.split_at_checked(digits).unwrap_or_default();
        *number = octet(field)?;
        text = rest;
    }
    let [a, b, c, d, high, low] = numbers;
    let endpoint = SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([high, low]));
    Ok((endpoint, text))
}

/// Digits only and at most three: `u8::from_str` would take `+5` and `0000005`.
fn octet(field: &[u8]) -> Result<u8, EndpointError> {
    if !(1..=3).contains(&field.len()) || !field.iter().all(u8::is_ascii_digit) {
        return Err(Unreadable("a number has not one to three digits"));
    }
    let value = field
        .iter()
        .fold(0_u16, |value, &digit| value * 10 + u16::from(digit - b'0'));
    u8::try_from(value).map_err(|_| Unreadable("a number is over 255"))
}

fn decimal_port(field: &[u8]) -> Result<u16, EndpointError> {
    if !(1..=5).contains(&field.len()) || !field.iter().all(u8::is_ascii_digit) {
        return Err(Unreadable("the port has not one to five digits"));
    }
    let value = field
        .iter()
        .fold(0_u32, |value, &digit| value * 10 + u32::from(digit - b'0'));
    u16::try_from(value).map_err(|_| Unreadable("the port is over 65535"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v4(text: &str) -> SocketAddrV4 {
        text.parse().unwrap()
    }

    #[test]
    fn p19_227_takes_six_numbers_wherever_they_begin() {
        let expected = Ok(v4("10.0.0.5:1025"));
        for line in [
            "227 Entering Passive Mode (10,0,0,5,4,1).",
            "227 Entering Passive Mode 10,0,0,5,4,1",
            "227 =10,0,0,5,4,1",
            "227 Entering Passive Mode. 10,0,0,5,4,1.",
        ] {
            assert_eq!(parse_227(line.as_bytes()), expected, "{line}");
        }
        for line in [
            "227 Entering Passive Mode",
            "227",
            "227 (10,0,0,5,4)",
            "227 (10,0,0,5,4,1,7)",
            "227 (10,0,0,5,4,)",
            "227 (10, 0,0,5,4,1)",
            "227 mode 2 (10,0,0,5,4,1)",
            "227 (10,0,0,256,4,1)",
        ] {
            assert!(parse_227(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn p20_port_refuses_what_is_not_six_small_numbers() {
        assert_eq!(parse_port(b"10,0,0,5,4,1"), Ok(v4("10.0.0.5:1025")));
        for argument in [
            "10,77,1,258,4,1",
            "10,0,0,5,456,10",
            "10,0,0,5,4",
            "10,0,0,5,-4,1",
            "10,0,0,+5,4,1",
            "10,0,0,0005,4,1",
            "10,0,0,5,4,1,2",
            "10,0,0,5,4,1x",
            "10,0,0,,4,1",
            "",
            ",,,,,",
            "10.0.0.5,4,1",
            "10,0,0,5,4,1 ",
        ] {
            assert!(parse_port(argument.as_bytes()).is_err(), "{argument}");
        }
    }

    #[test]
    fn p22_229_has_blank_fields_and_any_delimiter() {
        assert_eq!(
            parse_229(b"229 Entering Extended Passive Mode (|||6446|)"),
            Ok(6446)
        );
        assert_eq!(parse_229(b"229 ok (!!!6446!)"), Ok(6446));
        for line in [
            "229 ok",
            "229 (|||6446)",
            "229 (||6446|)",
            "229 (|1|10.0.0.1|6446|)",
            "229 (|||65536|)",
            "229 (|||+1|)",
            "229 (||||)",
            "229 (|!|6446|)",
            "229 (   6446 )",
            "229 (|||6446|",
        ] {
            assert!(parse_229(line.as_bytes()).is_err(), "{line}");
        }
    }

    #[test]
    fn p23_eprt_takes_any_delimiter_and_protocols_1_and_2() {
        let v6: SocketAddr = "[2001:db8::5]:1025".parse().unwrap();
        assert_eq!(
            parse_eprt(b"|1|10.0.0.5|1025|"),
            Ok(v4("10.0.0.5:1025").into())
        );
        assert_eq!(parse_eprt(b"!2!2001:db8::5!1025!"), Ok(v6));
        for argument in [
            "|3|10.0.0.5|1025|",
            "|1|2001:db8::5|1025|",
            "|2|10.0.0.5|1025|",
        ] {
            assert_eq!(
                parse_eprt(argument.as_bytes()),
                Err(OtherProtocol),
                "{argument}"
            );
        }
        for argument in [
            "",
            "|",
            "|1|10.0.0.5|1025",
            "|1|10.0.0.5|1025|x",
            "|1|10.0.0.256|1025|",
            "||10.0.0.5|1025|",
            "|1|10.0.0.5||",
            "|1|10.0.0.5|99999|",
            "|1|10.0.0.5|+1025|",
            " 1 10.0.0.5 1025 ",
        ] {
            assert!(
                matches!(parse_eprt(argument.as_bytes()), Err(Unreadable(_))),
                "{argument}"
            );
        }
    }

    #[test]
    fn p36_lprt_reads_both_families() {
        assert_eq!(
            parse_lprt(b"4,4,10,0,0,5,2,4,1"),
            Ok(v4("10.0.0.5:1025").into())
        );
        let v6: SocketAddr = "[2001:db8::5]:1025".parse().unwrap();
        assert_eq!(
            parse_lprt(b"6,16,32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,5,2,4,1"),
            Ok(v6)
        );
        assert_eq!(parse_lprt(b"5,4,10,0,0,5,2,4,1"), Err(OtherProtocol));
        for argument in [
            "",
            "4,4,10,0,0,5,2,4",
            "4,6,10,0,0,5,2,4,1",
            "4,4,10,0,0,5,3,0,4,1",
            "6,16,1,2,4,1",
        ] {
            assert!(
                matches!(parse_lprt(argument.as_bytes()), Err(Unreadable(_))),
                "{argument}"
            );
        }
        let written = String::from_utf8(write_228(v4("10.0.0.5:1025").into())).unwrap();
        assert_eq!(
            written,
            "228 Entering Long Passive Mode (4,4,10,0,0,5,2,4,1)\r\n"
        );
    }

    #[test]
    fn what_is_written_reads_back() {
        let end = v4("10.0.0.5:1025");
        let body = |line: Vec<u8>, from: usize| line[from..line.len() - 2].to_vec();
        assert_eq!(parse_port(&body(write_port(end), 5)), Ok(end));
        assert_eq!(parse_eprt(&body(write_eprt(end.into()), 5)), Ok(end.into()));
        assert_eq!(parse_227(&write_227(end)), Ok(end));
        assert_eq!(parse_229(&write_229(1025)), Ok(1025));
    }
}
