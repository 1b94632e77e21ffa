//! What the running program may still do, as the kernel tells it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use crate::lab::{Lab, same, wait_until};

crate::claims![
    no_thread_that_reads_peers_may_change_the_firewall,
    without_kernel_work_no_thread_may_do_anything,
    the_keeper_may_change_the_network_and_nothing_else,
    a_killed_keeper_ends_the_gate_and_no_transfer_that_runs,
];

/// CAP_NET_ADMIN and CAP_NET_RAW, as bits of `CapEff` (linux/capability.h).
const NET_ADMIN: u64 = 1 << 12;
const NET_RAW: u64 = 1 << 13;

/// One value of proc_pid_status(5).
fn status(task: &Path, key: &str) -> String {
    let status = fs::read_to_string(task.join("status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    line.unwrap().trim_start_matches(':').trim().to_owned()
}

/// The capabilities of each thread of a process, by its name.
fn threads(pid: u32) -> BTreeMap<String, u64> {
    let mut threads = BTreeMap::new();
    for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
        let task = task.unwrap().path();
        assert_eq!(status(&task, "NoNewPrivs"), "1");
        let name = fs::read_to_string(task.join("comm")).unwrap();
        for key in ["CapEff", "CapPrm"] {
            let held = u64::from_str_radix(&status(&task, key), 16).unwrap();
            *threads.entry(name.trim().to_owned()).or_default() |= held;
        }
    }
    threads
}

fn no_thread_that_reads_peers_may_change_the_firewall() {
    let lab = Lab::behind_nat();
    let _server = lab.vsftpd();
    let gate = lab.gate();
    lab.client("curl -sS ftp://198.51.100.20/");
    let threads = threads(gate.pid());
    assert_eq!(threads.get("portcullis"), Some(&NET_RAW), "{threads:?}");
    for name in ["conntrack", "audit"] {
        assert_eq!(threads.get(name), Some(&0), "{name}: {threads:?}");
    }
    for (name, held) in &threads {
        assert_eq!(held & !NET_RAW, 0, "{name}");
    }
    let seccomp = status(Path::new(&format!("/proc/{}", gate.pid())), "Seccomp");
    assert_eq!(seccomp, "2", "a filter of system calls is in force");
}

fn without_kernel_work_no_thread_may_do_anything() {
    let lab = Lab::published();
    let config = "listeners: [{ name: pub, published: { listen: 198.51.100.1, server: 10.70.0.2 }, server-sees: edge, data: relay, rules: policy.yaml }]\naudit: { output: AUDIT }\n";
    let gate = lab.portcullis(config, "rules: [{ id: all, allow: true }]\n");
    for (name, held) in threads(gate.pid()) {
        assert_eq!(held, 0, "{name}");
    }
    let children = format!("/proc/{0}/task/{0}/children", gate.pid());
    assert_eq!(fs::read_to_string(children).unwrap(), "");
}

fn the_keeper_may_change_the_network_and_nothing_else() {
    let lab = Lab::behind_nat();
    let gate = lab.gate();
    let keeper = gate.keeper();
    let threads = threads(keeper);
    for name in ["nftables", "conntrack-ask"] {
        assert!(threads.contains_key(name), "{threads:?}");
    }
    for (name, held) in threads {
        assert_eq!(held, NET_ADMIN, "{name}");
    }
    assert!(gate.terminate().success());
    wait_until("the keeper to be gone", || {
        (!Path::new(&format!("/proc/{keeper}")).exists()).then_some(())
    });
}

fn a_killed_keeper_ends_the_gate_and_no_transfer_that_runs() {
    let lab = Lab::behind_nat();
    let server = lab.vsftpd();
    let original = lab.random_file("original", 6_000_000);
    fs::copy(&original, server.file("large")).unwrap();
    let gate = lab.gate();
    let got = lab.dir.join("got");
    let mut curl = lab.client.command("curl");
    curl.args(["-s", "-m", "20", "--limit-rate", "2M"]);
    curl.arg("ftp://198.51.100.20/large").arg("-o").arg(&got);
    let mut transfer = curl.stdout(Stdio::null()).spawn().unwrap();
    wait_until("the transfer to move", || {
        got.metadata().ok().filter(|file| file.len() > 0)
    });
    let keeper = gate.keeper();
    lab.edge.sh(&format!("kill -9 {keeper}"));
    let ended = gate.end("portcullis stops, to be started anew");
    assert_eq!(ended.code(), Some(1), "a service manager starts it anew");
    transfer.wait().unwrap();
    assert!(same(&original, &got), "the transfer finishes");
    assert!(lab.gate().terminate().success());
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}
