//! What goes on the record: one value per event, free of time and of formats.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::ftp::Verb;
use crate::pinhole::{Counters, Pinhole, PinholeId};
use crate::rules::{Decision, Loudness, RuleName, Verdict, Window};

/// One of the two ends of a control connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Who dialled.
    Client,
    /// Who was dialled.
    Server,
}

/// Which way a line went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the client to the server.
    ToServer,
    /// From the server to the client.
    ToClient,
}

/// Who dials the data connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// The server dials the client (PORT, EPRT).
    Active,
    /// The client dials the server (PASV, EPSV).
    Passive,
}

/// A command as it may be shown: the arguments of PASS and ACCT never are. Cloning copies no text of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// The verb.
    pub verb: Verb,
    /// The argument, bytes outside UTF-8 replaced; `***` for PASS and ACCT; `None` where there is none.
    pub argument: Option<Arc<str>>,
    /// The path it names, resolved against the session's directory.
    pub path: Option<Arc<str>>,
}

/// A record with the user it belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The name given in USER, once there is one.
    pub user: Option<Arc<str>>,
    /// What happened.
    pub event: Event,
}

impl Record {
    /// Whether it is an allow by a rule with `audit: quiet`: it counts for its rule and leaves no line.
    pub fn is_quiet(&self) -> bool {
        matches!(
            &self.event,
            Event::Decided { verdict, .. }
                if verdict.decision == Decision::Allow && verdict.audit == Loudness::Quiet
        )
    }
}

/// Something that goes on the record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The control connection was taken, and the one to the server stands.
    SessionStarted,
    /// A rule decided on a command.
    Decided {
        /// The command.
        command: Command,
        /// The decision and the rule that made it.
        verdict: Verdict,
    },
    /// The server's final reply to a command that was forwarded.
    Replied {
        /// The command.
        command: Command,
        /// The reply code, 100–599.
        code: u16,
        /// The text of its last line, bytes outside UTF-8 replaced.
        text: String,
    },
    /// An address in a line was replaced.
    Rewrote {
        /// Which way the line went.
        direction: Direction,
        /// The line as it came.
        before: String,
        /// The line as it was sent on.
        after: String,
        /// The rule that allowed it.
        rule: Arc<RuleName>,
    },
    /// The kernel holds the pinhole.
    PinholeOpened {
        /// Its name.
        id: PinholeId,
        /// What it lets through.
        pinhole: Pinhole,
        /// Who dials.
        mode: Mode,
        /// The rule that allowed it.
        rule: Arc<RuleName>,
    },
    /// The one connection it stood for was seen.
    PinholeUsed {
        /// Its name.
        id: PinholeId,
        /// What it let through.
        pinhole: Pinhole,
        /// Time from opening to use.
        after: Duration,
    },
    /// It closed without having been used.
    PinholeUnused {
        /// Its name.
        id: PinholeId,
        /// What it would have let through.
        pinhole: Pinhole,
        /// Why it closed.
        reason: PinholeEnd,
    },
    /// It could not be opened; the client was told 425.
    PinholeRefused {
        /// What it would have let through; `None` where no port could be had.
        pinhole: Option<Pinhole>,
        /// Why, in words for the operator.
        reason: String,
    },
    /// A transfer ended.
    Transferred(Transferred),
    /// The server did not know a command and was asked with another.
    Converted {
        /// What it refused.
        from: Verb,
        /// What it was asked instead.
        to: Verb,
        /// Its reply code.
        code: u16,
    },
    /// TLS began: nothing more of the control connection is read.
    Secured {
        /// The rule that allowed it.
        rule: Arc<RuleName>,
        /// The passive data connections that are let through meanwhile.
        window: Option<Window>,
    },
    /// The control connection is plain text again (CCC).
    Unsecured,
    /// A data connection came through the window of a control connection that can't be read.
    WindowUsed {
        /// Where the client dialled.
        announced: SocketAddr,
    },
    /// It is over.
    WindowMoved {
        /// Where the client dialled.
        announced: SocketAddr,
        /// What the kernel counted; `None` where its word did not come.
        counters: Option<Counters>,
        /// How long it stood.
        duration: Option<Duration>,
    },
    /// A peer broke a rule of the protocol.
    Violated {
        /// Who did.
        by: Side,
        /// What it did.
        violation: Violation,
        /// The offending line, bytes outside UTF-8 replaced, PASS and ACCT masked.
        line: String,
    },
    /// Clients beyond the limits came faster than they could be told 421, and were reset.
    ClientsUnheard {
        /// How many.
        count: u64,
        /// Within which time.
        within: Duration,
    },
    /// The session is over.
    SessionEnded {
        /// Why.
        reason: EndReason,
        /// How long it stood.
        lasted: Duration,
        /// Bytes taken from the client on the control connection.
        bytes_from_client: u64,
        /// Bytes taken from the server on the control connection.
        bytes_from_server: u64,
    },
}

