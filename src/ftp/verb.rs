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
                let upper = text.to_ascii_uppercase();
                match upper.as_str() {
                    $($text => Self::$name,)+
                    _ => Self::Other(upper),
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
    };
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
    Sscn "SSCN", Pret "PRET",
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
    fn every_known_verb_reads_back() {
        for verb in Verb::KNOWN {
            assert_eq!(&Verb::parse(verb.as_str()), verb);
        }
    }
}
