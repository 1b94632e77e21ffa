//! Command classes: every verb belongs to exactly one.

use crate::ftp::Verb;

/// A group of commands that policies allow or deny together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Who the user is, and the end of the session.
    Login,
    /// Settings and questions that touch no file.
    Session,
    /// Announcing data connections.
    Data,
    /// Changing the current folder.
    Navigate,
    /// Names, sizes, times and checksums of files.
    List,
    /// Files to the client.
    Read,
    /// Files to the server, new folders, new names.
    Write,
    /// Removing files and folders.
    Delete,
    /// SITE.
    Admin,
    /// Protection of the connections (RFC 2228, RFC 4217).
    Security,
    /// Whatever has no other class.
    Unknown,
}

impl Class {
    /// Every class with its name in policies.
    pub const NAMED: [(&'static str, Self); 11] = [
        ("login", Self::Login),
        ("session", Self::Session),
        ("data", Self::Data),
        ("navigate", Self::Navigate),
        ("list", Self::List),
        ("read", Self::Read),
        ("write", Self::Write),
        ("delete", Self::Delete),
        ("admin", Self::Admin),
        ("security", Self::Security),
        ("unknown", Self::Unknown),
    ];

    /// The classes that `basic` stands for: what every session needs before it moves a file.
    pub const BASIC: [Self; 4] = [Self::Login, Self::Session, Self::Data, Self::Navigate];

    /// Gives the class of a command; STAT with a path lists files (RFC 959 §4.1.3).
    pub fn of(verb: &Verb, has_path: bool) -> Self {
        match verb {
            Verb::User | Verb::Pass | Verb::Acct | Verb::Rein | Verb::Quit | Verb::Host => {
                Self::Login
            }
            Verb::Stat if has_path => Self::List,
            Verb::Syst
            | Verb::Feat
            | Verb::Opts
            | Verb::Lang
            | Verb::Help
            | Verb::Stat
            | Verb::Noop
            | Verb::Clnt
            | Verb::Csid
            | Verb::Allo
            | Verb::Type
            | Verb::Mode
            | Verb::Stru
            | Verb::Rest
            | Verb::Abor
            | Verb::Pwd
            | Verb::Xpwd
            | Verb::Avbl
            | Verb::Algs => Self::Session,
            Verb::Port | Verb::Pasv | Verb::Eprt | Verb::Epsv | Verb::Lprt | Verb::Lpsv => {
                Self::Data
            }
            Verb::Cwd | Verb::Cdup | Verb::Xcwd | Verb::Xcup | Verb::Smnt => Self::Navigate,
            Verb::List
            | Verb::Nlst
            | Verb::Mlsd
            | Verb::Mlst
            | Verb::Size
            | Verb::Mdtm
            | Verb::Hash
            | Verb::Xcrc
            | Verb::Xmd5
            | Verb::Xsha
            | Verb::Xsha1
            | Verb::Xsha256
            | Verb::Xsha512
            | Verb::Md5
            | Verb::Rang => Self::List,
            Verb::Retr => Self::Read,
            Verb::Stor
            | Verb::Stou
            | Verb::Appe
            | Verb::Mkd
            | Verb::Xmkd
            | Verb::Rnfr
            | Verb::Rnto
            | Verb::Mfmt
            | Verb::Mfct
            | Verb::Mff
            | Verb::Comb => Self::Write,
            Verb::Dele | Verb::Rmd | Verb::Xrmd => Self::Delete,
            Verb::Site => Self::Admin,
            Verb::Auth
            | Verb::Adat
            | Verb::Pbsz
            | Verb::Prot
            | Verb::Ccc
            | Verb::Mic
            | Verb::Conf
            | Verb::Enc
            | Verb::Sscn
            | Verb::Cpsv => Self::Security,
            Verb::Esta | Verb::Estp | Verb::Spsv | Verb::Patsw | Verb::Pret | Verb::Other(_) => {
                Self::Unknown
            }
        }
    }

    /// Gives the class as one bit of a set.
    pub(super) fn bit(self) -> u16 {
        1 << self as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_have_bits_of_their_own() {
        let all = Class::NAMED
            .iter()
            .fold(0, |set, (_, class)| set | class.bit());
        assert_eq!(all, (1 << Class::NAMED.len()) - 1);
    }

    #[test]
    fn p66_verbs_outside_rfc_959_have_classes() {
        for verb in ["MLST", "MLSD", "SIZE", "MDTM", "HASH", "XCRC", "XSHA256"] {
            assert_eq!(Class::of(&Verb::parse(verb), true), Class::List);
        }
        assert_eq!(Class::of(&Verb::Mfmt, true), Class::Write);
        assert_eq!(Class::of(&Verb::parse("P@SW"), false), Class::Unknown);
    }

    #[test]
    fn stat_lists_only_with_a_path() {
        assert_eq!(Class::of(&Verb::Stat, false), Class::Session);
        assert_eq!(Class::of(&Verb::Stat, true), Class::List);
    }
}
