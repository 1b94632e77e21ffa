//! The words by which counts are told apart: values of labels, which dashboards and alert rules name.

use crate::inspect::{EndReason, Mode, PinholeEnd, TransferOutcome, Violation};

use crate::net::Shortage;

use super::{AdminRefusal, AdminSide};

/// What is refused by the gate itself, whatever peers send; breaks of the protocol are told once they happen.
pub(super) const REFUSALS: [&str; 10] = [
    "policy",
    "limit",
    "pinhole",
    "too-many-sessions",
    "session-rate",
    "login-timeout",
    "no-resources",
    "unanswered",
    "connect-failed",
    "audit-failed",
];

/// What was missing when a connection could not be taken.
pub(super) const SHORTAGES: [&str; 3] = ["files", "memory", "other"];

pub(super) fn shortage(shortage: Option<Shortage>) -> &'static str {
    match shortage {
        Some(Shortage::Files) => "files",
        Some(Shortage::Memory) => "memory",
        None => "other",
    }
}

/// What becomes of pinholes.
pub(super) const PINHOLE_ENDS: [&str; 11] = [
    "used",
    "refused",
    "expired",
    "transfer-refused",
    "transfer-ended",
    "replaced",
    "aborted",
    "reinitialised",
    "quit",
    "secured",
    "session-closed",
];

/// Who dials.
pub(super) const MODES: [&str; 2] = ["active", "passive"];

/// How transfers end.
pub(super) const OUTCOMES: [&str; 4] = ["completed", "failed", "abandoned", "truncated"];

pub(super) fn admin_side(side: AdminSide) -> &'static str {
    match side {
        AdminSide::Socket => "socket",
        AdminSide::Page => "page",
    }
}

pub(super) fn admin_refusal(refusal: AdminRefusal) -> &'static str {
    match refusal {
        AdminRefusal::NoToken => "no-token",
        AdminRefusal::WrongToken => "wrong-token",
        AdminRefusal::TooManyTokens => "too-many-tokens",
        AdminRefusal::ForeignHost => "foreign-host",
        AdminRefusal::ForeignOrigin => "foreign-origin",
    }
}

pub(super) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Active => "active",
        Mode::Passive => "passive",
    }
}

pub(super) fn outcome(outcome: TransferOutcome) -> &'static str {
    match outcome {
        TransferOutcome::Completed => "completed",
        TransferOutcome::Failed => "failed",
        TransferOutcome::Abandoned => "abandoned",
        TransferOutcome::Truncated => "truncated",
    }
}

pub(super) fn pinhole_end(end: PinholeEnd) -> &'static str {
    match end {
        PinholeEnd::Expired => "expired",
        PinholeEnd::TransferRefused => "transfer-refused",
        PinholeEnd::TransferEnded => "transfer-ended",
        PinholeEnd::Replaced => "replaced",
        PinholeEnd::Aborted => "aborted",
        PinholeEnd::Reinitialised => "reinitialised",
        PinholeEnd::Quit => "quit",
        PinholeEnd::Secured => "secured",
        PinholeEnd::SessionClosed => "session-closed",
    }
}

pub(super) fn session_end(reason: &EndReason) -> &'static str {
    match reason {
        EndReason::ClientClosed => "client-closed",
        EndReason::ServerClosed => "server-closed",
        EndReason::ClientReset => "client-reset",
        EndReason::ServerReset => "server-reset",
        EndReason::Idle => "idle",
        EndReason::Violation => "violation",
        EndReason::ConnectFailed(_) => "connect-failed",
        EndReason::LoginTimeout => "login-timeout",
        EndReason::TooManySessions => "too-many-sessions",
        EndReason::SessionRate => "session-rate",
        EndReason::NoResources => "no-resources",
        EndReason::Stopping => "stopping",
        EndReason::AuditFailed => "audit-failed",
    }
}

/// Why nothing came of a session at all, where the gate itself refused it.
pub(super) fn refused_session(reason: &EndReason) -> Option<&'static str> {
    matches!(
        reason,
        EndReason::ConnectFailed(_)
            | EndReason::LoginTimeout
            | EndReason::TooManySessions
            | EndReason::SessionRate
            | EndReason::NoResources
            | EndReason::AuditFailed
    )
    .then(|| session_end(reason))
}

pub(super) fn violation(violation: &Violation) -> &'static str {
    match violation {
        Violation::SentOverlongLine { .. } => "overlong-line",
        Violation::EndedLineWithBareLf => "bare-lf",
        Violation::SentBareCr => "bare-cr",
        Violation::NamedLineEnd => "line-end-in-name",
        Violation::SentNul => "nul",
        Violation::SentNoVerb => "no-verb",
        Violation::SentUnknownVerb { .. } => "unknown-verb",
        Violation::AskedForUnsupportedTransfer { .. } => "unsupported-transfer",
        Violation::AnsweredNothing { .. } => "unasked-passive-reply",
        Violation::RepliedUnasked { .. } => "unasked-reply",
        Violation::RepliedPreliminaryTwice { .. } => "second-preliminary-reply",
        Violation::SpokeForOtherSide => "wrong-side",
        Violation::SentNoReply => "no-reply",
        Violation::AnnouncedUnreadableEndpoint { .. } => "unreadable-endpoint",
        Violation::AnnouncedOtherFamily => "other-family",
        Violation::AnnouncedForeignAddress { .. } => "foreign-address",
        Violation::AnnouncedForbiddenAddress { .. } => "forbidden-address",
        Violation::AnnouncedForbiddenPort { .. } => "forbidden-port",
        Violation::BrokeEpsvAll { .. } => "epsv-all",
        Violation::UsedIpv4CommandOnIpv6 { .. } => "ipv4-command-on-ipv6",
        Violation::NamedOverlongPath { .. } => "overlong-path",
        Violation::PipelinedIntoTls => "bytes-behind-auth",
        Violation::SpokePlainForTls => "plain-text-for-tls",
        Violation::SpokeHttp => "http",
        Violation::SpokeOtherProtocol => "other-protocol",
        Violation::SecuredNothing { .. } => "security-command-alone",
        Violation::MisusedHost(_) => "misused-host",
        Violation::GuessedPasswords { .. } => "wrong-passwords",
        Violation::TransferredBeforeLogin { .. } => "transfer-before-login",
    }
}
