//! Interfaces and addresses that go and come back.

use std::time::Duration;

use crate::ground::{begin, end, logged_in, server_with_a_file, transfers_work, wait_until_closed};
use crate::lab::{Lab, REFUSAL, same, wait_until};

crate::claims![
    an_outside_interface_that_goes_down_stalls_and_goes_on,
    an_outside_interface_made_anew_needs_no_restart,
    an_inside_interface_made_anew_is_taken_again,
    a_published_address_may_go_and_come_back,
];

fn sh(lab: &Lab, command: &str) {
    let done = lab.edge.sh(command);
    assert!(done.status.success(), "{command}: {done:?}");
}

fn an_outside_interface_that_goes_down_stalls_and_goes_on() {
    let lab = Lab::behind_nat();
    let server = server_with_a_file(&lab);
    let original = lab.random_file("original", 4_000_000);
    std::fs::copy(&original, server.file("original")).unwrap();
    let gate = lab.gate();
    let got = lab.dir.join("got");
    let transfer = begin(
        &lab,
        &format!(
            "--limit-rate 2M -o {} ftp://198.51.100.20/original",
            got.display()
        ),
    );
    gate.event("pinhole-used");
    let mut client = logged_in(&lab);

    sh(&lab, "ip link set wan0 down");
    let refused = lab
        .client
        .sh("curl -sSv -m 15 ftp://198.51.100.20/small 2>&1");
    let refused = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(
        refused.contains("421") && refused.contains("cannot be reached"),
        "{refused}"
    );
    sh(
        &lab,
        "ip link set wan0 up; ip -6 addr replace 2001:db8:51::1/64 dev wan0 nodad",
    );

    client.ask("NOOP", "200");
    transfers_work(&lab);
    let ended = end(transfer);
    assert!(ended.status.success(), "{ended:?}");
    assert!(same(&original, &got));
}

/// Makes one of the edge's cables again, as `tests/lab/topology` made it.
fn recable(lab: &Lab, name: &str, pid: &str, edge: [&str; 2], peer: [&str; 2]) {
    sh(
        lab,
        &format!(
            "ip link add {name} type veth peer name eth0 netns {pid} && ip addr add {}/24 dev {name} && \
             ip addr add {}/64 dev {name} nodad && ip link set {name} up && nsenter --net=/proc/{pid}/ns/net sh -c \
             'ip addr add {}/24 dev eth0 && ip addr add {}/64 dev eth0 nodad && ip link set eth0 up'",
            edge[0], edge[1], peer[0], peer[1]
        ),
    );
}

fn an_outside_interface_made_anew_needs_no_restart() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    let gate = lab.gate_with("limits: { pinhole-lifetime: 3s }\n");
    transfers_work(&lab);
    let mut client = logged_in(&lab);
    client.ask("EPSV", "229");

    sh(&lab, "ip link del wan0");
    wait_until_closed(&lab);
    recable(
        &lab,
        "wan0",
        &lab.server.pid(),
        ["198.51.100.1", "2001:db8:51::1"],
        ["198.51.100.20", "2001:db8:51::20"],
    );

    transfers_work(&lab);
    client.ask("NOOP", "200");
    assert!(gate.terminate().success());
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}

fn an_inside_interface_made_anew_is_taken_again() {
    let lab = Lab::behind_nat();
    let _server = server_with_a_file(&lab);
    sh(&lab, "ip link set lan0 down");
    let gate = lab.gate();
    assert!(
        lab.client
            .connect_within("198.51.100.20:21", REFUSAL)
            .is_err(),
        "nothing is reached"
    );
    for _ in 0..2 {
        sh(&lab, "ip link del lan0");
        std::thread::sleep(Duration::from_millis(200));
        let client = lab.client.pid();
        let (edge, peer) = (["10.60.1.1", "fd60:1::1"], ["10.60.1.2", "fd60:1::2"]);
        recable(&lab, "lan0", &client, edge, peer);
        lab.client(
            "ip route replace default via 10.60.1.1; ip -6 route replace default via fd60:1::1",
        );
        transfers_work(&lab);
    }
    assert!(gate.terminate().success());
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}

fn a_published_address_may_go_and_come_back() {
    let lab = Lab::published();
    let _server = server_with_a_file(&lab);
    let away = "ip addr del 198.51.100.1/24 dev wan0; ip -6 addr del 2001:db8:51::1/64 dev wan0";
    let back =
        "ip addr add 198.51.100.1/24 dev wan0; ip -6 addr add 2001:db8:51::1/64 dev wan0 nodad";
    sh(&lab, away);
    let gate = lab.gate();
    sh(&lab, back);
    transfers_work(&lab);
    let mut client = logged_in(&lab);
    client.ask("EPSV", "229");

    sh(&lab, away);
    assert!(
        lab.client
            .connect_within("198.51.100.1:21", REFUSAL)
            .is_err()
    );
    sh(&lab, back);

    wait_until("the listener to be reached", || {
        lab.client.connect_within("198.51.100.1:21", REFUSAL).ok()
    });
    transfers_work(&lab);
    client.ask("NOOP", "200");
    assert!(gate.terminate().success());
    assert_eq!(lab.kernel_state(), Vec::<String>::new());
}