/// One data connection and the command it served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transferred {
    /// The command, with its path; PORT, PASV or their like where the connection served no command.
    pub command: Command,
    /// The rule that allowed the command.
    pub rule: Arc<RuleName>,
    /// Who dialled.
    pub mode: Mode,
    /// The pinhole it went through.
    pub pinhole: Pinhole,
    /// The pinhole's name.
    pub id: PinholeId,
    /// What PORT, EPRT, 227 or 229 said as it came.
    pub announced: SocketAddr,
    /// What it said as it was sent on; equal to `announced` where nothing was rewritten.
    pub rewritten: SocketAddr,
    /// What the kernel counted; `None` where its word did not come.
    pub counters: Option<Counters>,
    /// From the first packet seen to the last.
    pub duration: Option<Duration>,
    /// The final reply's code; `None` where the session ended before one came.
    pub code: Option<u16>,
    /// How it ended.
    pub outcome: TransferOutcome,
}

/// How a transfer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransferOutcome {
    /// The server said 2yz.
    Completed,
    /// The server said 4yz or 5yz.
    Failed,
    /// The session ended before the server said anything.
    Abandoned,
    /// It was cut off at its limit on bytes.
    Truncated,
}

/// Why an unused pinhole closed (protocol rule 38).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinholeEnd {
    /// Its lifetime is over.
    Expired,
    /// The server refused the transfer with 4yz or 5yz.
    TransferRefused,
    /// The transfer completed without a data connection having been seen.
    TransferEnded,
    /// A newer PORT, EPRT, PASV or EPSV took its place.
    Replaced,
    /// The client said ABOR.
    Aborted,
    /// The client said REIN.
    Reinitialised,
    /// The client said QUIT.
    Quit,
    /// The client said AUTH.
    Secured,
    /// A 421 came, or the control connection closed.
    SessionClosed,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EndReason {
    /// The client closed.
    ClientClosed,
    /// The server closed.
    ServerClosed,
    /// The client reset the connection.
    ClientReset,
    /// The server reset the connection.
    ServerReset,
    /// Nothing moved for the idle timeout.
    Idle,
    /// A peer broke a rule that ends the session.
    Violation,
    /// The server could not be reached; the reason the client was told.
    ConnectFailed(String),
    /// The client had not logged in when its time for that was over.
    LoginTimeout,
    /// The limit on sessions was reached.
    TooManySessions,
    /// Sessions began more often than they may.
    SessionRate,
    /// The machine had no file or no memory for one more connection.
    NoResources,
    /// Portcullis is stopping.
    Stopping,
    /// The record could not be kept.
    AuditFailed,
}

