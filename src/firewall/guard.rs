//! What may be opened at all, whoever asks: the last word before the kernel, said by the one process that
//! may change it.
//!
//! Pure. The inspector has asked its rules before; this holds where the process that asks has been taken
//! over, and knows nothing of sessions.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::Settings;
use super::order::Refusal;
use super::subject::Subject;
use super::window::WindowSpec;
use crate::inspect::WINDOW_LIFETIME;
use crate::nat;
use crate::pinhole::Pinhole;
use crate::rules::FIRST_PORT;

/// Knows the bounds that hold for all sessions of one configuration.
#[derive(Clone, Debug)]
pub struct Guard {
    pinhole_lifetime: Duration,
    windows: usize,
    /// The ports that are leased: what is translated is announced on one of them.
    data_ports: RangeInclusive<u16>,
    /// One end of everything; empty where clients choose their servers.
    servers: BTreeSet<IpAddr>,
}

impl Guard {
    /// Takes the bounds from what the table is built from.
    pub fn new(settings: &Settings) -> Self {
        Self {
            pinhole_lifetime: settings.pinhole_lifetime,
            windows: settings.windows.len(),
            data_ports: settings.kernel.data_ports.clone(),
            servers: settings.servers.clone(),
        }
    }

    /// Whether this may be opened for so long.
    pub fn admits(&self, subject: &Subject, lifetime: Duration) -> bool {
        self.check(subject, lifetime).is_ok()
    }

    /// The same.
    ///
    /// # Errors
    /// Says why not.
    pub(super) fn check(&self, subject: &Subject, lifetime: Duration) -> Result<(), Refusal> {
        let addresses = subject.addresses();
        let v4 = addresses.iter().filter(|address| address.is_ipv4()).count();
        if v4 != 0 && v4 != addresses.len() {
            return Err(Refusal::MixedFamilies);
        }
        if let Some(address) = addresses.into_iter().find(|&own| nat::is_forbidden(own)) {
            return denied(format!("no data connection may have the address {address}"));
        }
        match subject {
            Subject::Pinhole(pinhole) => self.check_pinhole(pinhole, lifetime),
            Subject::Window(spec) => self.check_window(spec, lifetime),
        }
    }

    fn check_pinhole(&self, pinhole: &Pinhole, lifetime: Duration) -> Result<(), Refusal> {
        let ports = [pinhole.announced.port(), pinhole.target.port()];
        if let Some(port) = ports.into_iter().find(|&port| port < FIRST_PORT) {
            return denied(format!("port {port} is below {FIRST_PORT}"));
        }
        let announced = pinhole.announced.port();
        if pinhole.redirects() && !self.data_ports.contains(&announced) {
            let (first, last) = (self.data_ports.start(), self.data_ports.end());
            return denied(format!("port {announced} is none of {first}-{last}"));
        }
        self.check_lifetime(lifetime, self.pinhole_lifetime)?;
        self.check_ends(pinhole.initiator, pinhole.target.ip())
    }

    fn check_window(&self, spec: &WindowSpec, lifetime: Duration) -> Result<(), Refusal> {
        if spec.window >= self.windows {
            return denied(format!(
                "there is no window {}, only {}",
                spec.window, self.windows
            ));
        }
        self.check_lifetime(lifetime, WINDOW_LIFETIME)?;
        self.check_ends(spec.client, spec.server)
    }

    fn check_lifetime(&self, lifetime: Duration, longest: Duration) -> Result<(), Refusal> {
        match lifetime <= longest {
            true => Ok(()),
            false => denied(format!("{lifetime:?} is longer than {longest:?}")),
        }
    }

    fn check_ends(&self, from: IpAddr, to: IpAddr) -> Result<(), Refusal> {
        let known =
            self.servers.is_empty() || [from, to].iter().any(|ip| self.servers.contains(ip));
        match known {
            true => Ok(()),
            false => denied(format!("neither {from} nor {to} is a published server")),
        }
    }
}

