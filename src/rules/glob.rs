//! Globs on user names and paths, matched in one pass over bytes; no pattern makes it slow.

/// Bytes of a pattern at most.
pub(super) const MAX_PATTERN: usize = 255;

/// A compiled glob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glob {
    text: String,
    steps: Vec<Step>,
    /// Bytes of plain text at the start, which are as many steps.
    head: usize,
    form: Form,
    /// The pattern has no `/` and is matched against the last segment.
    last_segment: bool,
}

/// What follows the plain text at the start; what most patterns are is compared without following steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Nothing.
    Plain,
    /// One star and plain text.
    Star {
        /// Whether the star stands for `/` as well.
        crosses: bool,
        /// Where the text behind it begins.
        tail: usize,
    },
    /// Any steps.
    Steps,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// This byte.
    Byte(u8),
    /// The first byte of one character other than `/`.
    First,
    /// Any number of bytes that continue a UTF-8 character.
    Rest,
    /// Any number of bytes other than `/`.
    Segment,
    /// Any number of bytes.
    Any,
    /// Any number of whole segments, each with its `/`.
    Folders,
}

impl Glob {
    /// Compiles a pattern for names: `*` stands for any text, `?` for one character.
    pub(crate) fn name(pattern: &str) -> Self {
        Self::compile(pattern, false)
    }

    /// Compiles a pattern for paths: `*` stays within one segment, `**` crosses them.
    pub(crate) fn path(pattern: &str) -> Self {
        Self::compile(pattern, true)
    }

    /// Whether the pattern is plain text.
    pub(super) fn literal(&self) -> Option<&str> {
        let plain = self.steps.iter().all(|step| matches!(step, Step::Byte(_)));
        plain.then_some(self.text.as_str())
    }

    /// Whether it begins at the root, so that it says nothing about a path of unknown folder.
    pub(super) fn is_absolute(&self) -> bool {
        self.text.starts_with('/')
    }

    /// Whether a name matches as a whole.
    pub(crate) fn matches(&self, name: &[u8]) -> bool {
        self.run(name)
    }

    /// Whether a path matches: as a whole, or its last segment where the pattern has no `/`.
    pub(crate) fn matches_path(&self, path: &[u8]) -> bool {
        let trimmed = match path {
            [folder @ .., b'/'] if !folder.is_empty() => folder,
            _ => path,
        };
        if self.last_segment {
            let last = trimmed.rsplit(|&byte| byte == b'/').next();
            return self.run(last.unwrap_or_default());
        }
        self.run(trimmed)
    }

    /// Whether it is compared with the last segment of a path alone.
    pub(super) fn is_last_segment(&self) -> bool {
        self.last_segment
    }

    /// The plain text that everything it matches begins with, or its last segment does.
    pub(super) fn prefix(&self) -> &str {
        let end = self.text.find(['*', '?']).unwrap_or(self.text.len());
        self.text.get(..end).unwrap_or_default()
    }

    /// The plain text that everything it matches ends with.
    pub(super) fn suffix(&self) -> &str {
        let start = self.text.rfind(['*', '?']).map_or(0, |at| at + 1);
        // `**/name` matches `name` as well.
        let text = self.text.get(start..).unwrap_or_default();
        text.strip_prefix('/').unwrap_or(text)
    }

    /// Some text that it matches.
    pub(super) fn sample(&self) -> Vec<u8> {
        self.steps
            .iter()
            .filter_map(|step| match step {
                Step::Byte(byte) => Some(*byte),
                // Something in each place: a path is compared without a `/` at its end.
                Step::First | Step::Segment | Step::Any => Some(b'x'),
                Step::Rest | Step::Folders => None,
            })
            .collect()
    }

    /// Whether it surely matches everything that `other` matches. Both are of the same kind; on paths
    /// of unknown folder it says nothing.
    pub(super) fn covers(&self, other: &Self) -> bool {
        if self.steps == [Step::Any] || (self.last_segment && self.steps == [Step::Segment]) {
            return true;
        }
        if self.text == "/**" {
            return other.is_absolute() || other.last_segment;
        }
        match (self.last_segment, other.last_segment) {
            (false, true) => false,
            (true, false) => {
                let slash = other
                    .steps
                    .iter()
                    .rposition(|step| *step == Step::Byte(b'/'));
                let last = slash
                    .and_then(|at| other.steps.get(at + 1..))
                    .unwrap_or_default();
                let crosses = |step: &Step| matches!(step, Step::Any | Step::Folders);
                !last.is_empty() && !last.iter().any(crosses) && self.absorbs(last)
            }
            (true, true) | (false, false) => self.absorbs(&other.steps),
        }
    }

