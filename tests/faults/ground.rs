//! What several faults need: transfers of every kind, and a look at what is open.

use std::process::{Child, Output, Stdio};

use crate::lab::{Family, Gate, Lab, Peer, Vsftpd, wait_until};

/// What curl is told for each kind of transfer, the URL's path last; `GOT` is where a download goes, `SENT`
/// what an upload sends.
pub(crate) const KINDS: [&str; 6] = [
    "-o GOT URL/original",
    "-T SENT URL/kept",
    "-o GOT URL/many/",
    "--ftp-port - -o GOT URL/original",
    "--ftp-port - -T SENT URL/kept",
    "--ftp-port - -o GOT URL/many/",
];

/// Tables of portcullis, and its rules of policy routing for IPv4 and IPv6.
pub(crate) fn installed(lab: &Lab) -> [usize; 3] {
    [
        ("nft list tables", "portcullis"),
        ("ip -4 rule", "lookup 121"),
        ("ip -6 rule", "lookup 121"),
    ]
    .map(|(command, word)| {
        let said = lab.edge.sh(command).stdout;
        String::from_utf8_lossy(&said).matches(word).count()
    })
}

/// Waits until the log has a word this often.
pub(crate) fn wait_for_log(gate: &Gate, word: &str, times: usize) {
    wait_until(&format!("the log to say '{word}'"), || {
        (gate.output().matches(word).count() >= times).then_some(())
    });
}

/// Waits until nothing is open; it closes by itself.
pub(crate) fn wait_until_closed(lab: &Lab) {
    wait_until("everything to close", || {
        (lab.open_elements() == 0).then_some(())
    });
}

/// A server with a file `small`.
pub(crate) fn server_with_a_file(lab: &Lab) -> Vsftpd {
    let server = lab.vsftpd();
    std::fs::write(server.file("small"), "content").unwrap();
    server
}

/// Fetches `small` in both modes and both families.
pub(crate) fn transfers_work(lab: &Lab) {
    for family in [Family::V4, Family::V6] {
        for flags in ["", "--ftp-port -"] {
            let url = format!("ftp://{}/small", lab.dialled(family));
            let got = lab.client(&format!("curl -sS -m 15 {flags} {url}"));
            assert_eq!(got, "content", "{family:?} {flags}");
        }
    }
}

/// A client of the lab that has logged in.
pub(crate) fn logged_in(lab: &Lab) -> Peer {
    let mut client = Peer::dial(&lab.client, &format!("{}:21", lab.dialled(Family::V4)));
    client.log_in();
    client
}

/// Starts curl on the client.
pub(crate) fn begin(lab: &Lab, arguments: &str) -> Child {
    let mut command = lab.client.command("sh");
    command.args(["-c", &format!("exec curl -sS -m 20 {arguments}")]);
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// The end of it, with what it said.
pub(crate) fn end(curl: Child) -> Output {
    curl.wait_with_output().unwrap()
}

/// A script of this folder, run by python on the edge.
pub(crate) fn python(lab: &Lab, script: &str, arguments: &str) -> Output {
    lab.edge.sh(&format!(
        "exec python3 {}/tests/faults/{script} {arguments}",
        env!("CARGO_MANIFEST_DIR")
    ))
}
