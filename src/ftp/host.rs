//! The name that HOST gives (RFC 7151).

use std::net::Ipv6Addr;

/// Reads the argument of HOST: a host name, an IPv4 address, or an IPv6 address in brackets (RFC 7151
/// §3.1). Gives it in the form that hosts are known by: lower case, IPv6 canonical and in brackets.
/// `None` for anything else, a port above all.
pub fn host_name(argument: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(argument).ok()?;
    if let Some(v6) = name.strip_prefix('[') {
        let v6: Ipv6Addr = v6.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{v6}]"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    (!name.is_empty() && name.len() <= 255 && name.bytes().all(plain))
        .then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_takes_names_and_addresses_without_ports() {
        for (written, read) in [
            ("Ftp.Example.Org", "ftp.example.org"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:DB8:0::1]", "[2001:db8::1]"),
        ] {
            assert_eq!(host_name(written.as_bytes()).as_deref(), Some(read));
        }
        for bad in [
            "",
            "ftp.example.org:21",
            "[2001:db8::1]:21",
            "2001:db8::1",
            "a b",
        ] {
            assert!(host_name(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
