//! Model servers: they answer what the gate gives them, each in its own manner.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use portcullis::nat::Legs;

use crate::chance::Chance;
use crate::client::{Mood, any_port, mangle};

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) mood: Mood,
    legs: Legs,
    /// What it was asked and has not answered; the greeting first.
    asked: VecDeque<String>,
    /// It has begun a transfer and will end it.
    transferring: bool,
    /// What it does not know: PORT, EPRT, PASV, EPSV, HOST.
    lacks: Vec<&'static str>,
    /// It has said goodbye.
    pub(crate) gone: bool,
}

const UNASKED: [&str; 16] = [
    "200 ok",
    "226 done",
    "230 in",
    "150 go",
    "426 cut",
    "550 no",
    "500 '227 (192,0,2,20,200,10)'",
    "PORT 10,0,0,5,4,1",
    "220-hi",
    "220 hi",
    "234 go",
    "425 no",
    "331 more",
    "hello",
    "200-",
    "250 ok",
];

impl Server {
    pub(crate) fn new(mood: Mood, legs: Legs, chance: &mut Chance) -> Self {
        let mut lacks = Vec::new();
        for verb in ["PORT", "EPRT", "PASV", "EPSV", "HOST"] {
            if chance.one_in(5) {
                lacks.push(verb);
            }
        }
        Self {
            mood,
            legs,
            asked: VecDeque::from(["(greeting)".to_owned()]),
            transferring: false,
            lacks,
            gone: false,
        }
    }

