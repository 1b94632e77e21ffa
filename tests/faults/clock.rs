//! The clock of the day is set by an hour, forth and back, while sessions run.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::process::Command;
use std::time::Duration;

use crate::ground::{begin, end, logged_in, server_with_a_file, wait_until_closed};
use crate::lab::{Lab, same, succeed};

crate::claims![sessions_pinholes_and_durations_do_not_follow_the_clock_of_the_day,];

const HOUR: i64 = 3600;

const CONFIG: &str = "listeners:
  - name: lan
    transparent: { interfaces: [lan0] }
    server-sees: edge
    rules: policy.yaml
audit: { output: AUDIT }
limits: { pinhole-lifetime: 4s, idle-timeout: 1min }
";

fn sessions_pinholes_and_durations_do_not_follow_the_clock_of_the_day() {
    let lab = Lab::behind_nat();
    let server = server_with_a_file(&lab);
    let original = lab.random_file("original", 3_000_000);
    fs::copy(&original, server.file("original")).unwrap();
    let library = lab.dir.join("clock.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/clock.c");
    let mut compile = Command::new("cc");
    succeed(
        compile
            .args(["-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source),
    );
    let offset = lab.dir.join("offset");
    fs::write(&offset, 0_i64.to_ne_bytes()).unwrap();
    let set = |seconds: i64| {
        let mut file = fs::OpenOptions::new().write(true).open(&offset).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(&seconds.to_ne_bytes()).unwrap();
    };
    // SYST is denied in a time that begins half an hour from here.
    let hour = |minutes: i64| {
        let now = jiff::Timestamp::now().as_second() / 60 + minutes;
        format!("{:02}:{:02}", now / 60 % 24, now % 60)
    };
    let policy = format!(
        "rules:\n  - {{ id: later, deny: 502 Not at this hour, command: SYST, when: [ {{ from: \"{}\", to: \
         \"{}\" }} ] }}\n  - {{ id: all, allow: true }}\n",
        hour(30),
        hour(90)
    );
    let wrapped = [
        "env".to_owned(),
        format!("LD_PRELOAD={}", library.display()),
        format!("CLOCK_OFFSET={}", offset.display()),
    ];
    let wrapped = wrapped.each_ref().map(String::as_str);
    let gate = lab.portcullis_under(&wrapped, CONFIG, &policy);
    let mut client = logged_in(&lab);

    for (step, answer) in [(HOUR, "502 Not at this hour"), (-HOUR, "215")] {
        set(0);
        client.ask("SYST", "215");
        let before = gate.events("transfer").len();
        let got = lab.dir.join("got");
        let transfer = begin(
            &lab,
            &format!(
                "--limit-rate 2M -o {} ftp://198.51.100.20/original",
                got.display()
            ),
        );
        crate::lab::wait_until("the transfer to move", || {
            got.metadata().ok().filter(|file| file.len() > 0)
        });
        client.ask("EPSV", "229");
        let open = lab.open_elements();
        assert!(open > 0);

        set(step);

        // The rules go by it, and nothing else.
        client.ask("SYST", answer);
        std::thread::sleep(Duration::from_secs(1));
        assert!(lab.open_elements() > 0, "the pinhole lasts as long as ever");
        let ended = end(transfer);
        assert!(ended.status.success(), "{ended:?}");
        assert!(same(&original, &got));
        let record = crate::lab::wait_until("the record of the transfer", || {
            gate.events("transfer").into_iter().nth(before)
        });
        let lasted = record["portcullis"]["duration_ms"].as_u64().unwrap();
        assert!(lasted < 60_000, "{record}");
        // And no longer.
        wait_until_closed(&lab);
        client.ask("NOOP", "200");
        fs::remove_file(got).unwrap();
    }

    let stamp = |record: &serde_json::Value| {
        let text = record["timestamp"].as_str().unwrap().to_owned();
        text[11..13].parse::<i64>().unwrap()
    };
    let hours: std::collections::BTreeSet<i64> = gate.records().iter().map(stamp).collect();
    assert!(
        hours.len() >= 3,
        "the record tells the time as it was set: {hours:?}"
    );
    client.ask("QUIT", "221");
    drop(client);
    assert!(gate.terminate().success());
}
