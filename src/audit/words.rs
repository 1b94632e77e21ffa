//! The fixed words and numbers of the record: what readers filter by, so none of them changes.

use std::borrow::Cow;

use crate::inspect::{Direction, EndReason, Mode, PinholeEnd, Side, TransferOutcome, Violation};

/// `alert.signature_id` of a denied command; violations follow from [`FIRST_VIOLATION`].
///
/// Suricata leaves 1,000,000 to 1,999,999 to local signatures.
pub(super) const DENIED: u32 = 1_210_001;

/// `alert.signature_id` of an allowed command under a rule with `audit: alert`.
pub(super) const ALLOWED: u32 = 1_210_002;

/// Start of the `alert.signature_id` of violations.
const FIRST_VIOLATION: u32 = 1_210_100;

/// `alert.severity`, 1 being the gravest.
pub(super) const SEVERITY_DENIED: u8 = 3;

/// `alert.severity` of a command that a rule wants told.
pub(super) const SEVERITY_ALLOWED: u8 = 3;

pub(super) fn side(side: Side) -> &'static str {
    match side {
        Side::Client => "client",
        Side::Server => "server",
    }
}

pub(super) fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::ToServer => "to_server",
        Direction::ToClient => "to_client",
    }
}

pub(crate) fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Active => "active",
        Mode::Passive => "passive",
    }
}

pub(crate) fn outcome(outcome: TransferOutcome) -> &'static str {
    match outcome {
        TransferOutcome::Completed => "completed",
        TransferOutcome::Failed => "failed",
        TransferOutcome::Abandoned => "abandoned",
        TransferOutcome::Truncated => "truncated",
    }
}

pub(crate) fn pinhole_end(end: PinholeEnd) -> &'static str {
    match end {
        PinholeEnd::Expired => "expired",
        PinholeEnd::TransferRefused => "transfer_refused",
        PinholeEnd::TransferEnded => "transfer_ended",
        PinholeEnd::Replaced => "replaced",
        PinholeEnd::Aborted => "aborted",
        PinholeEnd::Reinitialised => "reinitialised",
        PinholeEnd::Quit => "quit",
        PinholeEnd::Secured => "secured",
        PinholeEnd::SessionClosed => "session_closed",
    }
}

pub(super) fn session_end(reason: &EndReason) -> Cow<'static, str> {
    Cow::Borrowed(match reason {
        EndReason::ClientClosed => "client_closed",
        EndReason::ServerClosed => "server_closed",
        EndReason::ClientReset => "client_reset",
        EndReason::ServerReset => "server_reset",
        EndReason::Idle => "idle",
        EndReason::Violation => "violation",
        EndReason::LoginTimeout => "login_timeout",
        EndReason::TooManySessions => "too_many_sessions",
        EndReason::SessionRate => "session_rate",
        EndReason::NoResources => "no_resources",
        EndReason::Stopping => "stopping",
        EndReason::AuditFailed => "audit_failed",
        EndReason::ConnectFailed(why) => return format!("connect_failed: {why}").into(),
    })
}

/// `flow.reason` in the words of EVE, where one of them fits.
pub(super) fn flow_end(reason: &EndReason) -> Option<&'static str> {
    match reason {
        EndReason::Idle | EndReason::LoginTimeout => Some("timeout"),
        EndReason::Stopping => Some("shutdown"),
        EndReason::Violation
        | EndReason::TooManySessions
        | EndReason::SessionRate
        | EndReason::NoResources
        | EndReason::AuditFailed => Some("forced"),
        EndReason::ClientClosed
        | EndReason::ServerClosed
        | EndReason::ClientReset
        | EndReason::ServerReset
        | EndReason::ConnectFailed(_) => None,
    }
}

/// Gives `alert.signature_id` and `alert.severity` of a violation.
pub(super) fn violation(violation: &Violation) -> (u32, u8) {
    let (number, severity) = match violation {
        Violation::SentOverlongLine { .. } => (0, 2),
        Violation::EndedLineWithBareLf => (1, 3),
        Violation::SentBareCr => (2, 2),
        Violation::SentNul => (3, 2),
        Violation::SentNoVerb => (4, 3),
        Violation::SentUnknownVerb { .. } => (5, 3),
        Violation::AskedForUnsupportedTransfer { .. } => (6, 3),
        Violation::AnsweredNothing { .. } => (7, 1),
        Violation::RepliedUnasked { .. } => (8, 2),
        Violation::RepliedPreliminaryTwice { .. } => (9, 2),
        Violation::SpokeForOtherSide => (10, 1),
        Violation::SentNoReply => (11, 2),
        Violation::AnnouncedUnreadableEndpoint { .. } => (12, 2),
        Violation::AnnouncedOtherFamily => (13, 2),
        Violation::AnnouncedForeignAddress { .. } => (14, 1),
        Violation::AnnouncedForbiddenAddress { .. } => (15, 1),
        Violation::AnnouncedForbiddenPort { .. } => (16, 1),
        Violation::BrokeEpsvAll { .. } => (17, 3),
        Violation::UsedIpv4CommandOnIpv6 { .. } => (18, 3),
        Violation::TransferredBeforeLogin { .. } => (19, 2),
        Violation::NamedOverlongPath { .. } => (20, 2),
        Violation::PipelinedIntoTls => (21, 1),
        Violation::SpokePlainForTls => (22, 1),
        Violation::SecuredNothing { .. } => (23, 3),
        Violation::MisusedHost(_) => (24, 3),
        Violation::GuessedPasswords { .. } => (25, 1),
        Violation::SpokeHttp => (26, 1),
        Violation::SpokeOtherProtocol => (27, 1),
        Violation::NamedLineEnd => (28, 1),
    };
    (FIRST_VIOLATION + number, severity)
}
