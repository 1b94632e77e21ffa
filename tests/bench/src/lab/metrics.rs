//! What portcullis counts itself, asked at `/metrics`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use anyhow::Context;

use super::Host;

/// Where the page is, on the edge.
const PAGE: &str = "127.0.0.1:8021";

/// All counts of one moment.
#[derive(Clone, Debug)]
pub struct Metrics {
    text: String,
}

impl Metrics {
    /// Asks for them.
    pub(super) fn ask(edge: &Host, token: &Path) -> anyhow::Result<Self> {
        let token = std::fs::read_to_string(token)?;
        let request = format!(
            "GET /metrics HTTP/1.1\r\nHost: {PAGE}\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
            token.trim()
        );
        let text = edge.within(|| -> std::io::Result<String> {
            let mut stream = TcpStream::connect(PAGE)?;
            stream.write_all(request.as_bytes())?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })??;
        Ok(Self { text })
    }

    /// A sample by its name with its labels.
    pub fn count(&self, name: &str) -> Option<f64> {
        let sample = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        self.text.lines().find_map(sample)
    }

    /// The bound under which this part of a histogram's values lie, as its buckets tell it; infinite
    /// beyond the last.
    ///
    /// # Errors
    /// Where there is no such histogram.
    pub fn quantile(&self, name: &str, part: f64) -> anyhow::Result<f64> {
        let begin = format!("{name}_bucket{{le=\"");
        let buckets = self.text.lines().filter_map(|line| {
            let (bound, count) = line.strip_prefix(&begin)?.split_once("\"} ")?;
            let bound = match bound {
                "+Inf" => f64::INFINITY,
                bound => bound.parse().ok()?,
            };
            Some((bound, count.split(' ').next()?.parse::<f64>().ok()?))
        });
        let buckets: Vec<(f64, f64)> = buckets.collect();
        let total = buckets
            .last()
            .with_context(|| format!("{name} is not counted"))?
            .1;
        let reached = buckets.iter().find(|(_, count)| *count >= total * part);
        Ok(reached.map_or(f64::INFINITY, |(bound, _)| *bound))
    }
}
