//! Model clients: honest ones that wait for each reply, clumsy ones that send ahead and misspell, and
//! hostile ones.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use portcullis::nat::Legs;

use crate::chance::Chance;
use crate::scene::{PARTNER_V4, PARTNER_V6, ip};
use crate::wire;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    Honest,
    Clumsy,
    Hostile,
}

impl Mood {
    pub(crate) fn any(chance: &mut Chance) -> Self {
        chance.weighted(&[(4, Self::Honest), (3, Self::Clumsy), (2, Self::Hostile)])
    }
}

#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) mood: Mood,
    legs: Legs,
    /// Lines it means to send.
    plan: VecDeque<String>,
    /// Commands without a reply; the greeting is waited for as well.
    waiting: usize,
    logged_in: bool,
}

const VERBS: [&str; 14] = [
    "NOOP",
    "SYST",
    "FEAT",
    "STAT",
    "HELP",
    "TYPE I",
    "PWD",
    "CDUP",
    "CWD /pub",
    "CWD sub",
    "REST 9",
    "OPTS UTF8 ON",
    "SIZE a",
    "MLST a",
];

const TRANSFERS: [&str; 9] = [
    "RETR a",
    "STOR b",
    "LIST",
    "LIST -la /pub",
    "NLST",
    "MLSD",
    "STOU",
    "APPE c",
    "RETR /secret/x",
];

const ODD: [&str; 36] = [
    "GET / HTTP/1.1",
    "STAT / HTTP/1.1",
    "RNTO a\r\0b",
    "\u{16}\u{3}\u{1}",
    "",
    " LIST",
    "XYZZY",
    "SPSV",
    "CPSV",
    "P@SW",
    "227 (10,0,0,5,4,1)",
    "421 bye",
    "200 ok",
    "PROT P",
    "PBSZ 0",
    "CCC",
    "AUTH KRB5",
    "ALGS STATUS64",
    "ALGS",
    "HOST a.example",
    "HOST B.Example",
    "HOST c.example",
    "HOST a.example:21",
    "EPSV ALL",
    "epsv all",
    "PASV ALL",
    "EPSV 1",
    "EPSV 2",
    "EPSV 3",
    "LPSV ALL",
    "SITE CHMOD 777 a",
    "DELE a",
    "MKD x",
    "RNFR a",
    "ACCT y",
    "STAT /pub",
];

impl Client {
    pub(crate) fn new(mood: Mood, legs: Legs) -> Self {
        Self {
            mood,
            legs,
            plan: VecDeque::new(),
            waiting: 1,
            logged_in: false,
        }
    }

    /// What the gate told it.
    pub(crate) fn hear(&mut self, bytes: &[u8]) {
        for line in bytes.split(|&byte| byte == b'\n') {
            if let Some((code, b' ')) = wire::code(line)
                && code >= 200
            {
                self.waiting = self.waiting.saturating_sub(1);
                self.logged_in |= code == 230;
                self.logged_in &= code != 530;
            }
        }
    }

    /// What it says next, if it says anything.
    pub(crate) fn speak(&mut self, chance: &mut Chance) -> Option<Vec<u8>> {
        let ahead = match self.mood {
            Mood::Honest => 1,
            Mood::Clumsy => 4,
            Mood::Hostile => 64,
        };
        if self.waiting >= ahead && !chance.one_in(60) {
            return None;
        }
        if self.plan.is_empty() {
            self.intend(chance);
        }
        let line = self.plan.pop_front()?;
        self.waiting += 1;
        let mut line = line.into_bytes();
        match self.mood {
            Mood::Honest => {}
            Mood::Clumsy if !chance.one_in(8) => {}
            Mood::Clumsy | Mood::Hostile if chance.percent(70) => {}
            Mood::Clumsy | Mood::Hostile => mangle(&mut line, chance),
        }
        line.extend_from_slice(chance.weighted(&[(30, b"\r\n".as_slice()), (1, b"\n")]));
        if self.mood != Mood::Honest && chance.one_in(50) {
            let telnet: &[u8] = chance.pick(&[
                [255, 253, 6].as_slice(),
                &[255, 244, 255, 242],
                &[255, 250, 1, 2, 255, 240],
                &[255, 251, 1],
                &[255],
            ]);
            line.splice(0..0, telnet.iter().copied());
        }
        Some(line)
    }

