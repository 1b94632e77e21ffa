//! The wire format: bytes to lines, lines to commands, replies and endpoints, in bytes a second.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use portcullis::ftp::{self, Command, LineBuffer, ReplyReader, TelnetFilter, Verb};

/// What a client says for some files, and what it is answered.
const COMMANDS: &[u8] = b"USER anna\r\nPASS secret\r\nSYST\r\nTYPE I\r\nCWD /pub/releases\r\nPASV\r\n\
    SIZE file.bin\r\nMDTM file.bin\r\nRETR file.bin\r\nPORT 10,60,1,2,160,40\r\nLIST -la\r\nQUIT\r\n";
const REPLIES: &[u8] = b"220 ready\r\n331 Please specify the password.\r\n230-Welcome\r\n \
    to the mirror\r\n230 Login successful.\r\n215 UNIX Type: L8\r\n200 Switching to Binary mode.\r\n\
    250 Directory successfully changed.\r\n227 Entering Passive Mode (198,51,100,20,200,10).\r\n\
    213 1048576\r\n150 Opening BINARY mode data connection for file.bin (6 bytes).\r\n\
    226 Transfer complete.\r\n221 Goodbye.\r\n";

/// Announcements, each as its command or reply says it.
const ENDPOINTS: [(Verb, &[u8]); 3] = [
    (Verb::Port, b"10,60,1,2,160,40"),
    (Verb::Eprt, b"|1|10.60.1.2|41000|"),
    (Verb::Eprt, b"|2|2001:db8::2|41000|"),
];
const PASSIVE: &[u8] = b"227 Entering Passive Mode (198,51,100,20,200,10).";
const EXTENDED: &[u8] = b"229 Entering Extended Passive Mode (|||51210|)";

fn lines(text: &'static [u8]) -> Vec<&'static [u8]> {
    let lines = text.split(|&byte| byte == b'\n');
    lines
        .map(<[u8]>::trim_ascii_end)
        .filter(|line| !line.is_empty())
        .collect()
}

fn bytes(lines: &[&[u8]]) -> Throughput {
    Throughput::Bytes(lines.iter().map(|line| line.len() as u64).sum())
}

fn codec(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Bytes(COMMANDS.len() as u64));
    group.bench_function("line", |bencher| {
        let (mut telnet, mut buffer) = (TelnetFilter::default(), LineBuffer::default());
        let (mut text, mut answers, mut line) = (Vec::new(), Vec::new(), Vec::new());
        bencher.iter(|| {
            text.clear();
            telnet.take(black_box(COMMANDS), &mut text, &mut answers);
            buffer.extend(&text);
            while let Ok(Some(_)) = buffer.take_line(&mut line, |_| 512) {
                black_box(&line);
            }
        });
    });
    let commands = lines(COMMANDS);
    group.throughput(bytes(&commands));
    group.bench_function("command", |bencher| {
        bencher.iter(|| {
            for line in &commands {
                black_box(Command::parse(black_box(line)).unwrap());
            }
        });
    });
    let replies = lines(REPLIES);
    group.throughput(bytes(&replies));
    group.bench_function("reply", |bencher| {
        let mut reader = ReplyReader::default();
        bencher.iter(|| {
            for line in &replies {
                black_box(reader.handle_line(black_box(line)));
            }
        });
    });
    let arguments = ENDPOINTS.map(|(_, argument)| argument);
    group.throughput(bytes(&[&arguments[..], &[PASSIVE, EXTENDED]].concat()));
    group.bench_function("endpoint", |bencher| {
        bencher.iter(|| {
            for (verb, argument) in &ENDPOINTS {
                let read = ftp::read_announcement(verb, black_box(argument));
                black_box(read.unwrap().unwrap());
            }
            black_box(ftp::parse_227(black_box(PASSIVE)).unwrap());
            black_box(ftp::parse_229(black_box(EXTENDED)).unwrap());
        });
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
