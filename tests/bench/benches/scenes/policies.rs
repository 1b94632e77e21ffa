//! Policies of any number of rules that differ in one condition, and requests that some rule of them matches.

use std::fmt::Write as _;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use portcullis::ftp::Verb;
use portcullis::rules::{Policy, Request};

use super::Folder;

/// What tells the rules of a policy apart.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A glob on the name given in USER.
    User,
    /// A network of the client: single addresses, and every eighth a /24.
    Network,
    /// A folder.
    Path,
}

impl Shape {
    /// All there are, by name.
    pub const ALL: [(&str, Self); 3] = [
        ("user", Self::User),
        ("network", Self::Network),
        ("path", Self::Path),
    ];

    /// The text of a policy of so many rules, 100,000 at most.
    pub fn text(self, rules: u32) -> String {
        let mut text = "rules:\n".to_owned();
        for number in 1..rules {
            let condition = match self {
                Self::User => format!("user: 'up-{number}-*'"),
                Self::Network if number % 8 == 0 => {
                    let [_, high, low, _] = address(number).octets();
                    format!("client: 10.{high}.{low}.0/24")
                }
                Self::Network => format!("client: {}", address(number)),
                Self::Path => format!("path: '/in/{number}/**'"),
            };
            let _ = writeln!(text, "  - {{ id: r{number}, allow: true, {condition} }}");
        }
        text.push_str("  - { id: rest, allow: true, command: [basic] }\n");
        text
    }

    /// The policy of so many rules.
    pub fn policy(self, rules: u32) -> Policy {
        Policy::parse("bench.yaml", &self.text(rules))
            .unwrap_or_else(|problems| panic!("{problems}"))
    }

    /// Who asks for what: a command that the rule at seven tenths of the policy decides on.
    pub fn asker(self, rules: u32) -> Asker {
        let number = (rules * 7 / 10) | 1;
        Asker {
            client: address(number).into(),
            user: format!("up-{number}-x"),
            path: format!("/in/{number}/a/file.bin").into_bytes(),
            rule: format!("r{number}"),
        }
    }
}

/// Who asks, and the rule that decides.
pub struct Asker {
    client: IpAddr,
    user: String,
    path: Vec<u8>,
    rule: String,
}

impl Asker {
    /// RETR of a file.
    pub fn request(&self) -> Request<'_> {
        let server = Ipv4Addr::new(198, 51, 100, 20).into();
        Request {
            user: Some(&self.user),
            path: Some(&self.path),
            ..Request::new("lan", self.client, server, &Verb::Retr)
        }
    }

    /// Fails unless the rule decides that is meant to.
    pub fn check(&self, policy: &Policy) {
        let verdict = policy.decide(&self.request());
        assert_eq!(verdict.rule.id, self.rule);
    }
}

/// An address of 10.0.0.0/8 in a network /24 of its own, so that rules do not cover one another.
fn address(number: u32) -> Ipv4Addr {
    Ipv4Addr::from((10 << 24) | ((number & 0xffff) << 8) | (7 + (number >> 16)))
}

/// Writes a configuration with one listener and so many rules; gives its path.
pub fn configuration(folder: &Folder, shape: Shape, rules: u32) -> PathBuf {
    let policy = format!("{shape:?}-{rules}.yaml");
    fs::write(folder.file(&policy), shape.text(rules)).unwrap();
    let listener = format!(
        "  - {{ name: lan, transparent: {{ interfaces: [lan0] }}, server-sees: edge, rules: {policy} }}"
    );
    let text = format!("listeners:\n{listener}\naudit: {{ output: stdout }}\n");
    let file = folder.file(&format!("{shape:?}-{rules}-edge.yaml"));
    fs::write(&file, text).unwrap();
    file
}
