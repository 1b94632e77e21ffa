//! `tests/PROTOCOL.md`: every protocol rule with the tests that show it, gathered from their names.
//!
//! A test whose name begins with `pNN_` is a claim about rule NN. `PORTCULLIS_BLESS=1 cargo test
//! --test protocol_table` writes the table anew; without it the table is compared.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Rules about TLS that portcullis ends itself, which it does not do.
const TERMINATION: &[usize] = &[52, 54, 55];

/// Rules that no test shows; a rule leaves the list with its first test.
const WAITING: &[usize] = &[];

const TABLE: &str = "tests/PROTOCOL.md";

/// This file, whose own strings are no claims.
const OWN: &str = "tests/protocol_table.rs";

const HEAD: &str = "\
# Protocol rules and the tests that show them

A test named `pNN_…` is a claim about rule NN; this table gathers them. It is not written by hand:
`PORTCULLIS_BLESS=1 cargo test --test protocol_table` renews it. The rules come from the RFCs of FTP
and from attacks on firewalls that read it.

| no. | rule | shown by |
|---|---|---|
";

/// The rules, the first one being number 1.
const RULES: [&str; 68] = [
    "A command cut into two segments is one command.",
    "A command that comes byte by byte is one command.",
    "Several commands in one segment are taken one by one, in order.",
    "A line without an end within the limit is answered 500 and closes the session; no part of it is sent on.",
    "A line that ends with LF alone is taken or refused by policy, and leaves with CRLF.",
    "CR inside an argument is refused, except before NUL, where it stands for CR in a pathname.",
    "NUL elsewhere is refused.",
    "Telnet commands are taken out before reading, offers are declined, and IAC IAC is one byte 0xFF.",
    "ABOR during a transfer passes with its urgent data, and both replies come back in order.",
    "Verbs are known in any letter case.",
    "One space parts verb and pathname; any more belong to the pathname.",
    "Pathnames of any bytes pass unchanged.",
    "An empty line or unknown verb never shifts replies against commands.",
    "A reply of many lines ends only at its own code; what stands inside is text.",
    "227, 228 and 229 count only as the final reply to the oldest open passive command.",
    "A passive reply that nobody asked for opens nothing and is recorded.",
    "PORT and EPRT from the server's side change nothing and are recorded.",
    "An announcement quoted in an error or an echo changes nothing.",
    "In 227, six numbers from the first digit on are the address, with or without parentheses.",
    "Numbers outside 0 to 255, with signs or of more than three digits are refused.",
    "Strict: more than 8 characters behind the port of PORT or 227 are refused.",
    "229 names a port between four equal delimiters, and nothing else.",
    "EPRT takes any printable delimiter and a protocol number that fits its address; else 522.",
    "A command has at most one preliminary reply, then its final one; order is kept.",
    "421 from either side ends the session and takes every pinhole away.",
    "PORT and EPRT name the client's own address, or one that a rule allows for FXP.",
    "Ports under 1024 are not announced.",
    "Ports that the policy lists are not announced.",
    "A 227 with another address than the server's never leads there.",
    "Addresses that no data connection can have are refused.",
    "Data connections come from the expected peer only.",
    "Ports chosen by portcullis cannot be foreseen.",
    "A pinhole lets one connection through.",
    "EPSV keeps the address and family of the control connection.",
    "PORT and PASV over IPv6 are refused, or translated where the listener joins families.",
    "LPRT, LPSV and odd variants are followed or refused, and never pass unseen.",
    "An active pinhole opens when the server has accepted the announcement, before the client hears of it.",
    "A pinhole goes with its use, its failure, the next announcement, the session or its time.",
    "A pinhole that nobody used is recorded, with the reason.",
    "A pinhole is exact in source, destination and port, and in source port 20 where a rule says so.",
    "Pinholes are counted for each session, each client and in all.",
    "A crash or restart leaves no pinhole behind.",
    "A pinhole that cannot be opened is answered 425 and never announced.",
    "After EPSV ALL every other announcement is refused.",
    "EPSV ALL holds until REIN or the end.",
    "AUTH is refused or passed on by policy; where it is refused, FEAT does not list it.",
    "Once TLS is passed on, nothing from that byte on is read, and nothing wide is opened.",
    "No plain text from before TLS is taken for text inside it, nor the other way round.",
    "AUTH forgets the user, the type and announcements under way.",
    "PBSZ and PROT come only in their order; else 503.",
    "Data is unprotected until PROT says otherwise.",
    "With PROT P the client is the TLS client of active data connections as well.",
    "After CCC the control connection is read again from a fresh line, unless policy denies CCC.",
    "REIN ends TLS, its reply still inside.",
    "A TLS server name other than that of HOST is answered 504.",
    "HOST before USER chooses the policy; it is refused after login, with a port, and for unknown hosts.",
    "Of several HOST commands the last one counts.",
    "A shortened FEAT reply keeps its form, and what it does not list is refused.",
    "Wrong passwords are counted, delayed and at last closed with 421.",
    "Passwords and accounts are never recorded or shown.",
    "Transfers wait for the login.",
    "SITE commands that run programs or change permissions are denied by the ready policies.",
    "Pathnames over the limit are refused and recorded.",
    "Reading stops while too many commands wait for replies.",
    "Renaming is writing, and paths are resolved against the current folder.",
    "Commands younger than RFC 959 belong to command classes as well.",
    "The control connection is not idle while data moves.",
    "Masks change the text of a reply and never its code.",
];

