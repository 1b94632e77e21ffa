//! The command verbs of FTP and its extensions.

use std::fmt;

macro_rules! verbs {
    ($($name:ident $text:literal),+ $(,)?) => {
        /// A command's verb, recognised in any letter case (RFC 959 §5.3).
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Verb {
            $(#[doc = concat!("`", $text, "`")] $name,)+
            /// A verb that this list does not know, in upper case.
            Other(String),
        }

        impl Verb {
            /// Every verb known by name.
            pub const KNOWN: &'static [Self] = &[$(Self::$name),+];

            /// Takes a verb in any letter case.
            pub fn parse(text: &str) -> Self {
                match packed(text.as_bytes()) {
                    $(packed::$name => Self::$name,)+
                    _ => Self::Other(text.to_ascii_uppercase()),
                }
            }

            /// Gives the verb in upper case.
            pub fn as_str(&self) -> &str {
                match self {
                    $(Self::$name => $text,)+
                    Self::Other(text) => text,
                }
            }
        }

        /// Every verb known by name as a number, so that a verb is found by some comparisons of numbers.
        #[expect(non_upper_case_globals, reason = "the names of the verbs")]
        mod packed {
            $(pub(super) const $name: u64 = super::packed($text.as_bytes());)+
        }
    };
}

/// Packs text of at most seven bytes, in upper case, into a number that no other text has; longer text
/// gives 0.
const fn packed(text: &[u8]) -> u64 {
    if text.len() > 7 {
        return 0;
    }
    // The one in front tells how long the text is, whatever its first byte.
    let (mut packed, mut rest) = (1, text);
    while let [first, behind @ ..] = rest {
        packed = packed << 8 | first.to_ascii_uppercase() as u64;
        rest = behind;
    }
    packed
}

verbs! {
    // RFC 959
    User "USER", Pass "PASS", Acct "ACCT", Cwd "CWD", Cdup "CDUP", Smnt "SMNT", Rein "REIN",
    Quit "QUIT", Port "PORT", Pasv "PASV", Type "TYPE", Stru "STRU", Mode "MODE", Retr "RETR",
    Stor "STOR", Stou "STOU", Appe "APPE", Allo "ALLO", Rest "REST", Rnfr "RNFR", Rnto "RNTO",
    Abor "ABOR", Dele "DELE", Rmd "RMD", Mkd "MKD", Pwd "PWD", List "LIST", Nlst "NLST",
    Site "SITE", Syst "SYST", Stat "STAT", Help "HELP", Noop "NOOP",
    // RFC 775
    Xcup "XCUP", Xcwd "XCWD", Xmkd "XMKD", Xpwd "XPWD", Xrmd "XRMD",
    // RFC 2428, RFC 1639
    Eprt "EPRT", Epsv "EPSV", Lprt "LPRT", Lpsv "LPSV",
    // RFC 2228, RFC 4217
    Auth "AUTH", Adat "ADAT", Pbsz "PBSZ", Prot "PROT", Ccc "CCC", Mic "MIC", Conf "CONF", Enc "ENC",
    // RFC 2389, RFC 2640, RFC 3659, RFC 7151, RFC 6384
    Feat "FEAT", Opts "OPTS", Lang "LANG", Mdtm "MDTM", Size "SIZE", Mlst "MLST", Mlsd "MLSD",
    Host "HOST", Algs "ALGS",
    // In use without an RFC
    Mfmt "MFMT", Mfct "MFCT", Mff "MFF", Hash "HASH", Rang "RANG", Clnt "CLNT", Csid "CSID",
    Avbl "AVBL", Xcrc "XCRC", Xmd5 "XMD5", Xsha "XSHA", Xsha1 "XSHA1", Xsha256 "XSHA256",
    Xsha512 "XSHA512", Md5 "MD5", Comb "COMB", Esta "ESTA", Estp "ESTP", Spsv "SPSV", Cpsv "CPSV",
    Patsw "P@SW", Sscn "SSCN", Pret "PRET",
}

/// What stands behind a verb.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A pathname, all of it.
    Pathname,
    /// A pathname or nothing.
    OptionalPathname,
    /// Options that clients put first (`-la`), then a pathname or nothing.
    OptionsAndPathname,
    /// A time or facts, one space, then a pathname.
    FactsAndPathname,
    /// Nothing: the parent directory is meant.
    Parent,
    /// A secret that is never shown (protocol rule 60).
    Secret,
    /// Free text that may be as long as a pathname.
    FreeText,
    /// Short words.
    Other,
}

