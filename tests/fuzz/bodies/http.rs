//! The admin interface over streams in memory, as the socket and as the page: no panic, no answer of 500 and above but
//! 503, and nothing of the record for who has not shown the token.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant, SystemTime};

use portcullis::admin::{Answers, ListenerView, MAX_RELOADS, ReloadRequest, Sources};
use portcullis::audit::{Audit, Entry, Session};
use portcullis::config::{AuditOutput, AuditSettings, Limits, StoreSettings};
use portcullis::inspect::ListenerRules;
use portcullis::monitor::{Monitor, RulesLoaded};
use portcullis::rules::Policy;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, watch};

use super::{folder, inspect};

/// The token of the page.
const TOKEN: &str = "fuzz-token-0123456789";
/// A word that every answer from the record or about listeners holds.
const MARK: &str = "for-those-with-the-token";
/// Follows every input, so that what comes before is not taken for a request that is still on its way.
const LAST: &[u8] =
    b"\r\n\r\nGET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Sends the bytes behind the first, which says by which way: `s` is the socket, all else the page.
pub fn run(data: &[u8]) {
    static GATE: OnceLock<Mutex<Gate>> = OnceLock::new();
    let gate = GATE.get_or_init(|| Mutex::new(Gate::open()));
    let gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
    let Some((&way, request)) = data.split_first() else {
        return;
    };
    let written = Arc::new(Mutex::new(Vec::new()));
    let stream = Wire {
        incoming: [request, LAST].concat(),
        taken: 0,
        written: Arc::clone(&written),
    };
    let on_page = way != b's';
    gate.runtime.block_on(async {
        match on_page {
            true => gate
                .answers
                .on_page(stream, &gate.token_file)
                .await
                .unwrap(),
            false => gate.answers.on_socket(stream).await,
        }
    });
    let answers = written.lock().unwrap_or_else(PoisonError::into_inner);
    for status in statuses(&answers) {
        assert!(
            status < 500 || status == 503,
            "answered {status}: {}",
            answers.escape_ascii()
        );
    }
    // JSON may write the token's characters by their numbers.
    let may_know = [TOKEN, "\\u"].iter().any(|text| contains(request, text));
    assert!(
        !on_page || may_know || !contains(&answers, MARK),
        "told without the token"
    );
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes
        .windows(text.len())
        .any(|window| window == text.as_bytes())
}

/// The status of each answer, by the lengths that they give.
fn statuses(mut answers: &[u8]) -> Vec<u16> {
    let mut found = Vec::new();
    while answers.starts_with(b"HTTP/1.") {
        let Some(end) = answers.windows(4).position(|end| end == b"\r\n\r\n") else {
            break;
        };
        let (head, rest) = answers.split_at(end + 4);
        let head = String::from_utf8_lossy(head).to_ascii_lowercase();
        found.push(head.get(9..12).and_then(|code| code.parse().ok()).unwrap());
        let length = head.split("\r\ncontent-length: ").nth(1);
        let length = length
            .and_then(|text| text.lines().next()?.parse().ok())
            .unwrap_or(0);
        // The answer to HEAD gives a length and has no body.
        let body = if rest.starts_with(b"HTTP/1.") {
            0
        } else {
            length
        };
        answers = rest.get(body..).unwrap_or_default();
    }
    found
}

/// A gate that has a record, without sockets.
struct Gate {
    answers: Answers,
    token_file: PathBuf,
    runtime: Runtime,
    /// Is read by nobody; the answers know when it is gone.
    _loaded: watch::Sender<RulesLoaded>,
    _rules: watch::Sender<ListenerRules>,
}

impl Gate {
    fn open() -> Self {
        let folder = folder("http");
        let token_file = folder.join("token");
        std::fs::write(&token_file, TOKEN).unwrap();
        let mode = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&token_file, mode).unwrap();
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let store = StoreSettings::at(folder.join("audit.db"));
        let audit = Audit::open(&AuditSettings {
            store: Some(store.clone()),
            ..AuditSettings::to(AuditOutput::File(folder.join("eve.json")))
        });
        let audit = audit.unwrap();
        runtime.block_on(fill(&audit));
        let (loaded, rules_loaded) = watch::channel(RulesLoaded {
            at: SystemTime::UNIX_EPOCH,
            ok: true,
            text: "read at the start".to_owned(),
        });
        let policy = "rules: [{ id: all, allow: true }]";
        let (rules, view) = watch::channel(ListenerRules {
            policy: Arc::new(Policy::parse("open.yaml", policy).unwrap()),
            hosts: Arc::default(),
        });
        let (reloads, requests) = mpsc::channel(MAX_RELOADS);
        runtime.spawn(reload(requests));
        let answers = Answers::new(Sources {
            monitor: Arc::new(Monitor::new(SystemTime::UNIX_EPOCH, &Limits::default())),
            audit,
            store: Some(store),
            listeners: vec![ListenerView {
                name: MARK.to_owned(),
                kind: "published",
                address: "127.0.0.1:21".to_owned(),
                rules: view,
            }],
            rules_loaded,
            reloads,
        });
        Self {
            answers,
            token_file,
            runtime,
            _loaded: loaded,
            _rules: rules,
        }
    }
}

/// Answers every second request for a reload with a refusal.
async fn reload(mut requests: mpsc::Receiver<ReloadRequest>) {
    let mut ok = false;
    while let Some(request) = requests.recv().await {
        ok = !ok;
        let text = "as it was asked for".to_owned();
        let _ = request.send(RulesLoaded {
            at: SystemTime::UNIX_EPOCH,
            ok,
            text,
        });
    }
}

/// Puts one session on the record.
async fn fill(audit: &Audit) {
    let address = |text: &str| text.parse().unwrap();
    let session = Arc::new(Session {
        id: 1,
        flow_id: 7,
        client: address("10.0.0.5:40000"),
        dialled: address("192.0.2.20:21"),
        server: address("192.0.2.20:21"),
        seen: None,
        listener: Arc::from(MARK),
    });
    let records = inspect::recorded();
    let many = u64::try_from(records.len()).unwrap();
    for record in records {
        let timestamp = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let entry = Entry {
            timestamp,
            session: Arc::clone(&session),
            record,
        };
        audit.accept(entry).await.unwrap();
    }
    let begun = Instant::now();
    while audit.written() < many && begun.elapsed() < Duration::from_secs(60) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A connection whose peer says all at once, then nothing more, and takes every answer.
struct Wire {
    incoming: Vec<u8>,
    taken: usize,
    written: Arc<Mutex<Vec<u8>>>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let rest = self.incoming.get(self.taken..).unwrap_or_default();
        let length = rest.len().min(buffer.remaining());
        buffer.put_slice(rest.get(..length).unwrap_or_default());
        self.taken += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        written.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