    /// Follows the other's steps as if they were text: a step that stands for many texts passes only
    /// where one of ours takes all of them. Some that cover are not found; none is found that does not.
    fn absorbs(&self, steps: &[Step]) -> bool {
        match self.steps.len() < 64 {
            true => self.absorbs_in::<1>(steps),
            false => self.absorbs_in::<MAX_WORDS>(steps),
        }
    }

    fn absorbs_in<const WORDS: usize>(&self, steps: &[Step]) -> bool {
        let mut waiting = Places::<WORDS>::none();
        self.wait_at(0, &mut waiting);
        for theirs in steps {
            let mut next = Places::none();
            for place in waiting.iter() {
                match (self.steps.get(place), theirs) {
                    (Some(Step::Byte(ours)), Step::Byte(theirs)) if ours == theirs => {
                        self.wait_at(place + 1, &mut next);
                    }
                    (Some(Step::First), Step::Byte(byte)) if *byte != b'/' && !continues(*byte) => {
                        self.wait_at(place + 1, &mut next);
                    }
                    (Some(Step::First), Step::First) => self.wait_at(place + 1, &mut next),
                    (Some(Step::Rest), Step::Rest) => self.wait_at(place, &mut next),
                    (Some(Step::Rest), Step::Byte(byte)) if continues(*byte) => {
                        self.wait_at(place, &mut next);
                    }
                    (Some(Step::Segment), Step::Byte(byte)) if *byte != b'/' => {
                        self.wait_at(place, &mut next);
                    }
                    (Some(Step::Segment), Step::First | Step::Rest | Step::Segment)
                    | (Some(Step::Any), _)
                    // Theirs stands where a segment begins, and so does ours.
                    | (Some(Step::Folders), Step::Byte(b'/') | Step::Folders) => {
                        self.wait_at(place, &mut next);
                    }
                    (Some(Step::Folders), _) => next.add(place),
                    _ => {}
                }
            }
            if next == Places::none() {
                return false;
            }
            waiting = next;
        }
        waiting.has(self.steps.len())
    }

    fn compile(pattern: &str, path: bool) -> Self {
        let mut steps = Vec::new();
        let mut rest = pattern.as_bytes();
        while let [byte, tail @ ..] = rest {
            let segment_starts =
                matches!(steps.last(), None | Some(Step::Byte(b'/') | Step::Folders));
            rest = match rest {
                [b'*', b'*', b'/', after @ ..] if path && segment_starts => {
                    steps.push(Step::Folders);
                    after
                }
                [b'*', b'*', after @ ..] if path => {
                    steps.push(Step::Any);
                    after
                }
                [b'*', after @ ..] => {
                    steps.push(if path { Step::Segment } else { Step::Any });
                    after
                }
                [b'?', after @ ..] => {
                    steps.extend([Step::First, Step::Rest]);
                    after
                }
                _ => {
                    steps.push(Step::Byte(*byte));
                    tail
                }
            };
        }
        let plain = |step: &Step| matches!(step, Step::Byte(_));
        let head = steps.iter().take_while(|step| plain(step)).count();
        let form = match steps.get(head..).unwrap_or_default() {
            [] => Form::Plain,
            [star @ (Step::Any | Step::Segment), tail @ ..] if tail.iter().all(plain) => {
                let crosses = *star == Step::Any;
                let tail = pattern.len() - tail.len();
                Form::Star { crosses, tail }
            }
            _ => Form::Steps,
        };
        Self {
            text: pattern.to_owned(),
            steps,
            head,
            form,
            last_segment: path && !pattern.contains('/'),
        }
    }

