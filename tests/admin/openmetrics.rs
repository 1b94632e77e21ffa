//! A strict reader of OpenMetrics 1.0 text: whatever the standard forbids fails the test.

use std::collections::{BTreeMap, BTreeSet};

/// All that a scrape says.
#[derive(Debug, Default)]
pub(crate) struct Scrape {
    pub(crate) families: BTreeMap<String, Family>,
    pub(crate) samples: Vec<Sample>,
}

/// What a name means.
#[derive(Debug, Default)]
pub(crate) struct Family {
    pub(crate) kind: String,
    pub(crate) unit: Option<String>,
    pub(crate) help: Option<String>,
}

/// One number.
#[derive(Debug)]
pub(crate) struct Sample {
    pub(crate) family: String,
    pub(crate) name: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) value: f64,
}

impl Scrape {
    /// Reads a page; fails where it is not OpenMetrics.
    pub(crate) fn read(page: &str) -> Self {
        let body = page.strip_suffix("# EOF\n");
        let body = body.unwrap_or_else(|| panic!("no end:\n{page}"));
        let mut scrape = Self::default();
        // The family that lines belong to, and whether it has samples.
        let mut open: Option<(String, bool)> = None;
        for line in body.split_terminator('\n') {
            if let Some(about) = line.strip_prefix("# ") {
                scrape.take_about(about, line, &mut open);
            } else {
                let (name, sampled) = open.as_mut().unwrap_or_else(|| panic!("no family: {line}"));
                *sampled = true;
                scrape.take_sample(name, line);
            }
        }
        scrape.check_histograms();
        scrape
    }

    fn take_about(&mut self, about: &str, line: &str, open: &mut Option<(String, bool)>) {
        let mut words = about.splitn(3, ' ');
        let (what, name) = (words.next().unwrap(), words.next().unwrap());
        let text = words
            .next()
            .unwrap_or_else(|| panic!("says nothing: {line}"));
        assert!(is_name(name), "{line}");
        if open.as_ref().is_none_or(|(own, _)| own != name) {
            let first = self.families.insert(name.to_owned(), Family::default());
            assert!(first.is_none(), "the family comes twice: {line}");
            *open = Some((name.to_owned(), false));
        }
        assert!(!open.as_ref().unwrap().1, "behind its samples: {line}");
        let family = self.families.get_mut(name).unwrap();
        match what {
            "HELP" => assert!(family.help.replace(text.to_owned()).is_none(), "{line}"),
            "UNIT" => {
                assert!(
                    name.ends_with(&format!("_{text}")),
                    "not in the name: {line}"
                );
                assert!(family.unit.replace(text.to_owned()).is_none(), "{line}");
            }
            "TYPE" => {
                let known = ["counter", "gauge", "histogram", "info"];
                assert!(known.contains(&text), "{line}");
                assert!(family.kind.is_empty(), "{line}");
                text.clone_into(&mut family.kind);
            }
            _ => panic!("no such word: {line}"),
        }
    }

    fn take_sample(&mut self, family: &str, line: &str) {
        let end = line.find(['{', ' ']).unwrap();
        let (name, rest) = line.split_at(end);
        let (labels, rest) = match rest.strip_prefix('{') {
            Some(rest) => labels(rest, line),
            None => (BTreeMap::new(), rest),
        };
        let number = rest
            .strip_prefix(' ')
            .unwrap_or_else(|| panic!("no value: {line}"));
        let value: f64 = number
            .parse()
            .unwrap_or_else(|_| panic!("no number: {line}"));
        let suffix = name.strip_prefix(family);
        let suffix = suffix.unwrap_or_else(|| panic!("not of {family}: {line}"));
        match (self.families[family].kind.as_str(), suffix) {
            ("gauge", "") => {}
            ("counter", "_total") => assert!(value >= 0.0, "{line}"),
            ("info", "_info") => assert!((value - 1.0).abs() < f64::EPSILON, "{line}"),
            ("histogram", "_bucket") => assert!(labels.contains_key("le"), "{line}"),
            ("histogram", "_sum" | "_count") => assert!(value >= 0.0, "{line}"),
            (kind, _) => panic!("no sample of a {kind}: {line}"),
        }
        let twin = |own: &Sample| own.name == name && own.labels == labels;
        assert!(!self.samples.iter().any(twin), "comes twice: {line}");
        self.samples.push(Sample {
            family: family.to_owned(),
            name: name.to_owned(),
            labels,
            value,
        });
    }

