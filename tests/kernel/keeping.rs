//! The keeper as a process that was taken over would use it.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};

use libtest_mimic::Trial;
use portcullis::keeper::KEEPER_TASK;
use portcullis::net::line::{Line, hand_over};

use crate::lab::{Lab, settings};
use crate::trial;

pub(crate) fn trials() -> Vec<Trial> {
    vec![trial(
        "the_keeper_installs_once_and_ends_at_what_is_no_order",
        installs_once,
    )]
}

fn installs_once() {
    let lab = Lab::new();
    lab.edge.run(|| {
        let (mut orders, taken) = UnixStream::pair().unwrap();
        let mut keeper = Command::new(env!("CARGO_BIN_EXE_portcullis"))
            .arg(KEEPER_TASK)
            .stdin(Stdio::from(OwnedFd::from(taken)))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (questions, asked) = Line::pair().unwrap();
        let (pinholes, wanted) = Line::pair().unwrap();
        let (answers, answering) = Line::pair().unwrap();
        hand_over(&orders, &[&asked, &wanted, &answering]).unwrap();
        drop((asked, wanted, answering));

        let mut said = BufReader::new(keeper.stdout.take().unwrap());
        let mut install = |expected: &str| {
            let order = serde_json::json!({ "Install": settings(10) });
            writeln!(orders, "{order}").unwrap();
            let mut answer = String::new();
            said.read_line(&mut answer).unwrap();
            assert!(answer.starts_with(expected), "{answer}");
        };
        install(r#"{"Ok":["#);
        install(r#"{"Err":"the table is put in place once"#);

        pinholes.send(b"\xff\xff\xff\xff").unwrap();
        assert_eq!(keeper.wait().unwrap().code(), Some(1));
        let mut log = String::new();
        let mut stderr = keeper.stderr.take().unwrap();
        stderr.read_to_string(&mut log).unwrap();
        assert!(log.contains("keeping the nftables table"), "{log}");
        drop((questions, answers));
    });
    let tables = lab.edge.sh("nft list tables");
    assert!(tables.contains("portcullis"), "transfers that run go on");
}
