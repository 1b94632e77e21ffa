//! In which words a data connection is asked for: each side in those it knows.
//!
//! A server that refuses one form is asked once more in the other; the session remembers. Where
//! client and server are of different families, the server's own form is used from the start.

use crate::ftp::Verb;

use super::Inspector;

/// How a server is told where to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ActiveForm {
    /// RFC 959; IPv4 only.
    Port,
    /// RFC 2428.
    Eprt,
}

/// How it is asked, or asks, where it can be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PassiveForm {
    /// RFC 959; IPv4 only.
    Pasv,
    /// RFC 2428.
    Epsv,
    /// RFC 1639; only clients are spoken to in it.
    Lpsv,
}

/// The forms that this session's server has refused.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Lacks {
    port: bool,
    eprt: bool,
    pasv: bool,
    epsv: bool,
}

impl ActiveForm {
    pub(super) fn verb(self) -> Verb {
        match self {
            Self::Port => Verb::Port,
            Self::Eprt => Verb::Eprt,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Port => Self::Eprt,
            Self::Eprt => Self::Port,
        }
    }
}

impl PassiveForm {
    pub(super) fn of(verb: &Verb) -> Self {
        if *verb == Verb::Epsv {
            Self::Epsv
        } else if *verb == Verb::Lpsv {
            Self::Lpsv
        } else {
            Self::Pasv
        }
    }

    pub(super) fn verb(self) -> Verb {
        match self {
            Self::Pasv => Verb::Pasv,
            Self::Epsv => Verb::Epsv,
            Self::Lpsv => Verb::Lpsv,
        }
    }

    fn other(self) -> Self {
        match self {
            Self::Pasv => Self::Epsv,
            Self::Epsv | Self::Lpsv => Self::Pasv,
        }
    }
}

impl Lacks {
    fn active(&mut self, form: ActiveForm) -> &mut bool {
        match form {
            ActiveForm::Port => &mut self.port,
            ActiveForm::Eprt => &mut self.eprt,
        }
    }

    fn passive(&mut self, form: PassiveForm) -> &mut bool {
        match form {
            PassiveForm::Pasv => &mut self.pasv,
            PassiveForm::Epsv | PassiveForm::Lpsv => &mut self.epsv,
        }
    }
}

impl Inspector {
    /// The form for this server of what the client said with `verb`.
    pub(super) fn active_form(&mut self, verb: &Verb) -> ActiveForm {
        if self.settings.legs.server.is_ipv6() {
            return ActiveForm::Eprt;
        }
        let asked = if *verb == Verb::Port {
            ActiveForm::Port
        } else {
            ActiveForm::Eprt
        };
        match self.settings.convert && *self.lacks.active(asked) {
            true => asked.other(),
            false => asked,
        }
    }

    /// The form for this server of what the client asks for.
    pub(super) fn passive_form(&mut self, asked: PassiveForm) -> PassiveForm {
        if self.settings.legs.server.is_ipv6() {
            return PassiveForm::Epsv;
        }
        let form = if asked == PassiveForm::Lpsv {
            PassiveForm::Epsv
        } else {
            asked
        };
        match self.settings.convert && *self.lacks.passive(form) {
            true => form.other(),
            false => form,
        }
    }

    /// The form to try after the server refused `form` with `code`; `None` where none is left.
    pub(super) fn next_active_form(&mut self, form: ActiveForm, code: u16) -> Option<ActiveForm> {
        if !self.may_convert(code) {
            return None;
        }
        *self.lacks.active(form) = true;
        Some(form.other()).filter(|&other| !*self.lacks.active(other))
    }

    /// The same for the passive forms.
    pub(super) fn next_passive_form(
        &mut self,
        form: PassiveForm,
        code: u16,
    ) -> Option<PassiveForm> {
        if !self.may_convert(code) {
            return None;
        }
        *self.lacks.passive(form) = true;
        Some(form.other()).filter(|&other| !*self.lacks.passive(other))
    }

    /// Whether `code` says that the server does not know a command, and another may be tried. An
    /// IPv6 server knows only the extended forms.
    fn may_convert(&self, code: u16) -> bool {
        self.settings.convert
            && self.settings.legs.server.is_ipv4()
            && matches!(code, 500 | 501 | 502 | 504 | 522)
    }
}
