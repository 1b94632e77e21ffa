//! What is given up stays given up: a process that gives up as the program does tries what it may not.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]

use std::fs;
use std::io::ErrorKind;
use std::net::TcpListener;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis::sandbox::{
    Capabilities, Paths, drop_bounding, keep_only, restrict_calls, restrict_files,
};

const FOLDER: &str = "PORTCULLIS_TEST_SANDBOX";

/// Runs one of the ignored tests below in a process of its own, with a folder that it may write.
fn in_a_process(name: &str) {
    let folder = std::env::temp_dir().join(format!("portcullis-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--ignored", "--nocapture"])
        .env(FOLDER, &folder)
        .output()
        .unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{error}");
    assert!(said.contains("1 passed"), "{said}{error}");
}

/// Gives up what the program does; gives the folder that may be written. `None` where this is no process
/// of [`in_a_process`].
fn confined() -> Option<PathBuf> {
    let folder = PathBuf::from(std::env::var_os(FOLDER)?);
    drop_bounding(Capabilities::default());
    keep_only(Capabilities::default()).unwrap();
    let paths = Paths {
        write: vec![folder.clone()],
        ..Paths::default()
    };
    restrict_files(&paths).unwrap();
    restrict_calls().unwrap();
    Some(folder)
}

fn denied<T>(what: &str, result: std::io::Result<T>) {
    match result {
        Ok(_) => panic!("{what} was done"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{what}: {error}"),
    }
}

#[test]
fn nothing_but_its_own_files_and_sockets_is_in_reach() {
    in_a_process("tries_what_it_may_not");
}

#[test]
#[ignore = "a part of nothing_but_its_own_files_and_sockets_is_in_reach, which runs it"]
fn tries_what_it_may_not() {
    let parent = rustix::process::getppid().unwrap();
    let Some(folder) = confined() else { return };

    denied("running a program", Command::new("/bin/true").status());
    denied("reading another file", fs::read("/etc/passwd"));
    denied("listing a folder", fs::read_dir("/var"));
    denied(
        "making a file elsewhere",
        fs::write("/tmp/portcullis-elsewhere", "x"),
    );
    denied("making a folder", fs::create_dir(folder.join("sub")));
    denied(
        "making a link",
        std::os::unix::fs::symlink("/etc/passwd", folder.join("link")),
    );
    denied(
        "signalling another",
        rustix::process::test_kill_process(parent).map_err(Into::into),
    );
    denied("a port under 1024", TcpListener::bind("127.0.0.1:919"));
    denied(
        "changing the root",
        rustix::process::chroot("/").map_err(Into::into),
    );
    denied(
        "another name of the machine",
        rustix::system::sethostname(b"portcullis").map_err(Into::into),
    );
    let inherited = std::thread::spawn(|| fs::read("/etc/passwd"))
        .join()
        .unwrap();
    denied("reading it in a thread", inherited);
}

#[test]
fn what_serving_takes_stays() {
    in_a_process("does_what_it_must");
}

#[test]
#[ignore = "a part of what_serving_takes_stays, which runs it"]
fn does_what_it_must() {
    let Some(folder) = confined() else { return };

    let (file, moved) = (folder.join("eve.json"), folder.join("eve.json.1"));
    fs::write(&file, "{}").unwrap();
    fs::rename(&file, &moved).unwrap();
    assert_eq!(fs::read_to_string(&moved).unwrap(), "{}");
    fs::remove_file(&moved).unwrap();
    let database = rusqlite::Connection::open(folder.join("audit.db")).unwrap();
    let mode: String = database
        .pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))
        .unwrap();
    assert_eq!(mode, "wal");
    database
        .execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1); VACUUM;")
        .unwrap();
    drop(database);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let asked = std::thread::spawn(move || std::net::TcpStream::connect(address));
    listener.accept().unwrap();
    asked.join().unwrap().unwrap();
    UnixDatagram::bind(folder.join("socket")).unwrap();
    let resolved = std::net::ToSocketAddrs::to_socket_addrs("localhost:80").unwrap();
    assert!(resolved.count() > 0);
    assert!(Path::new("/proc/self/status").exists());
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::sleep(std::time::Duration::from_millis(1)).await });
}