/// A test's name in words, and the file it stands in.
type Claim = (String, PathBuf);

#[test]
fn the_table_of_protocol_rules_is_up_to_date() {
    let claims = claims();
    let table = table(&claims);
    if std::env::var_os("PORTCULLIS_BLESS").is_some() {
        fs::write(TABLE, &table).unwrap();
    }
    let committed = fs::read_to_string(TABLE).unwrap_or_default();
    assert!(
        table == committed,
        "{TABLE} is not what the tests say; `PORTCULLIS_BLESS=1 cargo test --test protocol_table` renews it:\n{}",
        difference(&committed, &table)
    );
}

#[test]
fn every_protocol_rule_is_shown_or_listed_as_waiting() {
    let claims = claims();
    let mut findings = Vec::new();
    for number in 1..=RULES.len() {
        match (claims.contains_key(&number), waits(number)) {
            (false, false) => findings.push(format!("no test is named p{number:02}_…")),
            (true, true) => {
                findings.push(format!("rule {number} has a test; take it out of the list"))
            }
            (true, false) | (false, true) => {}
        }
    }
    for number in claims
        .keys()
        .filter(|&&number| number > RULES.len() || number == 0)
    {
        findings.push(format!("a test is named p{number:02}_…, which is no rule"));
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

#[test]
fn names_are_found_behind_fn_and_in_quotes() {
    let text = "fn p01_a_b() { trial(\"p02_c\", p03_not) } // fn p4_no, \"p05_d{suffix}\"";
    let names: Vec<_> = names(text).collect();
    assert_eq!(
        names,
        [(1, "a b"), (2, "c"), (5, "d")].map(|(n, name)| (n, name.to_owned()))
    );
}

fn waits(number: usize) -> bool {
    TERMINATION.contains(&number) || WAITING.contains(&number)
}

fn table(claims: &BTreeMap<usize, BTreeSet<Claim>>) -> String {
    let mut table = HEAD.to_owned();
    for (place, rule) in RULES.iter().enumerate() {
        let number = place + 1;
        let shown: Vec<String> = claims
            .get(&number)
            .into_iter()
            .flatten()
            .map(link)
            .collect();
        let shown = match shown.is_empty() {
            true if TERMINATION.contains(&number) => "not: TLS is not terminated".to_owned(),
            true => "not shown".to_owned(),
            false => shown.join("<br>"),
        };
        table.push_str(&format!("| {number} | {rule} | {shown} |\n"));
    }
    table
}

/// A claim as a link, seen from the folder of the table.
fn link((claim, file): &Claim) -> String {
    let target = match file.strip_prefix("tests") {
        Ok(inside) => inside.display().to_string(),
        Err(_) => format!("../{}", file.display()),
    };
    format!("[{claim}]({target})")
}

fn claims() -> BTreeMap<usize, BTreeSet<Claim>> {
    let mut claims: BTreeMap<usize, BTreeSet<Claim>> = BTreeMap::new();
    for file in sources().into_iter().filter(|file| file != Path::new(OWN)) {
        for (number, name) in names(&fs::read_to_string(&file).unwrap()) {
            claims
                .entry(number)
                .or_default()
                .insert((name, file.clone()));
        }
    }
    claims
}

/// Every Rust file of the program and of its tests.
fn sources() -> Vec<PathBuf> {
    let mut open = vec![PathBuf::from("src"), PathBuf::from("tests")];
    let mut found = Vec::new();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found
}

/// The rule's number and the words of every name `pNN_…` behind `fn` or a quotation mark.
fn names(text: &str) -> impl Iterator<Item = (usize, String)> {
    let starts = ["fn p", "\"p"];
    let places = starts.into_iter().flat_map(|start| {
        text.match_indices(start)
            .map(move |(at, _)| at + start.len())
    });
    let places: BTreeSet<usize> = places.collect();
    places.into_iter().filter_map(|at| {
        let (number, rest) = text.get(at..)?.split_once('_')?;
        let digits = number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit());
        let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let end = rest.find(|c| !inside(c)).unwrap_or(rest.len());
        let name = rest.get(..end)?.trim_matches('_').replace('_', " ");
        (digits && !name.is_empty()).then(|| Some((number.parse().ok()?, name)))?
    })
}

/// The lines that differ, in the order of the table.
fn difference(committed: &str, table: &str) -> String {
    let (old, new): (Vec<&str>, Vec<&str>) = (committed.lines().collect(), table.lines().collect());
    let gone = old
        .iter()
        .filter(|line| !new.contains(line))
        .map(|line| format!("-{line}"));
    let come = new
        .iter()
        .filter(|line| !old.contains(line))
        .map(|line| format!("+{line}"));
    gone.chain(come).collect::<Vec<_>>().join("\n")
}