    fn run(&self, text: &[u8]) -> bool {
        let pattern = self.text.as_bytes();
        let head = pattern.get(..self.head).unwrap_or_default();
        let Some(rest) = text.strip_prefix(head) else {
            return false;
        };
        match self.form {
            Form::Plain => rest.is_empty(),
            Form::Star { crosses, tail } => {
                let tail = pattern.get(tail..).unwrap_or_default();
                let starred = rest.strip_suffix(tail);
                starred.is_some_and(|text| crosses || !text.contains(&b'/'))
            }
            Form::Steps if self.steps.len() < 64 => self.follow::<1>(self.head, rest),
            Form::Steps => self.follow::<MAX_WORDS>(self.head, rest),
        }
    }

    /// Follows all steps that can be waited at, at the same time: the cost is bytes times steps at worst.
    fn follow<const WORDS: usize>(&self, start: usize, text: &[u8]) -> bool {
        let mut waiting = Places::<WORDS>::none();
        self.wait_at(start, &mut waiting);
        for &byte in text {
            let mut next = Places::none();
            for place in waiting.iter() {
                match self.steps.get(place) {
                    Some(Step::Byte(b)) if *b == byte => self.wait_at(place + 1, &mut next),
                    Some(Step::First) if byte != b'/' && !continues(byte) => {
                        self.wait_at(place + 1, &mut next);
                    }
                    Some(Step::Rest) if continues(byte) => self.wait_at(place, &mut next),
                    Some(Step::Segment) if byte != b'/' => self.wait_at(place, &mut next),
                    Some(Step::Any) => self.wait_at(place, &mut next),
                    Some(Step::Folders) if byte == b'/' => self.wait_at(place, &mut next),
                    Some(Step::Folders) => next.add(place),
                    _ => {}
                }
            }
            if next == Places::none() {
                return false;
            }
            waiting = next;
        }
        waiting.has(self.steps.len())
    }

    /// Adds a place and those reached from it without a byte.
    fn wait_at<const WORDS: usize>(&self, place: usize, places: &mut Places<WORDS>) {
        let mut place = place;
        loop {
            places.add(place);
            match self.steps.get(place) {
                Some(Step::Rest | Step::Segment | Step::Any | Step::Folders) => place += 1,
                Some(Step::Byte(_) | Step::First) | None => return,
            }
        }
    }
}

/// Whether a byte continues a UTF-8 character.
fn continues(byte: u8) -> bool {
    byte & 0xc0 == 0x80
}

/// Words of a set of places that is large enough for every pattern: a `?` takes two steps, so twice
/// [`MAX_PATTERN`] and one.
const MAX_WORDS: usize = 8;

/// A set of places in the steps, the end included: 64 for each word.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Places<const WORDS: usize>([u64; WORDS]);

impl<const WORDS: usize> Places<WORDS> {
    fn none() -> Self {
        Self([0; WORDS])
    }

    fn add(&mut self, place: usize) {
        if let Some(word) = self.0.get_mut(place / 64) {
            *word |= 1 << (place % 64);
        }
    }