fn denied(why: String) -> Result<(), Refusal> {
    Err(Refusal::Denied(why))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;
    use crate::config::Kernel;
    use crate::firewall::plan::tests::pinhole;
    use crate::rules::Window;

    const LIFETIME: Duration = Duration::from_secs(60);

    fn guard(servers: &[&str]) -> Guard {
        Guard::new(&Settings {
            kernel: Kernel {
                data_ports: 50_000..=50_999,
                ..Kernel::default()
            },
            intercepts: Vec::new(),
            windows: vec![Window {
                first: 2000,
                last: 2010,
                at_most: 1,
            }],
            capacity: 10,
            pinhole_lifetime: LIFETIME,
            servers: servers.iter().map(|ip| ip.parse().unwrap()).collect(),
        })
    }

    fn why(guard: &Guard, pinhole: Pinhole, lifetime: Duration) -> String {
        match guard.check(&Subject::Pinhole(pinhole), lifetime) {
            Ok(()) => "good".to_owned(),
            Err(Refusal::Denied(why)) => why,
            Err(other) => format!("{other:?}"),
        }
    }

    #[test]
    fn a_pinhole_within_the_bounds_is_good() {
        let guard = guard(&["10.9.0.3"]);
        for good in [
            pinhole("10.0.0.2", "192.0.2.1:50000", "10.9.0.3:1024", "10.9.0.1"),
            pinhole("10.9.0.3", "10.0.0.2:65535", "10.0.0.2:65535", "192.0.2.1"),
        ] {
            assert_eq!(why(&guard, good, LIFETIME), "good");
        }
    }

    #[test]
    fn what_is_out_of_bounds_is_denied() {
        let guard = guard(&["10.9.0.3"]);
        let to = |at: &str| pinhole("10.9.0.3", at, at, "10.9.0.3");
        let good = to("10.0.0.2:2000");
        assert!(why(&guard, to("10.0.0.2:22"), LIFETIME).contains("port 22 is below 1024"));
        assert!(why(&guard, to("10.0.0.2:0"), LIFETIME).contains("port 0"));
        let low_target = pinhole("10.0.0.2", "192.0.2.1:50000", "10.9.0.3:22", "10.9.0.1");
        assert!(why(&guard, low_target, LIFETIME).contains("port 22"));
        let other_port = pinhole("10.0.0.2", "192.0.2.1:3306", "10.9.0.3:2000", "10.9.0.1");
        assert!(why(&guard, other_port, LIFETIME).contains("3306 is none of 50000-50999"));
        for address in [
            "127.0.0.1:2000",
            "224.0.0.1:2000",
            "0.0.0.0:2000",
            "169.254.0.1:2000",
        ] {
            let told = why(&guard, to(address), LIFETIME);
            assert!(told.contains("no data connection may have"), "{told}");
        }
        assert!(why(&guard, good, LIFETIME * 2).contains("is longer than 60s"));
        let strangers = pinhole("10.0.0.2", "10.0.0.3:2000", "10.0.0.3:2000", "10.0.0.2");
        assert!(why(&guard, strangers, LIFETIME).contains("a published server"));
        let mixed = pinhole("10.9.0.3", "10.0.0.2:2000", "10.0.0.2:2000", "fd00::1");
        assert_eq!(why(&guard, mixed, LIFETIME), "MixedFamilies");
    }

    #[test]
    fn windows_are_those_of_the_configuration() {
        let guard = guard(&[]);
        let [client, server] = ["10.0.0.2", "10.9.0.3"].map(|ip| ip.parse().unwrap());
        let window = |window| {
            Subject::Window(WindowSpec {
                window,
                client,
                dialled: server,
                server,
                source: client,
            })
        };
        assert_eq!(guard.check(&window(0), WINDOW_LIFETIME), Ok(()));
        assert!(guard.check(&window(1), WINDOW_LIFETIME).is_err());
        assert!(guard.check(&window(0), WINDOW_LIFETIME * 2).is_err());
    }

    proptest! {
        #[test]
        fn nothing_passes_to_a_low_port_or_a_forbidden_address(
            octets in any::<[[u8; 4]; 4]>(),
            announced in any::<u16>(),
            target in any::<u16>(),
            seconds in 0_u64..200,
        ) {
            let [initiator, to, end, source] = octets.map(IpAddr::from);
            let pinhole = Pinhole {
                initiator,
                announced: SocketAddr::new(to, announced),
                target: SocketAddr::new(end, target),
                source,
                from_port_20: false,
            };
            let lifetime = Duration::from_secs(seconds);
            if guard(&[]).check(&Subject::Pinhole(pinhole), lifetime).is_ok() {
                prop_assert!(announced >= 1024 && target >= 1024 && lifetime <= LIFETIME);
                prop_assert!([initiator, to, end, source].iter().all(|&ip| !nat::is_forbidden(ip)));
            }
        }
    }
}
