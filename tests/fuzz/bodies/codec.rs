//! The wire format: no line panics, cutting changes nothing, and what is written reads back as it was.

use std::net::SocketAddr;

use portcullis::ftp::{
    Command, Ending, LineBuffer, LineError, ReplyReader, TelnetFilter, Verb, bytes_behind_port,
    host_name, parse_227, parse_229, parse_eprt, parse_lprt, parse_port, read_announcement,
    unescape, write_227, write_228, write_229, write_eprt, write_port,
};

/// Bytes of a line at most.
const LIMIT: usize = 512;

/// Reads the bytes as both sides' lines, and each line as everything that it may be.
pub fn run(data: &[u8]) {
    let whole = lines(data, usize::MAX);
    let step = data.first().map_or(1, |&byte| usize::from(byte % 16) + 1);
    assert_eq!(whole, lines(data, step), "in pieces of {step} bytes");
    let mut replies = ReplyReader::default();
    for (line, _) in &whole.0 {
        replies.handle_line(line);
        command(line);
        announcement(line);
        let _ = (host_name(line), bytes_behind_port(line));
        assert!(unescape(line).len() <= line.len());
    }
    assert!(usize::try_from(replies.strays()).unwrap() <= whole.0.len());
}

type Lines = (Vec<(Vec<u8>, Ending)>, Option<LineError>, Vec<u8>, bool);

/// Telnet taken out, then lines; what was answered, and whether a Synch came.
fn lines(data: &[u8], step: usize) -> Lines {
    let (mut filter, mut buffer) = (TelnetFilter::default(), LineBuffer::default());
    let (mut found, mut answers, mut line) = (Vec::new(), Vec::new(), Vec::new());
    for piece in data.chunks(step.min(data.len().max(1))) {
        let mut text = Vec::new();
        filter.take(piece, &mut text, &mut answers);
        assert!(text.len() <= piece.len() + 1, "Telnet makes bytes");
        buffer.extend(&text);
        loop {
            match buffer.take_line(&mut line, |_| LIMIT) {
                Ok(Some(ending)) => found.push((line.clone(), ending)),
                Ok(None) => break,
                // What follows is never read: the session ends here. Answers depend on how far it came.
                Err(error) => return (found, Some(error), Vec::new(), false),
            }
            assert!(line.len() <= LIMIT && !line.contains(&b'\n'));
        }
        assert!(buffer.len() <= LIMIT + 1, "held without a line end");
    }
    (found, None, answers, filter.take_synch())
}

fn command(line: &[u8]) {
    let Ok(command) = Command::parse(line) else {
        return;
    };
    let verb = command.verb.as_str();
    assert_eq!(Verb::parse(verb), command.verb);
    let mut again = verb.as_bytes().to_vec();
    if let Some(argument) = command.argument {
        again.push(b' ');
        again.extend_from_slice(argument);
    }
    assert!(again.eq_ignore_ascii_case(line));
    assert_eq!(Command::parse(&again).as_ref(), Ok(&command));
    if let Some(Ok(endpoint)) = read_announcement(&command.verb, command.trimmed()) {
        written(endpoint);
    }
}

fn announcement(line: &[u8]) {
    for endpoint in [parse_port(line), parse_227(line)].into_iter().flatten() {
        written(endpoint.into());
    }
    for endpoint in [parse_eprt(line), parse_lprt(line)].into_iter().flatten() {
        written(endpoint);
    }
    if let Ok(port) = parse_229(line) {
        assert_eq!(parse_229(&write_229(port)), Ok(port));
    }
}

/// In every form that portcullis writes, an endpoint reads back as itself.
fn written(endpoint: SocketAddr) {
    assert_eq!(parse_eprt(argument(&write_eprt(endpoint))), Ok(endpoint));
    assert_eq!(parse_229(&write_229(endpoint.port())), Ok(endpoint.port()));
    let long = write_228(endpoint);
    let text = std::str::from_utf8(&long).unwrap();
    let inside = text.split_once('(').unwrap().1.split_once(')').unwrap().0;
    assert_eq!(parse_lprt(inside.as_bytes()), Ok(endpoint));
    if let SocketAddr::V4(v4) = endpoint {
        assert_eq!(parse_port(argument(&write_port(v4))), Ok(v4));
        assert_eq!(parse_227(&write_227(v4)), Ok(v4));
    }
}

fn argument(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r\n").unwrap();
    line.split_at(5).1
}