    fn has(&self, place: usize) -> bool {
        self.0
            .get(place / 64)
            .is_some_and(|word| word >> (place % 64) & 1 == 1)
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        self.0.into_iter().enumerate().flat_map(|(index, word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let place = (left != 0).then(|| left.trailing_zeros())?;
                left &= left - 1;
                usize::try_from(place).ok().map(|place| index * 64 + place)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(pattern: &str, path: &str) -> bool {
        Glob::path(pattern).matches_path(path.as_bytes())
    }

    #[test]
    fn a_star_stays_within_its_segment_and_two_cross() {
        assert!(path("/pub/*", "/pub/a"));
        assert!(!path("/pub/*", "/pub/a/b"));
        assert!(path("/pub/**", "/pub/a/b"));
        assert!(!path("/pub/**", "/pub"));
        assert!(!path("/pub/**", "/public/a"));
        assert!(path("/a/**/z", "/a/z"));
        assert!(path("/a/**/z", "/a/b/c/z"));
        assert!(!path("/a/**/z", "/a/bz"));
        assert!(path("**/z", "/a/z"));
        assert!(path("/**", "/"));
        assert!(path("/a**z", "/a/b/z"));
    }

    #[test]
    fn a_pattern_without_slash_matches_the_last_segment() {
        assert!(path("*.exe", "/a/b/setup.exe"));
        assert!(path("*.exe", "setup.exe"));
        assert!(!path("*.exe", "/a.exe/readme"));
        assert!(path("*.d", "/etc/cron.d/"));
    }

    #[test]
    fn a_question_mark_is_one_character_whatever_its_bytes() {
        assert!(path("/?", "/ü"));
        assert!(!path("/?", "/üü"));
        assert!(!path("/?", "//"));
        assert!(Glob::name("upload-?").matches(b"upload-7"));
        assert!(!Glob::name("upload-?").matches(b"upload-"));
    }

    #[test]
    fn names_match_as_a_whole() {
        assert!(Glob::name("upload-*").matches(b"upload-a/b"));
        assert!(!Glob::name("upload-*").matches(b"my-upload-a"));
        assert_eq!(Glob::name("anonymous").literal(), Some("anonymous"));
        assert_eq!(Glob::name("a*").literal(), None);
    }

    #[test]
    fn patterns_cover_one_another_where_it_is_certain() {
        let covers = |a: &str, b: &str| Glob::path(a).covers(&Glob::path(b));
        for (wide, narrow) in [
            ("/pub/**", "/pub/a/*.txt"),
            ("/pub/*", "/pub/a?c"),
            ("/pub/**/*.txt", "/pub/**/b.txt"),
            ("/pub/**/*.txt", "/pub/x/y/*.txt"),
            ("*.txt", "/pub/*.txt"),
            ("*.t?t", "*.txt"),
            ("*", "/pub/**"),
            ("**", "a/b"),
            ("/**", "*.txt"),
            ("/?", "/ü"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
            assert!(!covers(narrow, wide), "{narrow} {wide}");
        }
        for (one, other) in [
            ("/pub/**", "/pub"),
            ("*.txt", "/pub/**"),
            ("/a/*", "/a/**"),
            ("/a?", "/a*"),
            ("/pub/*.txt", "*.txt"),
        ] {
            assert!(!covers(one, other), "{one} {other}");
        }
        let covers = |a: &str, b: &str| Glob::name(a).covers(&Glob::name(b));
        assert!(covers("up-*", "up-?-x*"));
        assert!(!covers("up-?", "up-*"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_covered_is_matched(wide in "[/a?*]{1,6}", narrow in "[/a?*]{1,6}", text in "/?[/ab]{0,6}") {
            let (wide, narrow) = (Glob::path(&wide), Glob::path(&narrow));
            // A pattern from the root says nothing about a path of unknown folder.
            let told = text.starts_with('/') || !wide.is_absolute();
            if told && wide.covers(&narrow) && narrow.matches_path(text.as_bytes()) {
                proptest::prop_assert!(wide.matches_path(text.as_bytes()));
            }
            if narrow.matches_path(text.as_bytes()) && !narrow.is_last_segment() {
                proptest::prop_assert!(text.starts_with(narrow.prefix()));
            }
            proptest::prop_assert!(narrow.matches_path(&narrow.sample()) || narrow.sample().ends_with(b"/"));
            let trimmed = text.strip_suffix('/').filter(|t| !t.is_empty()).unwrap_or(&text);
            if narrow.matches_path(text.as_bytes()) {
                proptest::prop_assert!(trimmed.ends_with(narrow.suffix()));
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_compared_is_what_the_steps_say(pattern in "[/a?*]{0,7}", text in "[/aü]{0,7}") {
            for glob in [Glob::name(&pattern), Glob::path(&pattern)] {
                let steps = glob.follow::<MAX_WORDS>(0, text.as_bytes());
                proptest::prop_assert_eq!(glob.run(text.as_bytes()), steps);
                proptest::prop_assert_eq!(glob.follow::<1>(0, text.as_bytes()), steps);
            }
        }
    }

    #[test]
    fn hostile_patterns_and_paths_stay_cheap() {
        let pattern = "*a".repeat(MAX_PATTERN / 2);
        let text = "a".repeat(4096);
        assert!(Glob::path(&pattern).matches_path(text.as_bytes()));
        assert!(!Glob::path(&pattern).matches_path(format!("{text}b").as_bytes()));
        let longest = "?".repeat(MAX_PATTERN);
        assert!(Glob::path(&longest).matches_path("ü".repeat(MAX_PATTERN).as_bytes()));
    }
}
