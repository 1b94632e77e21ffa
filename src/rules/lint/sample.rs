//! Commands made up to fit a rule: they find the rules worth comparing, and show what is meant.

use std::net::{IpAddr, Ipv4Addr};

use crate::ftp::Verb;

use super::super::commands::CommandKey;
use super::super::glob::Glob;
use super::super::networks::Networks;
use super::super::rule::{Rule, names_path};
use super::super::{Class, Request, TransferMode};

/// A command that fits a rule, its time aside.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub(super) client: IpAddr,
    pub(super) server: IpAddr,
    pub(super) listener: String,
    pub(super) host: Option<String>,
    pub(super) user: Option<String>,
    pub(super) verb: Verb,
    pub(super) site: Option<String>,
    pub(super) foreign: Option<IpAddr>,
    pub(super) path: Option<Vec<u8>>,
}

impl Sample {
    /// Makes up one; `None` where no command can match.
    pub(super) fn of(rule: &Rule) -> Option<Self> {
        let (verb, site) = command(rule)?;
        Some(Self {
            client: address(rule.client.as_ref())?,
            server: address(rule.server.as_ref())?,
            listener: match &rule.listeners {
                Some(names) => names.first()?.clone(),
                None => String::new(),
            },
            host: name(rule.hosts.as_deref())?,
            user: name(rule.users.as_deref())?,
            verb,
            site,
            foreign: match &rule.fxp {
                Some(nets) => Some(address(Some(nets))?),
                None => None,
            },
            path: match &rule.paths {
                Some(globs) => Some(globs.first()?.sample()),
                None => None,
            },
        })
    }

    pub(super) fn request(&self) -> Request<'_> {
        Request {
            user: self.user.as_deref(),
            host: self.host.as_deref(),
            site: self.site.as_deref(),
            foreign: self.foreign,
            path: self.path.as_deref(),
            ..Request::new(&self.listener, self.client, self.server, &self.verb)
        }
    }
}

/// An address of the set; any where none is asked for.
fn address(nets: Option<&Networks>) -> Option<IpAddr> {
    match nets {
        Some(nets) => nets.written().first().map(|net| net.network()),
        None => Some(Ipv4Addr::UNSPECIFIED.into()),
    }
}

/// A name that a glob matches; none where none is asked for.
fn name(globs: Option<&[Glob]>) -> Option<Option<String>> {
    match globs {
        Some(globs) => String::from_utf8(globs.first()?.sample()).ok().map(Some),
        None => Some(None),
    }
}

/// A verb that fits, and a word if it is SITE.
fn command(rule: &Rule) -> Option<(Verb, Option<String>)> {
    let Some(commands) = &rule.commands else {
        let mut fitting = Verb::KNOWN.iter().filter(|verb| rule.can_match(verb));
        return fitting.next().map(|verb| (verb.clone(), None));
    };
    let fits = |verb: &Verb| {
        (rule.paths.is_none() || names_path(verb))
            && rule
                .fxp
                .as_ref()
                .is_none_or(|_| TransferMode::of(verb) == Some(TransferMode::Active))
            && rule
                .mode
                .is_none_or(|mode| TransferMode::of(verb) == Some(mode))
    };
    commands.keys().find_map(|key| match key {
        CommandKey::Verb(verb) => fits(&verb).then_some((verb, None)),
        CommandKey::SiteWord(word) => fits(&Verb::Site).then_some((Verb::Site, Some(word))),
        CommandKey::Class(class) => {
            let mut verbs = Verb::KNOWN.iter();
            let verb =
                verbs.find(|verb| Class::of(verb, rule.paths.is_some()) == class && fits(verb))?;
            Some((verb.clone(), None))
        }
    })
}