impl Verb {
    /// What stands behind the verb.
    pub fn argument(&self) -> Argument {
        match self {
            Self::Cwd
            | Self::Xcwd
            | Self::Smnt
            | Self::Retr
            | Self::Stor
            | Self::Appe
            | Self::Rnfr
            | Self::Rnto
            | Self::Dele
            | Self::Rmd
            | Self::Xrmd
            | Self::Mkd
            | Self::Xmkd
            | Self::Mdtm
            | Self::Size
            | Self::Mlst
            | Self::Mlsd
            | Self::Hash
            | Self::Xcrc
            | Self::Xmd5
            | Self::Xsha
            | Self::Xsha1
            | Self::Xsha256
            | Self::Xsha512
            | Self::Md5
            | Self::Comb => Argument::Pathname,
            Self::Stou | Self::Stat => Argument::OptionalPathname,
            Self::List | Self::Nlst => Argument::OptionsAndPathname,
            Self::Mfmt | Self::Mfct | Self::Mff => Argument::FactsAndPathname,
            Self::Cdup | Self::Xcup => Argument::Parent,
            Self::Pass | Self::Acct => Argument::Secret,
            Self::Site => Argument::FreeText,
            Self::User
            | Self::Rein
            | Self::Quit
            | Self::Port
            | Self::Pasv
            | Self::Type
            | Self::Stru
            | Self::Mode
            | Self::Allo
            | Self::Rest
            | Self::Abor
            | Self::Pwd
            | Self::Syst
            | Self::Help
            | Self::Noop
            | Self::Xpwd
            | Self::Eprt
            | Self::Epsv
            | Self::Lprt
            | Self::Lpsv
            | Self::Auth
            | Self::Adat
            | Self::Pbsz
            | Self::Prot
            | Self::Ccc
            | Self::Mic
            | Self::Conf
            | Self::Enc
            | Self::Feat
            | Self::Opts
            | Self::Lang
            | Self::Host
            | Self::Algs
            | Self::Rang
            | Self::Clnt
            | Self::Csid
            | Self::Avbl
            | Self::Esta
            | Self::Estp
            | Self::Spsv
            | Self::Cpsv
            | Self::Patsw
            | Self::Sscn
            | Self::Pret
            | Self::Other(_) => Argument::Other,
        }
    }

    /// Whether a line with this verb may be as long as a pathname makes it.
    pub fn takes_path(&self) -> bool {
        !matches!(
            self.argument(),
            Argument::Other | Argument::Secret | Argument::Parent
        )
    }

    /// Whether the command uses a data connection.
    pub fn transfers(&self) -> bool {
        matches!(
            self,
            Self::Retr
                | Self::Stor
                | Self::Stou
                | Self::Appe
                | Self::List
                | Self::Nlst
                | Self::Mlsd
        )
    }

    /// Whether the argument is a secret that is never shown (protocol rule 60).
    pub fn hides_argument(&self) -> bool {
        self.argument() == Argument::Secret
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p10_verbs_match_in_any_letter_case() {
        for text in ["port", "PORT", "PoRt"] {
            assert_eq!(Verb::parse(text), Verb::Port);
        }
        assert_eq!(Verb::parse("xyzzy"), Verb::Other("XYZZY".into()));
    }

    #[test]
    fn no_other_text_is_taken_for_a_known_verb() {
        for text in [
            "", "\0USER", "USER\0", "USE", "USERS", "XSHA2566", "XXSHA256", "ÜSER", "@",
        ] {
            assert_eq!(Verb::parse(text), Verb::Other(text.to_ascii_uppercase()));
        }
    }

    #[test]
    fn every_known_verb_reads_back() {
        for verb in Verb::KNOWN {
            assert_eq!(&Verb::parse(verb.as_str()), verb);
        }
    }
}
