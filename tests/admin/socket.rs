//! The socket's file: whose it is, and what is done where one is there already.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;

use crate::ground::{Folder, Gate, Setup, said};

const SOCKET: &str = "{ socket: FOLDER/admin.sock }";

fn refused(folder: Folder, admin: &'static str) -> String {
    let setup = Setup {
        admin,
        ..Setup::default()
    };
    match Gate::within(folder, &setup) {
        Ok(_) => panic!("it was started"),
        Err(said) => said,
    }
}

#[test]
fn only_its_own_user_may_use_it_and_it_is_gone_with_the_program() {
    let mut gate = Gate::start();
    let about = fs::metadata(gate.socket()).unwrap();
    assert!(about.file_type().is_socket());
    assert_eq!(about.permissions().mode() & 0o777, 0o600);
    assert!(gate.stop().success());
    assert!(!gate.socket().exists());
    let left = fs::read_dir(gate.folder.path("")).unwrap();
    let left: Vec<_> = left.map(|entry| entry.unwrap().file_name()).collect();
    assert!(
        !left
            .iter()
            .any(|name| name.to_string_lossy().contains("sock"))
    );
}

#[test]
fn a_group_may_use_it() {
    // The group of the user that runs the test: an ordinary user may give files to no other.
    let folder = Folder::new();
    let own = fs::metadata(folder.path("")).unwrap();
    let (gid, root) = (own.gid(), own.uid() == 0);
    let wanted = if root { gid + 12_345 } else { gid };
    let admin = format!("{{ socket: FOLDER/admin.sock, group: '{wanted}' }}");
    let setup = Setup {
        admin: admin.leak(),
        ..Setup::default()
    };
    let gate = Gate::within(folder, &setup).unwrap_or_else(|said| panic!("{said}"));
    let about = fs::metadata(gate.socket()).unwrap();
    assert_eq!(about.permissions().mode() & 0o777, 0o660);
    assert_eq!(about.gid(), wanted);
}

#[test]
fn a_group_may_be_named() {
    let folder = Folder::new();
    let gid = fs::metadata(folder.path("")).unwrap().gid();
    let groups = fs::read_to_string("/etc/group").unwrap();
    let named = groups.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields[2] == gid.to_string()).then(|| fields[0].to_owned())
    });
    let name = named.unwrap_or_else(|| panic!("the group {gid} of this user has no name"));
    let admin = format!("{{ socket: FOLDER/admin.sock, group: '{name}' }}");
    let setup = Setup {
        admin: admin.leak(),
        ..Setup::default()
    };
    let gate = Gate::within(folder, &setup).unwrap_or_else(|said| panic!("{said}"));
    assert_eq!(fs::metadata(gate.socket()).unwrap().gid(), gid);
}

#[test]
fn an_unknown_group_says_so() {
    let said = refused(
        Folder::new(),
        "{ socket: FOLDER/admin.sock, group: no-such-group }",
    );
    assert!(said.contains("there is no group `no-such-group`"), "{said}");
}

#[test]
fn a_missing_folder_says_so() {
    let said = refused(Folder::new(), "{ socket: FOLDER/away/admin.sock }");
    assert!(said.contains("/away does not exist; create it"), "{said}");
}

#[test]
fn what_a_killed_program_left_is_replaced() {
    let folder = Gate::start().kill();
    assert!(folder.path("admin.sock").exists());
    let setup = Setup {
        admin: SOCKET,
        ..Setup::default()
    };
    let gate = Gate::within(folder, &setup).unwrap_or_else(|said| panic!("{said}"));
    gate.json("/api/status");
}

#[test]
fn one_that_is_served_is_left_alone() {
    let first = Gate::start();
    let admin = format!("{{ socket: {} }}", first.socket().display());
    let said = refused(Folder::new(), admin.leak());
    assert!(said.contains("another portcullis answers there"), "{said}");
    first.json("/api/status");
}

#[test]
fn a_plain_file_in_its_place_is_never_deleted() {
    let folder = Folder::new();
    let file = folder.write("admin.sock", "precious");
    let kept = folder.write("other", "");
    let admin = format!("{{ socket: {} }}", file.display());
    let said = refused(Folder::new(), admin.leak());
    assert!(said.contains("a file is there that is no socket"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "precious");
    drop(kept);
}

#[test]
fn the_program_stops_while_somebody_is_connected() {
    let mut gate = Gate::start();
    let held = UnixStream::connect(gate.socket()).unwrap();
    gate.json("/api/status");
    assert!(gate.stop().success(), "{}", gate.log());
    drop(held);
}

#[test]
fn nobody_there_is_said_with_what_to_do() {
    let mut gate = Gate::start();
    gate.stop();
    let output = gate.cli(&["sessions"]);
    assert!(!output.status.success());
    let said = said(&output);
    assert!(said.contains("nobody answers on"), "{said}");
    assert!(said.contains("is portcullis running"), "{said}");
}

#[test]
fn a_stop_right_behind_ready_is_a_clean_one() {
    for _ in 0..10 {
        let mut gate = Gate::start();
        let status = gate.stop();
        assert!(status.success(), "{status}:\n{}", gate.log());
        assert!(!gate.socket().exists());
    }
}