    /// What the gate told it.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        if self.asked.len() < 64 && bytes.ends_with(b"\r\n") {
            let line = String::from_utf8_lossy(bytes).trim_end().to_owned();
            self.asked.push_back(line);
        }
    }

    /// What it says next, if it says anything.
    pub(crate) fn speak(&mut self, chance: &mut Chance) -> Option<Vec<u8>> {
        let odd = match self.mood {
            Mood::Honest => 0,
            Mood::Clumsy => 4,
            Mood::Hostile => 30,
        };
        if chance.percent(odd) {
            return Some(self.say_unasked(chance));
        }
        let mut said = self.reply(chance)?;
        let misspells = match self.mood {
            Mood::Honest => false,
            Mood::Clumsy => chance.one_in(15),
            Mood::Hostile => chance.one_in(4),
        };
        if misspells {
            mangle(&mut said, chance);
        }
        said.extend_from_slice(chance.weighted(&[(30, b"\r\n".as_slice()), (1, b"\n")]));
        Some(said)
    }

    fn say_unasked(&mut self, chance: &mut Chance) -> Vec<u8> {
        let mut said = match chance.below(5) {
            0 => self.passive(227, chance),
            1 => self.passive(229, chance),
            2 if chance.one_in(12) => b"421 bye".to_vec(),
            3 if chance.one_in(4) => (0..chance.below(60)).map(|_| chance.byte()).collect(),
            _ => chance.pick(&UNASKED).as_bytes().to_vec(),
        };
        said.extend_from_slice(b"\r\n");
        said
    }

    fn reply(&mut self, chance: &mut Chance) -> Option<Vec<u8>> {
        // While a transfer runs, some commands are answered at once.
        if self.transferring {
            let early = |line: &String| line.starts_with("STAT") || line.starts_with("NOOP");
            if chance.one_in(3)
                && let Some(at) = self.asked.iter().skip(1).position(early)
            {
                let asked = self.asked.remove(at + 1)?;
                return Some(self.reply_to(&asked, chance));
            }
            if chance.one_in(3) {
                return None;
            }
            self.transferring = false;
            let _ = self.asked.pop_front();
            let pure = self.asked.front().is_some_and(|line| line == "ABOR");
            if pure && chance.one_in(4) {
                let _ = self.asked.pop_front();
                return Some(b"150 aborted".to_vec());
            }
            let ends = [
                (8, "226 done"),
                (1, "426 cut"),
                (1, "451 no"),
                (1, "250 done"),
            ];
            return Some(chance.weighted(&ends).as_bytes().to_vec());
        }
        let asked = self.asked.front()?.clone();
        let verb = asked.split(' ').next().unwrap_or_default();
        if transfers(verb) && chance.percent(75) {
            self.transferring = true;
            return Some(chance.pick(&["150 go", "125 go"]).as_bytes().to_vec());
        }
        let _ = self.asked.pop_front();
        Some(self.reply_to(&asked, chance))
    }

    fn reply_to(&mut self, asked: &str, chance: &mut Chance) -> Vec<u8> {
        let (verb, rest) = asked.split_once(' ').unwrap_or((asked, ""));
        let verb = verb.to_ascii_uppercase();
        if self.lacks.contains(&verb.as_str()) {
            let refusals = [
                "500 what",
                "502 no",
                "500-what\r\n500 no",
                "522 no",
                "504 no",
                "530 no",
            ];
            return chance.pick(&refusals).as_bytes().to_vec();
        }
        let says = |text: &str| text.as_bytes().to_vec();
        let replies: &[(usize, &str)] = match verb.as_str() {
            "(greeting)" => &[
                (6, "220 hi"),
                (1, "120 soon\r\n220 hi"),
                (2, "220-hi\r\n227 (1,2,3,4,5,6)\r\n220 x"),
            ],
            "USER" => &[
                (8, "331 password"),
                (2, "230 in"),
                (2, "530 not he"),
                (1, "500 no"),
            ],
            "PASS" => &[
                (9, "230 in"),
                (3, "530 wrong"),
                (1, "230-hi\r\n 227\r\n230 in"),
                (1, "202 in"),
            ],
            "ACCT" => &[
                (2, "230 in"),
                (2, "202 needless"),
                (1, "530 no"),
                (1, "502 no"),
            ],
            "PASV" => return self.passive(227, chance),
            "EPSV" if rest.eq_ignore_ascii_case("ALL") => {
                &[(4, "200 all"), (1, "501 no"), (1, "500-a\r\n500 b")]
            }
            "EPSV" => return self.passive(229, chance),
            "PORT" | "EPRT" => &[
                (9, "200 ok"),
                (1, "200-ok\r\n200 ok"),
                (1, "500 no"),
                (1, "425 no"),
                (1, "522 no"),
            ],
            "RETR" | "STOR" | "STOU" | "APPE" | "LIST" | "NLST" | "MLSD" => &[
                (3, "550 no"),
                (2, "425 no"),
                (2, "226 done"),
                (1, "550-no\r\n550 no"),
            ],
            "ABOR" => &[(4, "226 aborted"), (1, "225 none"), (1, "500 no")],
            "AUTH" => &[(4, "234 go"), (1, "500 no"), (1, "534 no")],
            "REIN" => &[
                (4, "220 again"),
                (1, "502 no"),
                (1, "120 wait\r\n220 again"),
            ],
            "QUIT" => {
                self.gone |= chance.percent(80);
                &[(1, "221 bye")]
            }
            "PWD" => &[
                (5, "257 \"/home\" is it"),
                (1, "550 no"),
                (1, "257 \"/a\"\"b\""),
            ],
            "CWD" | "CDUP" => &[(5, "250 ok"), (1, "550 no")],
            "FEAT" => &[
                (
                    3,
                    "211-Features\r\n MLST a*\r\n AUTH TLS\r\n EPSV\r\n211 End",
                ),
                (1, "500 no"),
            ],
            "SYST" => &[(1, "215 UNIX"), (1, "215-UNIX\r\n215 x")],
            "STAT" => &[(1, "211-State\r\n227 x\r\n211 End"), (1, "213 x")],
            "HOST" => &[(3, "220 ok"), (1, "504 no"), (1, "500-no\r\n500 no")],
            "DELE" | "MKD" | "SIZE" => &[(1, "250 ok"), (1, "550 no")],
            _ => &[(6, "200 ok"), (1, "500 no")],
        };
        says(chance.weighted(replies))
    }

    /// 227 or 229, mostly as it should be.
    fn passive(&mut self, code: u16, chance: &mut Chance) -> Vec<u8> {
        let port = match self.mood == Mood::Honest {
            true => chance.port() | 0x8000,
            false => any_port(chance),
        };
        let own = SocketAddr::new(self.legs.server, port);
        let odd = self.mood != Mood::Honest && chance.one_in(6);
        if odd && chance.one_in(2) {
            let others = [
                "200 ok",
                "530 no",
                "425 no",
                "227 Entering",
                "229 (||1|)",
                "228 (4,4,1,2,3,4,2,5,6)",
                "250 ok",
            ];
            return chance.pick(&others).as_bytes().to_vec();
        }
        let code = if odd { 456 - code } else { code };
        let text = match code {
            227 => {
                let v4 = match own.ip() {
                    IpAddr::V4(v4) if !odd => v4,
                    _ => [203, 0, 113, 9].into(),
                };
                let [high, low] = port.to_be_bytes();
                let list = v4.octets().map(|octet| octet.to_string()).join(",");
                let forms = chance.below(4);
                match forms {
                    0 => format!("227 Passive {list},{high},{low}"),
                    1 => format!("227 ={list},{high},{low}."),
                    _ => format!("227 Entering Passive Mode ({list},{high},{low})."),
                }
            }
            _ => format!("229 Extended Passive (|||{port}|)"),
        };
        match chance.one_in(12) {
            true => format!("{code}-first\r\n{code} (1,2,3,4,5,6)x\r\n{text}").into_bytes(),
            false => text.into_bytes(),
        }
    }
}

fn transfers(verb: &str) -> bool {
    ["RETR", "STOR", "STOU", "APPE", "LIST", "NLST", "MLSD"].contains(&verb)
}
