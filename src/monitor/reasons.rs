//! The words by which counts are told apart: values of labels, which dashboards and alert rules name.

use crate::inspect::{EndReason, Violation};

use crate::net::Shortage;

use super::{AdminRefusal, AdminSide};

/// What is refused by the gate itself, whatever peers send; breaks of the protocol are told once they happen.
pub(super) const REFUSALS: [&str; 10] = [
    "policy",
    "limit",
    "pinhole",
    "too_many_sessions",
    "session_rate",
    "login_timeout",
    "no_resources",
    "unanswered",
    "connect_failed",
    "audit_failed",
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
    "transfer_refused",
    "transfer_ended",
    "replaced",
    "aborted",
    "reinitialised",
    "quit",
    "secured",
    "session_closed",
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
        AdminRefusal::NoToken => "no_token",
        AdminRefusal::WrongToken => "wrong_token",
        AdminRefusal::TooManyTokens => "too_many_tokens",
        AdminRefusal::ForeignHost => "foreign_host",
        AdminRefusal::ForeignOrigin => "foreign_origin",
    }
}

pub(super) fn session_end(reason: &EndReason) -> &'static str {
    match reason {
        EndReason::ClientClosed => "client_closed",
        EndReason::ServerClosed => "server_closed",
        EndReason::ClientReset => "client_reset",
        EndReason::ServerReset => "server_reset",
        EndReason::Idle => "idle",
        EndReason::Violation => "violation",
        EndReason::ConnectFailed(_) => "connect_failed",
        EndReason::LoginTimeout => "login_timeout",
        EndReason::TooManySessions => "too_many_sessions",
        EndReason::SessionRate => "session_rate",
        EndReason::NoResources => "no_resources",
        EndReason::Stopping => "stopping",
        EndReason::AuditFailed => "audit_failed",
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
        Violation::SentOverlongLine { .. } => "overlong_line",
        Violation::EndedLineWithBareLf => "bare_lf",
        Violation::SentBareCr => "bare_cr",
        Violation::NamedLineEnd => "line_end_in_name",
        Violation::SentNul => "nul",
        Violation::SentNoVerb => "no_verb",
        Violation::SentUnknownVerb { .. } => "unknown_verb",
        Violation::AskedForUnsupportedTransfer { .. } => "unsupported_transfer",
        Violation::AnsweredNothing { .. } => "unasked_passive_reply",
        Violation::RepliedUnasked { .. } => "unasked_reply",
        Violation::RepliedPreliminaryTwice { .. } => "second_preliminary_reply",
        Violation::SpokeForOtherSide => "wrong_side",
        Violation::SentNoReply => "no_reply",
        Violation::AnnouncedUnreadableEndpoint { .. } => "unreadable_endpoint",
        Violation::AnnouncedOtherFamily => "other_family",
        Violation::AnnouncedForeignAddress { .. } => "foreign_address",
        Violation::AnnouncedForbiddenAddress { .. } => "forbidden_address",
        Violation::AnnouncedForbiddenPort { .. } => "forbidden_port",
        Violation::BrokeEpsvAll { .. } => "epsv_all",
        Violation::UsedIpv4CommandOnIpv6 { .. } => "ipv4_command_on_ipv6",
        Violation::NamedOverlongPath { .. } => "overlong_path",
        Violation::PipelinedIntoTls => "bytes_behind_auth",
        Violation::SpokePlainForTls => "plain_text_for_tls",
        Violation::SpokeHttp => "http",
        Violation::SpokeOtherProtocol => "other_protocol",
        Violation::SecuredNothing { .. } => "security_command_alone",
        Violation::MisusedHost(_) => "misused_host",
        Violation::GuessedPasswords { .. } => "wrong_passwords",
        Violation::TransferredBeforeLogin { .. } => "transfer_before_login",
    }
}
