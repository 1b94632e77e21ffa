//! One command asked outside a session: what the rules would see of it, and what they say.

use std::net::IpAddr;

use crate::ftp::{self, CommandFault, EndpointError, Verb};
use crate::rules::{Explanation, Policy, Request, explain};

use super::client::{pathname, site_word};
use super::directory::Directory;
use super::settle::{hidden_features, hides, settle};

/// Why a line cannot be asked about.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuestionError {
    /// It is no command.
    #[error("no FTP command: {}", fault(*.0))]
    NoCommand(CommandFault),
    /// PORT, EPRT or LPRT without an address that can be read.
    #[error("{0} has no address that can be read: {1}")]
    NoAddress(Verb, &'static str),
}

fn fault(fault: CommandFault) -> &'static str {
    match fault {
        CommandFault::BareCr => "CR inside the line",
        CommandFault::Nul => "NUL inside the line",
        CommandFault::NoVerb => "it begins with no verb such as RETR",
    }
}

/// Decides on a line as a session would, and tells why. `asking` says who asks, where and when; its
/// verb and all that follows from the argument come from the line. The folder of a relative path is
/// not known.
///
/// # Errors
/// Where the line cannot be read as a command.
pub fn ask(
    policy: &Policy,
    line: &str,
    asking: &Request<'_>,
) -> Result<Explanation, QuestionError> {
    let command = ftp::Command::parse(line.as_bytes()).map_err(QuestionError::NoCommand)?;
    let site = site_word(&command);
    let path = pathname(&command).map(|name| Directory::default().resolve(name));
    let announced = announced(&command)?;
    // USER is decided for the name that it gives.
    let named = (command.verb == Verb::User).then(|| String::from_utf8_lossy(command.trimmed()));
    let request = Request {
        user: named.as_deref().or(asking.user),
        verb: &command.verb,
        site: site.as_deref(),
        foreign: announced.filter(|address| *address != asking.client),
        path: path.as_deref(),
        ..*asking
    };
    let mut explanation = explain(policy, &request);
    settle(&mut explanation.verdict, &command, |verb| {
        hides(&hidden_features(policy, &request), verb)
    });
    Ok(explanation)
}

/// The address that PORT, EPRT or LPRT announces, canonical.
fn announced(command: &ftp::Command<'_>) -> Result<Option<IpAddr>, QuestionError> {
    let Some(read) = ftp::read_announcement(&command.verb, command.trimmed()) else {
        return Ok(None);
    };
    match read {
        Ok(endpoint) => Ok(Some(endpoint.ip().to_canonical())),
        Err(error) => {
            let reason = match error {
                EndpointError::Unreadable(reason) => reason,
                EndpointError::OtherProtocol => "another address family",
            };
            Err(QuestionError::NoAddress(command.verb.clone(), reason))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = "rules:
  - { id: tls, allow: true, command: AUTH }
  - { id: no-chmod, deny: 550 No, command: SITE CHMOD }
  - { id: in, allow: true, path: /in/** }
  - { id: port, allow: true, command: data }
";

    fn asked(line: &str) -> Result<String, QuestionError> {
        let policy = Policy::parse("f", POLICY).unwrap();
        let asking = Request::new(
            "lan",
            [10, 0, 0, 1].into(),
            [192, 0, 2, 1].into(),
            &Verb::Noop,
        );
        ask(&policy, line, &asking).map(|told| {
            let said = told.verdict.decision == crate::rules::Decision::Allow;
            format!("{} {said}", told.verdict.rule.id)
        })
    }

    #[test]
    fn a_line_is_asked_about_as_a_session_would_ask() {
        for (line, told) in [
            ("STOR /in/../in/x", "in true"),
            ("LIST -la /in/x", "in true"),
            ("STOR /in/../x", "default false"),
            ("stor in/x", "default false"),
            ("site chmod 777 x", "no-chmod false"),
            ("AUTH TLS", "tls false"),
            ("PORT 10,0,0,1,4,1", "port true"),
            ("PORT 10,0,0,2,4,1", "default false"),
        ] {
            assert_eq!(asked(line).unwrap(), told, "{line}");
        }
        let error = asked("PORT 1,2").unwrap_err().to_string();
        assert!(
            error.starts_with("PORT has no address that can be read"),
            "{error}"
        );
        assert_eq!(
            asked("").unwrap_err().to_string(),
            "no FTP command: it begins with no verb such as RETR"
        );
    }
}