/// What a peer did against the protocol; each is a sentence about the peer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Violation {
    /// A line longer than the limit (protocol rule 4).
    #[error("sent a line of more than {limit} bytes")]
    SentOverlongLine {
        /// Bytes, line end not counted.
        limit: usize,
    },
    /// A bare LF where the policy refuses it (rule 5).
    #[error("ended a line with LF alone")]
    EndedLineWithBareLf,
    /// CR inside a line, without LF or NUL behind it (rule 6).
    #[error("sent CR inside a line")]
    SentBareCr,
    /// A name to be made with CR in it, which servers give back as the end of a line.
    #[error("named a file or folder with the end of a line in its name")]
    NamedLineEnd,
    /// NUL outside CR NUL (rule 7).
    #[error("sent NUL inside a line")]
    SentNul,
    /// An empty or unreadable verb (rule 13).
    #[error("sent a line without a verb")]
    SentNoVerb,
    /// A verb that nobody knows, refused by policy (rule 13).
    #[error("sent the unknown verb {verb}")]
    SentUnknownVerb {
        /// In upper case.
        verb: String,
    },
    /// A variant of PORT or PASV that is never forwarded (rule 36).
    #[error("asked for {verb}, which is not forwarded")]
    AskedForUnsupportedTransfer {
        /// The verb.
        verb: Verb,
    },
    /// A 227, 228 or 229 that answers no PASV, EPSV or LPSV (rules 15, 16).
    #[error("sent {code} without a passive command outstanding")]
    AnsweredNothing {
        /// The reply code.
        code: u16,
    },
    /// A reply although nothing was outstanding.
    #[error("sent {code} although no command was outstanding")]
    RepliedUnasked {
        /// The reply code.
        code: u16,
    },
    /// A second preliminary reply to one command (rule 24).
    #[error("sent a second preliminary reply, {code}")]
    RepliedPreliminaryTwice {
        /// The reply code.
        code: u16,
    },
    /// A command seen from the server, or a reply from the client (rules 16, 17).
    #[error("sent what only the other side may send")]
    SpokeForOtherSide,
    /// A line of the server that is no reply.
    #[error("sent a line that is not a reply")]
    SentNoReply,
    /// A PORT, EPRT, 227 or 229 that does not parse (rules 19–23).
    #[error("announced an endpoint that cannot be read: {reason}")]
    AnnouncedUnreadableEndpoint {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// EPRT for a family that this control connection does not have (rule 23).
    #[error("announced an address of another family than the control connection")]
    AnnouncedOtherFamily,
    /// An address that is not the control peer's: the bounce attack (rules 26, 29).
    #[error("announced {claimed}, which is not its own address {peer}")]
    AnnouncedForeignAddress {
        /// What the line said.
        claimed: IpAddr,
        /// The peer of the control connection.
        peer: IpAddr,
    },
    /// Loopback, multicast, broadcast, unspecified, link-local or an address of the edge (rule 30).
    #[error("announced {claimed}, an address that no data connection may have")]
    AnnouncedForbiddenAddress {
        /// What the line said.
        claimed: IpAddr,
    },
    /// Port 0, a port under 1024 or one the operator listed (rules 27, 28).
    #[error("announced port {port}, which is refused")]
    AnnouncedForbiddenPort {
        /// What the line said.
        port: u16,
    },
    /// PORT, EPRT, PASV, LPRT or LPSV after EPSV ALL (rule 44).
    #[error("sent {verb} after EPSV ALL")]
    BrokeEpsvAll {
        /// The verb.
        verb: Verb,
    },
    /// PORT or PASV on an IPv6 control connection (rule 35).
    #[error("sent {verb} on an IPv6 control connection")]
    UsedIpv4CommandOnIpv6 {
        /// The verb.
        verb: Verb,
    },
    /// A pathname longer than the limit (rule 63).
    #[error("named a path of more than {limit} bytes")]
    NamedOverlongPath {
        /// Bytes.
        limit: usize,
    },
    /// Bytes behind AUTH, before TLS began (rule 48: what would be said inside TLS by somebody else).
    #[error("sent bytes behind AUTH before TLS began")]
    PipelinedIntoTls,
    /// Plain text where TLS was to begin.
    #[error("sent plain text where TLS was agreed")]
    SpokePlainForTls,
    /// A request of HTTP: a browser that was made to dial an FTP port.
    #[error("spoke HTTP")]
    SpokeHttp,
    /// Before USER a line that is no command, as TLS and TURN begin.
    #[error("spoke another protocol than FTP before USER")]
    SpokeOtherProtocol,
    /// A command of a security exchange outside of one (rules 50 and 53).
    #[error("sent {verb} without a security exchange")]
    SecuredNothing {
        /// The verb.
        verb: Verb,
    },
    /// HOST where it may not stand, or one that can't be read (rule 56).
    #[error("sent HOST {0}")]
    MisusedHost(&'static str),
    /// More wrong passwords than allowed (rule 59).
    #[error("gave {count} wrong passwords")]
    GuessedPasswords {
        /// How many.
        count: u32,
    },
    /// A transfer command before login (rule 61).
    #[error("sent {verb} before login")]
    TransferredBeforeLogin {
        /// The verb.
        verb: Verb,
    },
}
