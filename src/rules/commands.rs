//! The commands a rule names: verbs, words of SITE, classes.

use std::collections::BTreeSet;

use crate::ftp::Verb;
use crate::yaml::nearest;

use super::Class;

/// A set of commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Commands {
    classes: u16,
    verbs: BTreeSet<Verb>,
    site_words: BTreeSet<String>,
}

/// What is the matter with a name for commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NameFault {
    /// It is no verb that is known, but may be one; it was taken.
    UnknownVerb {
        /// The known name that is nearest.
        near: Option<&'static str>,
    },
    /// It cannot be a verb; it was not taken.
    NoCommand {
        /// The known name that is nearest.
        near: Option<&'static str>,
    },
}

impl Commands {
    /// Adds what a name stands for; lower case names a class first, then a verb.
    ///
    /// # Errors
    /// Tells a name that is not known.
    pub(super) fn add(&mut self, name: &str) -> Result<(), NameFault> {
        if name == "basic" {
            for class in Class::BASIC {
                self.classes |= class.bit();
            }
            return Ok(());
        }
        if let Some((_, class)) = Class::NAMED.iter().find(|(word, _)| *word == name) {
            self.classes |= class.bit();
            return Ok(());
        }
        if let Some((verb, word)) = name.split_once(' ') {
            let plain = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
            if verb.eq_ignore_ascii_case("SITE") && plain {
                self.site_words.insert(word.to_ascii_uppercase());
                return Ok(());
            }
            return Err(NameFault::NoCommand { near: None });
        }
        let verb = Verb::parse(name);
        let Verb::Other(upper) = &verb else {
            self.verbs.insert(verb);
            return Ok(());
        };
        let near = nearest(name, known_names());
        if name != upper || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(NameFault::NoCommand { near });
        }
        self.verbs.insert(verb);
        Err(NameFault::UnknownVerb { near })
    }

    /// Whether a command is in the set; `site` is the word after SITE, in upper case.
    pub(super) fn contains(&self, verb: &Verb, class: Class, site: Option<&str>) -> bool {
        self.classes & class.bit() != 0
            || self.verbs.contains(verb)
            || (*verb == Verb::Site && site.is_some_and(|word| self.site_words.contains(word)))
    }
}

/// One thing that commands are found by; a command has its class, its verb, and a word if it is SITE.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum CommandKey {
    Class(Class),
    Verb(Verb),
    SiteWord(String),
}

impl Commands {
    /// All there are.
    pub(super) fn all() -> Self {
        Self {
            classes: u16::MAX,
            ..Self::default()
        }
    }

    /// What it consists of.
    pub(super) fn keys(&self) -> impl Iterator<Item = CommandKey> {
        let classes = Class::NAMED.iter().map(|(_, class)| *class);
        let classes = classes.filter(|class| self.classes & class.bit() != 0);
        let verbs = self.verbs.iter().cloned();
        let words = self.site_words.iter().cloned();
        classes
            .map(CommandKey::Class)
            .chain(verbs.map(CommandKey::Verb))
            .chain(words.map(CommandKey::SiteWord))
    }

    /// Whether every command of `other` is surely in the set.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let has_verb = |verb: &Verb| {
            let classes = [false, true].map(|has_path| Class::of(verb, has_path));
            classes
                .iter()
                .all(|class| self.contains(verb, *class, None))
        };
        other.keys().all(|key| match key {
            CommandKey::Class(class) if self.classes & class.bit() != 0 => true,
            // No list of verbs is all of those that are not known.
            CommandKey::Class(Class::Unknown) => false,
            CommandKey::Class(class) => {
                let mut verbs = Verb::KNOWN
                    .iter()
                    .flat_map(|verb| [(verb, false), (verb, true)])
                    .filter(|(verb, has_path)| Class::of(verb, *has_path) == class);
                verbs.all(|(verb, _)| self.contains(verb, class, None))
            }
            CommandKey::Verb(verb) => has_verb(&verb),
            CommandKey::SiteWord(word) => {
                self.contains(&Verb::Site, Class::Admin, Some(word.as_str()))
            }
        })
    }
}

fn known_names() -> impl Iterator<Item = &'static str> {
    let classes = Class::NAMED.iter().map(|(name, _)| *name);
    let verbs = Verb::KNOWN.iter().map(Verb::as_str);
    classes.chain(["basic"]).chain(verbs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(names: &[&str]) -> Commands {
        let mut commands = Commands::default();
        for name in names {
            commands.add(name).unwrap();
        }
        commands
    }

    fn has(commands: &Commands, verb: &str, site: Option<&str>) -> bool {
        let verb = Verb::parse(verb);
        commands.contains(&verb, Class::of(&verb, false), site)
    }

    #[test]
    fn lower_case_names_the_class_and_upper_case_the_verb() {
        let class = commands(&["list"]);
        assert!(has(&class, "NLST", None));
        let verb = commands(&["LIST"]);
        assert!(has(&verb, "LIST", None));
        assert!(!has(&verb, "NLST", None));
    }

    #[test]
    fn sets_cover_one_another_by_their_commands() {
        assert!(commands(&["read", "list"]).covers(&commands(&["RETR", "NLST"])));
        assert!(commands(&["RETR"]).covers(&commands(&["read"])));
        assert!(!commands(&["LIST"]).covers(&commands(&["list"])));
        assert!(commands(&["SITE"]).covers(&commands(&["SITE CHMOD"])));
        assert!(!commands(&["SITE CHMOD"]).covers(&commands(&["SITE"])));
        assert!(!commands(&["session"]).covers(&commands(&["STAT"])));
        assert!(commands(&["session", "list"]).covers(&commands(&["STAT"])));
        assert!(Commands::all().covers(&commands(&["basic", "unknown", "SITE X"])));
        assert!(
            !commands(&["ESTA", "ESTP", "SPSV", "P@SW", "PRET"]).covers(&commands(&["unknown"]))
        );
    }

    #[test]
    fn p62_words_of_site_are_told_apart() {
        let chmod = commands(&["SITE chmod"]);
        assert!(has(&chmod, "SITE", Some("CHMOD")));
        assert!(!has(&chmod, "SITE", Some("HELP")));
        assert!(!has(&chmod, "SITE", None));
        assert!(has(&commands(&["site"]), "SITE", Some("EXEC")));
    }

    #[test]
    fn basic_is_enough_to_log_in_and_announce() {
        let basic = commands(&["basic"]);
        for verb in [
            "USER", "PASS", "SYST", "PASV", "EPRT", "CWD", "TYPE", "QUIT",
        ] {
            assert!(has(&basic, verb, None), "{verb}");
        }
        for verb in ["RETR", "LIST", "AUTH", "SITE", "XYZZY"] {
            assert!(!has(&basic, verb, None), "{verb}");
        }
    }

    #[test]
    fn slips_are_told_with_the_nearest_name() {
        let mut commands = Commands::default();
        assert_eq!(
            commands.add("RTER"),
            Err(NameFault::UnknownVerb { near: Some("RETR") })
        );
        assert_eq!(
            commands.add("raed"),
            Err(NameFault::NoCommand { near: Some("read") })
        );
        assert_eq!(
            commands.add("RETR file"),
            Err(NameFault::NoCommand { near: None })
        );
    }
}
