//! The counts: right after real sessions, and named as Prometheus expects.

use std::net::TcpStream;

use crate::ground::{Gate, Setup, rest, wait_for};
use crate::openmetrics::Scrape;

fn scrape(gate: &Gate) -> Scrape {
    let answer = gate.get("/metrics");
    assert_eq!(answer.status, 200);
    Scrape::read(&answer.body)
}

#[test]
fn a_scrape_after_real_sessions_has_the_right_numbers() {
    let gate = Gate::start();
    let before = scrape(&gate);
    assert_eq!(before.sum("portcullis_sessions_started_total"), 0.0);

    let mut anna = gate.login("anna");
    for path in ["/a", "/b", "/c"] {
        anna.fetch(path);
    }
    anna.ask("DELE /a", "550");
    anna.ask("DELE /b", "550");
    // Announced, never used, replaced, and used at last.
    anna.passive();
    anna.fetch("/d");
    anna.quit();
    let mut bela = gate.login("bela");
    let data = bela.begin("/slow");
    gate.json_when("/api/pinholes", |all| all["pinholes"][0]["state"] == "used");
    gate.json_when("/api/sessions", |all| {
        all["sessions"].as_array().unwrap().len() == 1
    });

    let during = scrape(&gate);
    for (name, labels, value) in [
        ("sessions", &[][..], 1.0),
        ("sessions_started_total", &[("listener", "pub")], 2.0),
        ("sessions_limit", &[], 10_000.0),
        ("transfers_running", &[], 1.0),
        ("pinholes", &[], 1.0),
        ("pinholes_limit", &[], 10_000.0),
        ("pinhole_requests", &[], 0.0),
        ("pinholes_opened_total", &[], 6.0),
        ("pinholes_ended_total", &[("outcome", "used")], 5.0),
        ("pinholes_ended_total", &[("outcome", "replaced")], 1.0),
        ("pinholes_ended_total", &[("outcome", "expired")], 0.0),
        (
            "transfers_total",
            &[("mode", "passive"), ("outcome", "completed")],
            4.0,
        ),
        (
            "transfers_total",
            &[("mode", "active"), ("outcome", "completed")],
            0.0,
        ),
        ("refusals_total", &[("reason", "policy")], 2.0),
        ("record_failing", &[], 0.0),
        ("record_queue_limit", &[], 4096.0),
        ("record_events_unrecorded_total", &[], 0.0),
        ("rules_last_load_successful", &[], 1.0),
        ("admin_connections", &[("side", "socket")], 1.0),
        ("admin_connections", &[("side", "page")], 0.0),
        ("build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1.0),
    ] {
        let found = during.value(&format!("portcullis_{name}"), labels);
        assert_eq!(found, value, "{name} {labels:?}");
    }
    // Headers of packets come on top where the kernel counts; the relay tells what it carried.
    assert!(during.sum("portcullis_data_bytes_total") >= 4.0 * 22.0);
    let closed = during.samples_of("portcullis_sessions_ended_total");
    assert_eq!(closed.iter().map(|sample| sample.value).sum::<f64>(), 1.0);
    let decided = during.samples_of("portcullis_decisions_total");
    let denied: Vec<_> = decided
        .iter()
        .filter(|one| one.labels["decision"] == "deny")
        .collect();
    assert_eq!(denied.len(), 1);
    assert_eq!(
        (denied[0].labels["rule"].as_str(), denied[0].value),
        ("no-removals", 2.0)
    );
    assert!(denied[0].labels["file"].ends_with("rules.yaml"));
    assert!(during.value("portcullis_inspection_duration_seconds_count", &[]) > 20.0);
    // All data is relayed here: the kernel is asked for nothing.
    assert_eq!(
        during.value("portcullis_pinhole_open_duration_seconds_count", &[]),
        0.0
    );

    gate.server.let_go();
    bela.end(data);
    bela.quit();
    gate.json_when("/api/sessions", |all| {
        all["sessions"].as_array().unwrap().is_empty()
    });
    let after = scrape(&gate);
    assert_eq!(after.value("portcullis_sessions", &[]), 0.0);
    assert_eq!(after.value("portcullis_transfers_running", &[]), 0.0);
    assert_eq!(after.value("portcullis_pinholes", &[]), 0.0);
    let written = "portcullis_record_events_written_total";
    // The last events are written a moment later.
    for attempt in 0.. {
        if scrape(&gate).value(written, &[]) > during.value(written, &[]) {
            break;
        }
        assert!(attempt < 1000, "nothing more is written");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn the_hits_of_the_counts_are_those_of_the_store() {
    let gate = Gate::start();
    let mut anna = gate.login("anna");
    anna.fetch("/a");
    anna.ask("DELE /a", "550");
    anna.quit();
    gate.json_when("/api/record?kind=session-end", |found| {
        !found["events"].as_array().unwrap().is_empty()
    });
    let (hits, counts) = (gate.json("/api/hits"), scrape(&gate));
    for sample in counts.samples_of("portcullis_decisions_total") {
        let rules = hits["rules"].as_array().unwrap();
        let own = rules
            .iter()
            .find(|rule| rule["rule"] == sample.labels["rule"].as_str())
            .unwrap();
        assert_eq!(own["hits"].as_f64().unwrap(), sample.value, "{own}");
        assert_eq!(own["file"], sample.labels["file"].as_str());
    }
}

#[test]
fn a_server_that_is_away_is_a_refusal() {
    let gate = Gate::with(&Setup {
        server: false,
        ..Setup::default()
    });
    let away = [("reason", "connect_failed")];
    let refused = || scrape(&gate).value("portcullis_refusals_total", &away);
    assert_eq!(refused(), 0.0);
    let told = rest(TcpStream::connect(gate.ftp()).unwrap());
    assert!(told.starts_with("421"), "{told}");
    wait_for("the count", || (refused() == 1.0).then_some(()));
    assert_eq!(
        scrape(&gate).value("portcullis_sessions_ended_total", &away),
        1.0
    );
}

#[test]
fn names_are_what_prometheus_expects() {
    let gate = Gate::start();
    gate.login("anna").quit();
    let scrape = scrape(&gate);
    for (name, family) in &scrape.families {
        let help = family
            .help
            .as_deref()
            .unwrap_or_else(|| panic!("{name} has no help"));
        assert!(help.len() > 10 && !help.ends_with(".."), "{name}: {help}");
        assert!(!family.kind.is_empty(), "{name} has no type");
        let own = name.starts_with("portcullis_") || name.starts_with("process_");
        assert!(own, "{name} is nobody's");
        for scaled in ["_ms", "_milliseconds", "_kb", "_mb", "_percent", "_minutes"] {
            assert!(!name.ends_with(scaled), "{name} has no base unit");
        }
        let timed = family.kind == "histogram";
        assert!(
            !timed || family.unit.as_deref() == Some("seconds"),
            "{name} has no unit"
        );
    }
    for sample in &scrape.samples {
        for label in sample.labels.keys() {
            // Who and what come from outside are not labels: they have no bound.
            let bounded = "decision file le listener mode outcome reason rule side version";
            assert!(
                bounded.split(' ').any(|own| own == label),
                "{}{{{label}}}",
                sample.name
            );
        }
    }
    for process in [
        "cpu_seconds_total",
        "resident_memory_bytes",
        "open_fds",
        "max_fds",
        "start_time_seconds",
    ] {
        assert!(
            scrape.value(&format!("process_{process}"), &[]) > 0.0,
            "{process}"
        );
    }
    let open = scrape.value("process_open_fds", &[]);
    assert!(open < scrape.value("process_max_fds", &[]));
}
