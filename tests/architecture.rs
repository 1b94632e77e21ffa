//! The shape of the source tree: which module may know which, what the pure ones never mention, how files begin.
#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The modules in layers, outermost first: a module may use those of the layers after its own.
///
/// Modules of one layer do not know each other.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["cli"],
    &["app"],
    &["proxy", "admin"],
    &["monitor"],
    &["keeper"],
    &["firewall", "relay", "audit", "conntrack"],
    &["net", "sandbox"],
    &["config"],
    &["inspect"],
    &["rules", "nat"],
    &["yaml", "ftp", "pinhole"],
];

/// The modules that are functions of their arguments.
const PURE: &[&str] = &["ftp", "nat", "rules", "inspect", "pinhole", "yaml"];

/// What a pure module never mentions: async, sockets, clocks, files, randomness, system calls.
const IMPURE: &[&str] = &[
    "tokio",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "UnixDatagram",
    "Instant::now",
    "SystemTime",
    "std::fs",
    "fs::read",
    "rand::",
    "getrandom",
    "rustix",
    "socket2",
    "std::env",
    "std::process",
    "std::thread",
];

/// What may stand at the top of the repository, beside files whose names begin with a dot.
const TOP: &[&str] = &[
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "CHANGELOG.md",
    "LICENSE",
    "src",
    "rules",
    "tests",
    "deploy",
    // Cargo's own, which is not part of the repository.
    "target",
];

const MAX_LINES: usize = 500;

struct Source {
    path: PathBuf,
    module: String,
    text: String,
}

impl Source {
    /// The code alone, line for line: no comments, no unit tests.
    fn code(&self) -> String {
        let lines = self
            .text
            .lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]"));
        lines
            .map(|line| format!("{}\n", line.split("//").next().unwrap_or(line)))
            .collect()
    }

    fn at(&self, line: usize) -> String {
        format!("{}:{line}", self.path.display())
    }
}

/// Every file under `src`, with the top-level module it belongs to.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut open = vec![root.clone()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let inside = path.strip_prefix(&root).unwrap();
                let first = Path::new(inside.iter().next().unwrap());
                let module = first.file_stem().unwrap().to_str().unwrap().to_owned();
                let text = fs::read_to_string(&path).unwrap();
                found.push(Source {
                    path: Path::new("src").join(inside),
                    module,
                    text,
                });
            }
        }
    }
    assert!(found.len() > 10, "the sources were not found");
    found
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// The top-level modules that code names by `crate::x` or, in the program, `portcullis::x`, with their lines.
fn modules_named(code: &str) -> BTreeSet<(usize, String)> {
    let mut named = BTreeSet::new();
    for root in ["crate::", "portcullis::"] {
        for (start, _) in code.match_indices(root) {
            let (before, rest) = code.split_at(start + root.len());
            let line = before.lines().count();
            named.extend(heads(rest).into_iter().map(|head| (line, head)));
        }
    }
    named
}

/// The first name of a path; of each path, where there is a list of them in braces.
fn heads(path: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        let text = text.trim_start().chars();
        text.take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let Some(list) = path.strip_prefix('{') else {
        return vec![name(path)];
    };
    let mut heads = vec![name(list)];
    let mut depth = 1;
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => heads.push(name(list.split_at(at + 1).1)),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// Fails with one line for each finding.
fn assert_none(findings: &[String], what: &str) {
    assert!(findings.is_empty(), "{what}:\n{}", findings.join("\n"));
}

#[test]
fn dependencies_point_one_way() {
    let mut findings = Vec::new();
    for source in sources().iter().filter(|source| source.module != "lib") {
        let Some(own) = layer_of(&source.module) else {
            findings.push(format!(
                "{}: the module '{}' has no layer",
                source.path.display(),
                source.module
            ));
            continue;
        };
        for (line, named) in modules_named(&source.code()) {
            let deeper = layer_of(&named).is_none_or(|layer| layer > own);
            if named != source.module && !deeper {
                findings.push(format!(
                    "{}: '{}' uses '{named}'",
                    source.at(line),
                    source.module
                ));
            }
        }
    }
    assert_none(&findings, "dependencies against the layers");
}

#[test]
fn pure_modules_name_no_socket_clock_file_or_chance() {
    let mut findings = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| PURE.contains(&source.module.as_str()))
    {
        for (index, line) in source.code().lines().enumerate() {
            for word in IMPURE.iter().filter(|word| line.contains(**word)) {
                findings.push(format!("{}: '{word}'", source.at(index + 1)));
            }
        }
    }
    assert_none(&findings, "a pure module reaches outside");
}

