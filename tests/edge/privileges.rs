//! What the running program may still do, as the kernel tells it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::lab::{Lab, wait_until};

crate::claims![
    only_the_threads_that_talk_to_the_firewall_may_change_it,
    without_kernel_work_no_thread_may_do_anything,
    the_keeper_may_change_the_network_and_nothing_else,
    a_killed_keeper_is_told_and_transfers_go_on,
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

fn child_of(pid: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    let [child] = children.split_whitespace().collect::<Vec<_>>()[..] else {
        panic!("not one child: {children:?}");
    };
    child.parse().unwrap()
}

fn only_the_threads_that_talk_to_the_firewall_may_change_it() {
    let lab = Lab::behind_nat();
    let _server = lab.vsftpd();
    let gate = lab.gate();
    lab.client("curl -sS ftp://198.51.100.20/");
    let threads = threads(gate.pid());
    for name in ["nftables", "conntrack", "conntrack-ask"] {
        assert_eq!(threads.get(name), Some(&NET_ADMIN), "{name}: {threads:?}");
    }
    assert_eq!(threads.get("portcullis"), Some(&NET_RAW), "{threads:?}");
    assert_eq!(threads.get("audit"), Some(&0), "{threads:?}");
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
    let keeper = child_of(gate.pid());
    for (name, held) in threads(keeper) {
        assert_eq!(held, NET_ADMIN, "{name}");
    }
    assert!(gate.terminate().success());
    wait_until("the keeper to be gone", || {
        (!Path::new(&format!("/proc/{keeper}")).exists()).then_some(())
    });
}

fn a_killed_keeper_is_told_and_transfers_go_on() {
    let lab = Lab::behind_nat();
    let server = lab.vsftpd();
    fs::write(server.file("small"), "small").unwrap();
    let gate = lab.gate();
    let keeper = child_of(gate.pid());
    lab.edge.sh(&format!("kill -9 {keeper}"));
    assert_eq!(lab.client("curl -sS ftp://198.51.100.20/small"), "small");
    wait_until("the log to say so", || {
        let said = gate.output();
        said.contains("restart portcullis").then_some(())
    });
}
