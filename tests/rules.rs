//! The policies of `rules/` compile, and what is wrong with a policy is reported in full.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]

mod support;

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use portcullis::ftp::Verb;
use portcullis::rules::{Decision, Policy, Request};
use portcullis::yaml::Source;
use proptest::prelude::*;
use support::{expect_report, uncommented, yaml_files};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 20));

fn compiled(path: &str) -> Policy {
    let source = Arc::new(Source::new(path, fs::read_to_string(path).unwrap()));
    match Policy::read(&source, None) {
        Ok((policy, warnings)) => {
            assert!(warnings.is_empty(), "{warnings}");
            policy
        }
        Err(problems) => panic!("{problems}"),
    }
}

fn decided(policy: &Policy, text: &str, path: Option<&str>) -> (String, bool) {
    let (verb, site) = text.split_once(' ').unwrap_or((text, ""));
    let verdict = policy.decide(&Request {
        user: Some("anonymous"),
        site: (!site.is_empty()).then_some(site),
        path: path.map(str::as_bytes),
        ..Request::new("lan", CLIENT, SERVER, &Verb::parse(verb))
    });
    (verdict.rule.id.clone(), verdict.decision == Decision::Allow)
}

#[test]
fn every_policy_at_hand_compiles_without_a_warning() {
    let files = yaml_files("rules");
    assert!(!files.is_empty());
    for file in files {
        compiled(&file);
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.starts_with("# For "), "{file} says for whom it is");
    }
}

#[test]
fn what_is_commented_out_in_a_policy_at_hand_is_right() {
    for file in yaml_files("rules") {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<String> = text.lines().map(uncommented).collect();
        assert_ne!(lines, text.lines().collect::<Vec<_>>(), "{file}");
        let source = Arc::new(Source::new(file, lines.join("\n")));
        match Policy::read(&source, None) {
            Ok((_, warnings)) => assert!(warnings.is_empty(), "{warnings}"),
            Err(problems) => panic!("{problems}"),
        }
    }
}

#[test]
fn p62_site_exec_and_chmod_are_denied_by_the_ready_policies() {
    for file in yaml_files("rules") {
        let policy = compiled(&file);
        for site in ["SITE EXEC", "SITE CHMOD"] {
            assert!(!decided(&policy, site, None).1, "{file} allows {site}");
        }
        // A drop box lets in only those it knows.
        let login: &[&str] = match file.as_str() {
            "rules/partner-drop-box.yaml" => &[],
            _ => &["USER", "PASS"],
        };
        for verb in [login, &["EPSV", "PORT", "QUIT"]].concat() {
            assert!(decided(&policy, verb, None).1, "{file} denies {verb}");
        }
    }
}

#[test]
fn the_published_server_is_read_only_to_strangers() {
    let policy = compiled("rules/published-server.yaml");
    let decide = |verb, path| decided(&policy, verb, Some(path));
    assert_eq!(
        decide("RETR", "/pub/a/b.iso"),
        ("public-files".into(), true)
    );
    assert_eq!(
        decide("RETR", "/incoming/a"),
        ("everything-else".into(), false)
    );
    assert_eq!(
        decide("STOR", "/incoming/a"),
        ("everything-else".into(), false)
    );
    assert_eq!(decide("STOR", "/pub/x.php"), ("no-programs".into(), false));
}

#[test]
fn bad_policies_are_reported_in_full() {
    let files = yaml_files("tests/bad-rules");
    assert!(!files.is_empty());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let problems = Policy::parse(&file, &text).unwrap_err();
        expect_report(&file, &problems);
    }
}

#[test]
fn the_readme_explains_every_key_and_class() {
    let readme = fs::read_to_string("rules/README.md").unwrap();
    let text = "zzz: 1\nprotocol: { zzz: 1 }\nrules: [{ zzz: 1, command: zzz }]\n";
    let problems = Policy::parse("edge.yaml", text).unwrap_err();
    let mut names = 0;
    for help in problems
        .iter()
        .filter_map(|problem| problem.help.as_deref())
    {
        let lists = ["known keys: ", "and the classes "];
        let list = lists.iter().find_map(|start| help.split_once(start));
        for name in list.map_or("", |(_, list)| list).split_terminator(", ") {
            assert!(readme.contains(&format!("`{name}`")), "{name}");
            names += 1;
        }
    }
    assert_eq!(names, 4 + 16 + 22 + 12);
}

