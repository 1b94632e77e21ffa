//! Asks a running gate by its socket.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use thiserror::Error;
use tokio::runtime::{Builder, Runtime};
use tokio::time::timeout;

use super::serve;

/// How long an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of an answer.
const MAX_ANSWER: usize = 256 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("nobody answers on {}: {reason}; is portcullis running with `admin: {{ socket: {} }}`?", path.display(), path.display())]
    Absent {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The socket is not for this user.
    #[error("{} is not for you; run this as the user of portcullis, as root, or as a member of `admin: group`", path.display())]
    Forbidden {
        /// The socket.
        path: PathBuf,
    },
    /// The answer did not come, or is none.
    #[error("no good answer from {}: {reason}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What was wrong.
        reason: String,
    },
}

/// Asks one socket.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    runtime: Runtime,
}

impl Client {
    /// Asks the socket at `path`; nothing is asked so far.
    ///
    /// # Errors
    /// Gives what the system said.
    pub fn new(path: &Path) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        Ok(Self {
            path: path.to_owned(),
            runtime,
        })
    }

    /// Gives the answer to a question, such as `/api/sessions`.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn get(&self, route: &str) -> Result<Value, ClientError> {
        let (status, answer) = self.ask(Method::GET, route)?;
        match status {
            StatusCode::OK => Ok(answer),
            _ => {
                let said = answer.get("error").and_then(Value::as_str);
                Err(self.broken(said.unwrap_or(status.as_str())))
            }
        }
    }

    /// Has something done; gives whether it was, and the answer.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn post(&self, route: &str) -> Result<(bool, Value), ClientError> {
        let (status, answer) = self.ask(Method::POST, route)?;
        Ok((status.is_success(), answer))
    }

    fn ask(&self, method: Method, route: &str) -> Result<(StatusCode, Value), ClientError> {
        let asked = async { timeout(ANSWER_TIMEOUT, self.exchange(method, route)).await };
        let answered = self.runtime.block_on(asked);
        answered.unwrap_or_else(|_| Err(self.broken("it took longer than 30 s")))
    }

    async fn exchange(
        &self,
        method: Method,
        route: &str,
    ) -> Result<(StatusCode, Value), ClientError> {
        let stream = serve::connect(&self.path).await.map_err(|error| {
            let path = self.path.clone();
            match error.kind() == io::ErrorKind::PermissionDenied {
                true => ClientError::Forbidden { path },
                false => ClientError::Absent {
                    path,
                    reason: error.to_string(),
                },
            }
        })?;
        let broken = |error: hyper::Error| self.broken(&error.to_string());
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the admin socket broke");
            }
        });
        let request = Request::builder()
            .method(method)
            .uri(route)
            .header(HOST, "localhost")
            .body(Empty::<Bytes>::new())
            .map_err(|error| self.broken(&error.to_string()))?;
        let answer = sender.send_request(request).await.map_err(broken)?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), MAX_ANSWER).collect().await;
        let body = body.map_err(|error| self.broken(&error.to_string()))?;
        let read = serde_json::from_slice(&body.to_bytes());
        let answer = read.map_err(|error| self.broken(&error.to_string()))?;
        Ok((status, answer))
    }

    fn broken(&self, reason: &str) -> ClientError {
        ClientError::Broken {
            path: self.path.clone(),
            reason: reason.to_owned(),
        }
    }
}