    fn intend(&mut self, chance: &mut Chance) {
        let odd = match self.mood {
            Mood::Honest => 3,
            Mood::Clumsy => 15,
            Mood::Hostile => 40,
        };
        if chance.percent(odd) {
            return self.plan.push_back(chance.pick(&ODD).to_owned());
        }
        if !self.logged_in && chance.percent(90) {
            let user = chance.weighted(&[
                (8, "USER ann"),
                (3, "USER guest"),
                (2, "USER nobody"),
                (1, "user Bob"),
            ]);
            self.plan.push_back(user.to_owned());
            return self.plan.push_back("PASS secret".to_owned());
        }
        match chance.below(20) {
            0..=11 => self.intend_transfer(chance),
            12..=15 => self.plan.push_back(chance.pick(&VERBS).to_owned()),
            16 => self.plan.push_back("ABOR".into()),
            17 if chance.one_in(3) => self.plan.push_back("REIN".into()),
            17 => self.plan.push_back("AUTH TLS".into()),
            18 if chance.one_in(4) => self.plan.push_back("QUIT".into()),
            18 => self.plan.push_back("USER guest".into()),
            _ => self.plan.push_back("PASS other".into()),
        }
    }

    fn intend_transfer(&mut self, chance: &mut Chance) {
        let announcement = self.announcement(chance);
        self.plan.push_back(announcement);
        if chance.one_in(8) {
            let announcement = self.announcement(chance);
            self.plan.push_back(announcement);
        }
        if chance.one_in(6) {
            self.plan.push_back(chance.pick(&VERBS).to_owned());
        }
        if chance.percent(85) {
            self.plan.push_back(chance.pick(&TRANSFERS).to_owned());
        }
        if chance.one_in(8) {
            self.plan.push_back(chance.pick(&TRANSFERS).to_owned());
        }
        if chance.one_in(8) {
            let last = chance.pick(&["ABOR", "QUIT", "STAT", "NOOP", "REIN"]);
            self.plan.push_back(last.to_owned());
        }
    }

    fn announcement(&self, chance: &mut Chance) -> String {
        if chance.percent(50) {
            let v6 = self.legs.client.is_ipv6();
            return match chance.below(6) {
                0 | 1 if !v6 => "PASV".into(),
                2 => "LPSV".into(),
                3 => format!("EPSV {}", if v6 { 2 } else { 1 }),
                _ => "EPSV".into(),
            };
        }
        let address = match self.mood {
            Mood::Honest => self.legs.client,
            Mood::Clumsy | Mood::Hostile => match chance.below(14) {
                0 => ip(PARTNER_V4),
                1 => ip(PARTNER_V6),
                2 => self.legs.server,
                3 => ip(chance.pick(&["127.0.0.1", "0.0.0.0", "224.0.0.1", "fe80::1", "::1"])),
                4 => self.legs.seen,
                _ => self.legs.client,
            },
        };
        let port = match self.mood == Mood::Honest {
            true => chance.port() | 0x8000,
            false => any_port(chance),
        };
        announce(SocketAddr::new(address, port), chance)
    }
}

/// Ports of every kind, refused ones among them.
pub(crate) fn any_port(chance: &mut Chance) -> u16 {
    match chance.below(12) {
        0 => chance.pick(&[0, 20, 22, 1023, 1024, 3306, 5999, 6000, 6063, 6064, 65_535]),
        1 => chance.port() % 1024,
        _ => chance.port() | 0x8000,
    }
}

fn announce(end: SocketAddr, chance: &mut Chance) -> String {
    let [high, low] = end.port().to_be_bytes();
    let octets = match end.ip() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let list: Vec<String> = octets.iter().map(u8::to_string).collect();
    let list = list.join(",");
    let number = if end.is_ipv4() { 1 } else { 2 };
    match chance.below(5) {
        0 | 1 if end.is_ipv4() => format!("PORT {list},{high},{low}"),
        2 if end.is_ipv4() => format!("LPRT 4,4,{list},2,{high},{low}"),
        2 => format!("LPRT 6,16,{list},2,{high},{low}"),
        3 => format!("EPRT !{number}!{}!{}!", end.ip(), end.port()),
        _ => format!("EPRT |{number}|{}|{}|", end.ip(), end.port()),
    }
}

/// Misspells a line.
pub(crate) fn mangle(line: &mut Vec<u8>, chance: &mut Chance) {
    let at = chance.below(line.len().max(1));
    match chance.below(12) {
        0 => line.insert(at.min(line.len()), b' '),
        1 => line.insert(at.min(line.len()), chance.pick(b"0123456789,|()-+.")),
        2 if !line.is_empty() => drop(line.remove(at)),
        3 if !line.is_empty() => line[at] = chance.byte(),
        4 if !line.is_empty() => line[at] = chance.pick(b"0123456789,"),
        5 => line.extend_from_slice(chance.pick(&[b" ".as_slice(), b"\t", b",1", b"\r", b"\0"])),
        6 => line.make_ascii_lowercase(),
        7 => line.extend(std::iter::repeat_n(b'a', chance.pick(&[9, 60, 600]))),
        8 => line.insert(at.min(line.len()), chance.pick(b"\r\0\xff\n")),
        9 => line.truncate(at),
        10 => *line = (0..chance.below(40)).map(|_| chance.byte()).collect(),
        _ => line.extend_from_slice(b" 227 (10,0,0,5,200,10)"),
    }
}