#[test]
fn the_examples_of_the_readme_are_right() {
    let readme = fs::read_to_string("rules/README.md").unwrap();
    let examples: Vec<&str> = readme.split("```yaml\n").skip(1).collect();
    assert!(examples.len() > 3);
    for example in examples {
        let mut text = example.split("```").next().unwrap().to_owned();
        if !text.contains("rules:") {
            text.push_str("rules: []\n");
        }
        if let Err(problems) = Policy::parse("README.md", &text) {
            panic!("{problems}");
        }
    }
}

#[test]
fn p65_rnfr_and_rnto_count_as_writes() {
    let text = "rules: [{ id: no-writes, deny: true, command: write }, { id: rest, allow: true }]";
    let policy = Policy::parse("edge.yaml", text).unwrap();
    for verb in ["RNFR", "RNTO", "STOR"] {
        let decided = decided(&policy, verb, Some("/a"));
        assert_eq!(decided, ("no-writes".into(), false), "{verb}");
    }
}

#[test]
fn p66_new_verbs_fall_into_command_classes() {
    let classes = ["list", "write", "session", "security", "login"];
    let rules = classes.map(|class| format!("{{ id: {class}, allow: true, command: {class} }}"));
    let text = format!("rules: [{}]", rules.join(", "));
    let policy = Policy::parse("edge.yaml", &text).unwrap();
    for (class, verbs) in [
        (
            "list",
            "MLST MLSD SIZE MDTM HASH XCRC XMD5 XSHA XSHA256 MD5 RANG",
        ),
        ("write", "MFMT MFCT MFF COMB"),
        ("session", "FEAT OPTS LANG CLNT CSID AVBL"),
        ("security", "AUTH PBSZ PROT CCC"),
        ("login", "HOST"),
    ] {
        for verb in verbs.split(' ') {
            let decided = decided(&policy, verb, Some("/a"));
            assert_eq!(decided, (class.to_owned(), true), "{verb}");
        }
    }
}

#[test]
fn warnings_are_given_with_the_policy() {
    let text =
        "rules:\n  - { id: all, deny: true }\n  - { id: late, allow: true, command: [XFOO] }\n";
    let source = Arc::new(Source::new("edge.yaml", text));
    let (_policy, warnings) = Policy::read(&source, None).unwrap();
    let messages: Vec<&str> = warnings.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "no rule lets anybody say USER, so nobody can log in",
            "the rule `late` is never reached",
            "`XFOO` is no verb that portcullis knows",
        ]
    );
    assert!(!warnings.has_errors());
}

#[test]
fn ten_thousand_rules_decide_each_for_its_own_client() {
    let mut text = "rules:\n".to_owned();
    for number in 0..10_000 {
        let (high, low) = (number / 256, number % 256);
        text.push_str(&format!(
            "  - {{ id: r{number}, allow: true, client: 10.0.{high}.{low}, command: [basic, read] }}\n"
        ));
    }
    let policy = Policy::parse("many.yaml", &text).unwrap();
    for number in 0..10_000_u32 {
        let [_, _, high, low] = number.to_be_bytes();
        let verdict = policy.decide(&Request::new(
            "lan",
            [10, 0, high, low].into(),
            SERVER,
            &Verb::Retr,
        ));
        assert_eq!(verdict.rule.id, format!("r{number}"));
    }
}

proptest! {
    #[test]
    fn any_bytes_are_a_policy_or_a_report(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        report(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn any_mix_of_words_is_a_policy_or_a_report(
        words in prop::collection::vec(prop::sample::select(WORDS), 0..60)
    ) {
        report(&words.concat());
    }
}

fn report(text: &str) {
    if let Err(problems) = Policy::parse("any.yaml", text) {
        assert!(problems.has_errors());
        assert!(!problems.render(false).is_empty());
        assert!(!problems.render(true).is_empty());
    }
}

const WORDS: &[&str] = &[
    "rules:",
    "\n",
    "\n  ",
    "\n    ",
    "- ",
    "id: ",
    "a",
    "allow: ",
    "true",
    "deny: ",
    "550 No",
    "[",
    "]",
    "{",
    "}",
    ", ",
    ": ",
    "client: ",
    "10.0.0.0/8",
    "::/0",
    "&a ",
    "*a",
    "'",
    "\"",
    "#",
    "|",
    ">",
    "?",
    "protocol:",
    "refused-ports: ",
    "1-2",
    "groups:",
    "path: ",
    "**",
    "user: ",
    "ü",
    "\u{2028}",
    "\t",
    "---",
    "!!str ",
    "<<: ",
    "command: ",
    "tls: ",
    "window: ",
    "ports: ",
    "fxp: ",
    "max-bytes: ",
    "1MB",
    "mask-text: ",
    "hide-features: ",
    "banner: ",
    "SITE X",
    "read",
    "\r\n",
    "\\",
    "0x",
];