#[test]
fn every_file_says_what_it_owns() {
    let silent = |source: &Source| !source.text.starts_with("//! ");
    let findings: Vec<_> = sources()
        .iter()
        .filter(|source| silent(source))
        .map(|source| source.at(1))
        .collect();
    assert_none(&findings, "files that do not begin with '//!'");
}

#[test]
fn long_files_say_why() {
    let mut findings = Vec::new();
    for source in sources() {
        let lines = source.text.lines().count();
        let header = source
            .text
            .lines()
            .take_while(|line| line.starts_with("//!"));
        if lines > MAX_LINES && !header.into_iter().any(|line| line.contains("Length:")) {
            findings.push(format!("{}: {lines} lines", source.path.display()));
        }
    }
    assert_none(
        &findings,
        "files past 500 lines without 'Length:' in their header",
    );
}

#[test]
fn the_top_level_holds_the_agreed_names_only() {
    let mut findings = Vec::new();
    for entry in fs::read_dir(env!("CARGO_MANIFEST_DIR")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if !TOP.contains(&name.as_str()) && !name.starts_with('.') && !name.starts_with("LICENSE-")
        {
            findings.push(name);
        }
    }
    assert_none(&findings, "unexpected at the top level");
}

/// The one file with `unsafe` code, and how many times it has any.
const UNSAFE: (&str, usize) = ("src/net/urgent.rs", 2);

#[test]
fn unsafe_code_stands_in_one_file_with_its_reasons() {
    let mut found = Vec::new();
    for source in sources() {
        let lines: Vec<&str> = source.text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let code = line.split("//").next().unwrap_or(line);
            let word = |c: char| !c.is_alphanumeric() && c != '_';
            if !code.split(word).any(|word| word == "unsafe") {
                continue;
            }
            let before = lines.get(at.saturating_sub(2)..at).unwrap_or_default();
            let said = before
                .iter()
                .any(|line| line.trim().starts_with("// SAFETY: "));
            assert!(said, "{}: unsafe without a reason", source.at(at + 1));
            found.push(source.path.display().to_string());
        }
    }
    assert_eq!(found, vec![UNSAFE.0; UNSAFE.1], "where unsafe code stands");
}

/// The Rust files under a folder, as one text.
fn text_under(folder: &str) -> String {
    let mut text = String::new();
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                text.push_str(&fs::read_to_string(&path).unwrap());
            }
        }
    }
    text
}

#[test]
fn every_test_that_the_threat_model_names_exists() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/SECURITY.md");
    let model = fs::read_to_string(model).unwrap();
    // Commands stand in fences, every second part.
    let model: String = model.split("```").step_by(2).collect();
    let tests = text_under("tests") + &text_under("src");
    // Names of tests are sentences; nothing else between backticks has three underscores.
    let named = model.split('`').skip(1).step_by(2);
    let named: Vec<&str> = named.filter(|name| name.matches('_').count() > 2).collect();
    assert!(named.len() > 40, "only {} tests are named", named.len());
    let missing = named.iter().filter(|name| {
        let family = name.trim_end_matches("_ipv4").trim_end_matches("_ipv6");
        !tests.contains(&format!("fn {name}(")) && !tests.contains(&format!("\"{family}"))
    });
    let missing: Vec<String> = missing.map(ToString::to_string).collect();
    assert_none(&missing, "named in deploy/SECURITY.md, and nowhere a test");
}

#[test]
fn a_list_in_braces_names_each_of_its_modules() {
    let code = "use crate::{\n    ftp::{Verb, Code},\n    pinhole::Pinhole,\n};\nfn f(x: crate::nat::Row) {}";
    let named = modules_named(code).into_iter().map(|(_, name)| name);
    assert_eq!(named.collect::<Vec<_>>(), ["ftp", "pinhole", "nat"]);
}