    /// Buckets rise in bound and count, and the last has all.
    fn check_histograms(&self) {
        for (name, _) in self
            .families
            .iter()
            .filter(|(_, family)| family.kind == "histogram")
        {
            let buckets = self.samples_of(&format!("{name}_bucket"));
            let pairs: Vec<(f64, f64)> = buckets
                .iter()
                .map(|sample| (sample.labels["le"].parse().unwrap(), sample.value))
                .collect();
            for pair in pairs.windows(2) {
                assert!(
                    pair[0].0 < pair[1].0 && pair[0].1 <= pair[1].1,
                    "{name}: {pairs:?}"
                );
            }
            let last = pairs.last().unwrap();
            assert!(last.0.is_infinite(), "{name} has no +Inf");
            assert_eq!(last.1, self.value(&format!("{name}_count"), &[]), "{name}");
        }
    }

    pub(crate) fn samples_of(&self, name: &str) -> Vec<&Sample> {
        self.samples
            .iter()
            .filter(|sample| sample.name == name)
            .collect()
    }

    /// The one value with these labels and no other.
    pub(crate) fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: BTreeMap<String, String> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let found = self
            .samples_of(name)
            .into_iter()
            .find(|sample| sample.labels == wanted);
        found
            .unwrap_or_else(|| panic!("{name} {labels:?} is not there"))
            .value
    }

    /// The sum over all labels.
    pub(crate) fn sum(&self, name: &str) -> f64 {
        self.samples_of(name)
            .iter()
            .map(|sample| sample.value)
            .sum()
    }

    /// The labels that a name has.
    pub(crate) fn labels_of(&self, name: &str) -> BTreeSet<&str> {
        let samples = self.samples_of(name);
        let keys = samples.into_iter().flat_map(|sample| sample.labels.keys());
        keys.map(String::as_str).collect()
    }
}

fn is_name(text: &str) -> bool {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    !text.starts_with(|c: char| c.is_ascii_digit()) && !text.is_empty() && text.chars().all(word)
}

/// Reads `key="value",…}`; gives what is behind it.
fn labels<'a>(mut rest: &'a str, line: &str) -> (BTreeMap<String, String>, &'a str) {
    let mut labels = BTreeMap::new();
    loop {
        let (key, behind) = rest.split_once("=\"").unwrap_or_else(|| panic!("{line}"));
        assert!(is_name(key), "{line}");
        let mut value = String::new();
        let mut characters = behind.char_indices();
        let end = loop {
            match characters
                .next()
                .unwrap_or_else(|| panic!("no end: {line}"))
            {
                (_, '\\') => match characters.next().unwrap().1 {
                    'n' => value.push('\n'),
                    c @ ('\\' | '"') => value.push(c),
                    c => panic!("\\{c} is no escape: {line}"),
                },
                (at, '"') => break at + 1,
                (_, c) => value.push(c),
            }
        };
        assert!(
            labels.insert(key.to_owned(), value).is_none(),
            "{key} twice: {line}"
        );
        let behind = behind.split_at(end).1;
        match behind.strip_prefix(',') {
            Some(next) => rest = next,
            None => {
                return (
                    labels,
                    behind.strip_prefix('}').unwrap_or_else(|| panic!("{line}")),
                );
            }
        }
    }
}

#[test]
fn the_reader_takes_what_the_standard_allows() {
    let page = "# HELP a_seconds Time.\n# TYPE a_seconds histogram\n# UNIT a_seconds seconds\n\
                a_seconds_sum 1.5\na_seconds_count 2\na_seconds_bucket{le=\"1.0\"} 1\n\
                a_seconds_bucket{le=\"+Inf\"} 2\n# TYPE b counter\nb_total{c=\"x\\\"\\\\\\n\"} 3\n# EOF\n";
    let scrape = Scrape::read(page);
    assert_eq!(scrape.value("b_total", &[("c", "x\"\\\n")]), 3.0);
}

#[test]
fn the_reader_refuses_what_the_standard_forbids() {
    for page in [
        "# TYPE a counter\na_total 1\n",
        "# TYPE a counter\na 1\n# EOF\n",
        "# TYPE a counter\na_total -1\n# EOF\n",
        "# TYPE a gauge\na 1\na 2\n# EOF\n",
        "# TYPE a gauge\na{b=\"1\",b=\"2\"} 1\n# EOF\n",
        "# TYPE a gauge\n# UNIT a seconds\na 1\n# EOF\n",
        "# TYPE a gauge\na 1\n# HELP a late\n# EOF\n",
        "# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# TYPE a gauge\n# EOF\n",
        "# TYPE a gauge\n\na 1\n# EOF\n",
        "# TYPE a gauge\na one\n# EOF\n",
        "a 1\n# EOF\n",
        "# TYPE a histogram\na_sum 1\na_count 2\na_bucket{le=\"+Inf\"} 1\n# EOF\n",
    ] {
        let read = std::panic::catch_unwind(|| Scrape::read(page));
        assert!(read.is_err(), "taken: {page}");
    }
}
