//! The conditions of a rule, by name.

/// One condition of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `command`
    Command,
    /// `mode`
    Mode,
    /// `fxp`; a rule without it does not allow foreign addresses.
    Fxp,
    /// `channel`
    Channel,
    /// `listener`
    Listener,
    /// `client`
    Client,
    /// `server`
    Server,
    /// `host`
    Host,
    /// `user`
    User,
    /// `path`
    Path,
    /// `when`
    When,
}

impl Field {
    /// All, in the order in which they are asked: what costs least first.
    pub const ALL: [Self; 11] = [
        Self::Command,
        Self::Mode,
        Self::Fxp,
        Self::Channel,
        Self::Listener,
        Self::Client,
        Self::Server,
        Self::Host,
        Self::User,
        Self::Path,
        Self::When,
    ];

    /// The key in a rule.
    pub fn name(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Mode => "mode",
            Self::Fxp => "fxp",
            Self::Channel => "channel",
            Self::Listener => "listener",
            Self::Client => "client",
            Self::Server => "server",
            Self::Host => "host",
            Self::User => "user",
            Self::Path => "path",
            Self::When => "when",
        }
    }
}
