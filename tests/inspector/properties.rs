//! Properties: what holds for every input, not for chosen ones.
use crate::dialogue::{BEHIND_NAT, Dialogue, PUBLISHED};
use portcullis::inspect::Side;
use proptest::prelude::*;

/// One transcript: what each side says in turn, the last word given first.
const TRANSCRIPT: &[(Side, &str)] = &[
    (
        Side::Server,
        "220-hello\r\n227 (192,0,2,20,0,22)\r\n220 ready\r\n",
    ),
    (Side::Client, "USER ann\r\nPASS secret\r\n"),
    (
        Side::Server,
        "331 password\r\n230-227 (1,2,3,4,5,6)\r\n230 in\r\n",
    ),
    (Side::Client, "SYST\r\nFEAT\r\n\r\nXYZZY\r\nCWD /pub\n"),
    (
        Side::Server,
        "215 UNIX\r\n211-Features\r\n EPSV\r\n211 End\r\n250 ok\r\n",
    ),
    (
        Side::Client,
        "NOOP\r\nPORT 10,0,0,5,4,1\r\nLIST -la\r\nPASV\r\n",
    ),
    (
        Side::Server,
        "200 noop\r\n200 port\r\n150 list\r\n226 done\r\n227 (192,0,2,20,200,10)\r\n",
    ),
    (
        Side::Client,
        "RETR a\r\nEPSV ALL\r\nPORT 10,0,0,5,4,1\r\nEPSV\r\nSTOR b\r\nQUIT\r\n",
    ),
    (
        Side::Server,
        "550 no\r\n200 all\r\n229 (|||51210|)\r\n150 go\r\n226 done\r\n221 bye\r\n",
    ),
];

/// Plays the transcript in pieces; `cut` says how long each piece is.
fn play(mut cut: impl FnMut() -> usize) -> Vec<String> {
    let mut dialogue = Dialogue::new(BEHIND_NAT);
    for (side, text) in TRANSCRIPT {
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let (piece, more) = rest.split_at(cut().clamp(1, rest.len()));
            rest = more;
            match side {
                Side::Client => dialogue.client_bytes(piece),
                Side::Server => dialogue.server_bytes(piece),
            };
        }
    }
    dialogue.finish(Side::Server).finish(Side::Client);
    dialogue.after(std::time::Duration::from_secs(5));
    dialogue.take_heard()
}

#[test]
fn one_byte_segments_give_the_same_actions_as_whole_ones() {
    let whole = play(|| usize::MAX);
    assert!(
        whole.iter().any(|text| text.starts_with("open ")),
        "{whole:?}"
    );
    assert_eq!(play(|| 1), whole);
}

/// Lines of both sides, well-formed and not, and free bytes.
fn any_line() -> impl Strategy<Value = Vec<u8>> {
    let word = prop::sample::select(vec![
        "USER ann",
        "PASS x",
        "PASV",
        "EPSV",
        "EPSV ALL",
        "PORT 10,0,0,5,4,1",
        "PORT 10,0,0,9,4,1",
        "PORT 10,0,0,5,0,22",
        "EPRT |1|10.0.0.5|2000|",
        "LIST",
        "RETR a",
        "STOR b",
        "ABOR",
        "REIN",
        "QUIT",
        "NOOP",
        "AUTH TLS",
        "230 in",
        "220 hi",
        "331 go",
        "200 ok",
        "150 go",
        "226 done",
        "227 (192,0,2,20,200,10)",
        "227 (192,0,2,20,0,22)",
        "227 (10,0,0,9,200,10)",
        "229 (|||51210|)",
        "229 (|||22|)",
        "230-text",
        "421 bye",
        "550 no",
        "500 '227 (1,2,3,4,5,6)'",
    ]);
    prop_oneof![
        8 => word.prop_map(|word| format!("{word}\r\n").into_bytes()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #[test]
    fn random_segments_give_the_same_actions_as_whole_ones(
        cuts in prop::collection::vec(1_usize..40, 1..200)
    ) {
        let mut cuts = cuts.into_iter().cycle();
        prop_assert_eq!(play(|| cuts.next().unwrap_or(1)), play(|| usize::MAX));
    }

    #[test]
    fn no_input_opens_a_pinhole_to_a_third_host_or_a_privileged_port(
        published in any::<bool>(),
        said in prop::collection::vec((any::<bool>(), any_line()), 0..60)
    ) {
        let addresses = if published { PUBLISHED } else { BEHIND_NAT };
        let mut dialogue = Dialogue::new(addresses);
        dialogue.free_ports = (50_000..50_100).collect();
        for (by_client, line) in said {
            match by_client {
                true => dialogue.client_bytes(&line),
                false => dialogue.server_bytes(&line),
            };
            let [client, dialled, server, seen] =
                addresses.map(|address| address.parse().expect("an address"));
            for (_, pinhole) in &dialogue.pinholes {
                let (ends, via) = ([client, server], [dialled, seen]);
                prop_assert!(ends.contains(&pinhole.initiator), "{}", pinhole);
                prop_assert!(ends.contains(&pinhole.target.ip()), "{}", pinhole);
                prop_assert!(via.contains(&pinhole.announced.ip()), "{}", pinhole);
                prop_assert!(pinhole.initiator != pinhole.target.ip(), "{}", pinhole);
                prop_assert!(pinhole.target.port() >= 1024, "{}", pinhole);
            }
        }
    }
}
