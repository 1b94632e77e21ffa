//! The servers, and what others have put between them and their clients.

use anyhow::Context;

use super::{CLIENT, EDGE_INSIDE, EDGE_OUTSIDE, Lab, Process, SERVER};

/// Bytes of the file `small`.
const SMALL: &[u8] = b"small\n";
/// Bytes of the file `large`, which takes no room.
pub const LARGE: u64 = 1_000_000_000;

/// vsftpd, told to write no log and to turn nobody away.
pub(super) fn vsftpd(lab: &Lab) -> anyhow::Result<Process> {
    let root = lab.dir.join("server");
    let files = root.join("pub");
    std::fs::create_dir_all(&files)?;
    std::fs::write(files.join("small"), SMALL)?;
    std::fs::File::create(files.join("large"))?.set_len(LARGE)?;
    let mut command = lab.command(&lab.server, lab.places.script("vsftpd"));
    command
        .arg(lab.places.cache.join("vsftpd"))
        .arg(&root)
        .arg("21");
    command.args([
        "log_ftp_protocol=NO",
        "xferlog_enable=NO",
        "max_clients=0",
        "max_per_ip=0",
        // Of all ports it would at times take one that policies keep for other services.
        "pasv_min_port=10000",
        "pasv_max_port=49151",
        // A session without namespaces of its own: how fast those are made is not measured here.
        "isolate=NO",
        "isolate_network=NO",
    ]);
    Process::start("vsftpd", &mut command)
}

/// The bare relay, and by static rules what pinholes do: translation of either data connection, by ports.
pub(super) fn bare_relay(lab: &Lab) -> anyhow::Result<Process> {
    lab.edge.sh(
        "ip rule add fwmark 0x21/0xff lookup 121; ip route add local default dev lo table 121",
    )?;
    lab.edge.nft(&format!(
        "table inet bare {{
            chain intercept {{
                type filter hook prerouting priority mangle; policy accept;
                ct mark and 0xff00 == 0x2100 accept
                meta l4proto tcp socket wildcard 0 socket transparent 1 meta mark set 0x21 accept
                iifname lan0 tcp dport 21 tproxy ip to :2121 meta mark set 0x21 accept
            }}
            chain translate_in {{
                type nat hook prerouting priority dstnat; policy accept;
                iifname wan0 ip saddr {SERVER} ip daddr {EDGE_OUTSIDE} tcp dport 10000-49151 dnat ip to {CLIENT}
            }}
            chain translate_out {{
                type nat hook postrouting priority srcnat; policy accept;
                iifname lan0 oifname wan0 ip daddr {SERVER} tcp dport 1024-65535 snat ip to {EDGE_OUTSIDE}
            }}
            chain admit {{
                type filter hook forward priority filter - 10; policy accept;
                ct mark and 0xff00 == 0x2100 accept
                iifname wan0 oifname lan0 ct state new tcp dport 10000-49151 ct mark set 0x2100 accept
                iifname lan0 oifname wan0 ct state new tcp dport 1024-65535 ct mark set 0x2100 accept
            }}
        }}"
    ))?;
    let mut command = lab.command(&lab.edge, &lab.places.relay);
    let process = Process::start("the bare relay", command.arg("2121"))?;
    process.wait_for("ready")?;
    Ok(process)
}

/// ProFTPD with mod_proxy for the one server, as a reverse proxy that clients dial.
pub(super) fn mod_proxy(lab: &Lab) -> anyhow::Result<Process> {
    accept_input(lab)?;
    let root = lab.dir.join("mod_proxy");
    let modules = root.join("modules");
    std::fs::create_dir_all(&modules)?;
    std::fs::create_dir(root.join("tables"))?;
    let core = lab.places.cache.join("proftpd-core");
    let of_proxy = lab
        .places
        .cache
        .join("proftpd-mod-proxy/usr/lib/proftpd/mod_proxy.so");
    std::os::unix::fs::symlink(of_proxy, modules.join("mod_proxy.so"))?;
    let user = user()?;
    let place = root.display();
    let conf = root.join("proftpd.conf");
    let text = format!(
        "ModulePath {place}/modules
LoadModule mod_proxy.c
ServerType standalone
DefaultServer on
ServerName bench
Port 21
DefaultAddress {EDGE_INSIDE}
SocketBindTight on
UseIPv6 off
UseReverseDNS off
User {user}
Group {user}
AuthPAM off
RequireValidShell off
MaxInstances none
WtmpLog off
TransferLog none
SystemLog none
PidFile {place}/pid
ScoreboardFile off
DelayEngine off
TimeoutLinger 1
PassivePorts 20000 49151
<IfModule mod_proxy.c>
  ProxyEngine on
  ProxyTables {place}/tables
  ProxyRole reverse
  ProxyReverseServers ftp://{SERVER}:21
  ProxySourceAddress {EDGE_OUTSIDE}
</IfModule>
"
    );
    std::fs::write(&conf, text)?;
    let mut command = lab.command(&lab.edge, core.join("with"));
    // mod_proxy takes libssl for loaded, which mod_tls does elsewhere.
    command.args(["env", "LD_PRELOAD=libssl.so.3"]);
    command
        .arg(core.join("usr/sbin/proftpd"))
        .args(["--nodaemon", "--config"])
        .arg(&conf);
    let process = Process::start("proftpd", &mut command)?;
    lab.listening(&lab.edge, &format!("{EDGE_INSIDE}:21"), Some(&process))?;
    Ok(process)
}

/// Debian's ftp-proxy for the one server, which clients dial.
pub(super) fn ftp_proxy(lab: &Lab) -> anyhow::Result<Process> {
    accept_input(lab)?;
    let root = lab.dir.join("ftp-proxy");
    std::fs::create_dir(&root)?;
    let unpacked = lab.places.cache.join("ftp-proxy");
    let conf = root.join("ftp-proxy.conf");
    let place = root.display();
    let text = format!(
        "[-Global-]
ServerType standalone
Listen {EDGE_INSIDE}
Port 21
DestinationAddress {SERVER}
DestinationPort 21
ForkLimit 100000
MaxClients 512
PidFile {place}/pid
LogDestination {place}/log
LogLevel ERR
"
    );
    std::fs::write(&conf, text)?;
    let mut command = lab.command(&lab.edge, unpacked.join("with"));
    command
        .arg(unpacked.join("usr/sbin/ftp-proxy"))
        .args(["-n", "-f"])
        .arg(&conf);
    let process = Process::start("ftp-proxy", &mut command)?;
    lab.listening(&lab.edge, &format!("{EDGE_INSIDE}:21"), Some(&process))?;
    Ok(process)
}

/// Lets everybody reach the edge itself, as relays need it.
fn accept_input(lab: &Lab) -> anyhow::Result<()> {
    lab.edge
        .sh("nft add rule inet filter input meta l4proto tcp accept")
        .map(drop)
}

/// Whom this program runs as.
fn user() -> anyhow::Result<String> {
    let output = std::process::Command::new("id")
        .arg("-un")
        .output()
        .context("id")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
