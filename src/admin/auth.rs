//! Who may see the page: the token, the sessions of browsers that have shown it, and how often it may be guessed.

use std::collections::VecDeque;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::rand::{GetRandomFlags, getrandom};
use subtle::ConstantTimeEq;

use super::AdminError;

/// Characters that a token has at least.
pub const MIN_TOKEN: usize = 16;

/// Bytes of a token's file that are read.
const MAX_TOKEN: u64 = 1024;

/// Random bytes of a token or a browser's session, written as hexadecimal.
const RANDOM: usize = 32;

/// Wrong tokens in [`GUESS_WINDOW`]; the next attempts are refused unseen until the first is that old.
const MAX_GUESSES: usize = 10;

/// See [`MAX_GUESSES`].
const GUESS_WINDOW: Duration = Duration::from_secs(60);

/// Browsers that are signed in at one time; above it the one that signed in first is signed out.
const MAX_BROWSERS: usize = 64;

/// How long a browser stays signed in.
const BROWSER_LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// Mode bits of a token's file that let others read it.
const OTHERS: u32 = 0o077;

/// Holds the token, and who has shown it.
#[derive(Debug)]
pub(super) struct Keeper {
    token: Vec<u8>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    guesses: VecDeque<Instant>,
    browsers: VecDeque<(Vec<u8>, Instant)>,
}

/// What came of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    Right,
    Wrong,
    /// Too many were wrong; when the next is looked at.
    Wait(Duration),
}

impl Keeper {
    /// Reads the token's file, or makes it with a random token.
    pub(super) fn open(path: &Path) -> Result<Self, AdminError> {
        let failed = |reason: String| AdminError::Token {
            path: path.to_owned(),
            reason,
        };
        let token = match OpenOptions::new().read(true).open(path) {
            Ok(file) => {
                let about = file.metadata().map_err(|error| failed(error.to_string()))?;
                if about.permissions().mode() & OTHERS != 0 {
                    return Err(failed(
                        "others than its owner may use it; run `chmod 600` on it".to_owned(),
                    ));
                }
                let mut token = Vec::new();
                let read = file.take(MAX_TOKEN).read_to_end(&mut token);
                read.map_err(|error| failed(error.to_string()))?;
                token.trim_ascii().to_owned()
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let token = random().map_err(|error| failed(error.to_string()))?;
                make(path, &token).map_err(|error| failed(error.to_string()))?;
                token
            }
            Err(error) => return Err(failed(error.to_string())),
        };
        let visible = token.iter().all(u8::is_ascii_graphic);
        if token.len() < MIN_TOKEN || !visible {
            return Err(failed(format!(
                "it holds no token of {MIN_TOKEN} visible characters or more; remove it to have one made"
            )));
        }
        Ok(Self {
            token,
            state: Mutex::default(),
        })
    }

    /// Looks at a token.
    pub(super) fn show(&self, token: &[u8], now: Instant) -> Shown {
        let mut state = self.lock();
        let old = |guess: &Instant| now.saturating_duration_since(*guess) >= GUESS_WINDOW;
        while state.guesses.front().is_some_and(old) {
            state.guesses.pop_front();
        }
        if let Some(first) = state.guesses.front()
            && state.guesses.len() >= MAX_GUESSES
        {
            return Shown::Wait(GUESS_WINDOW.saturating_sub(now.saturating_duration_since(*first)));
        }
        // In a time that does not depend on where they differ.
        if bool::from(token.ct_eq(&self.token)) {
            return Shown::Right;
        }
        state.guesses.push_back(now);
        Shown::Wrong
    }

    /// Signs a browser in; gives the value of its cookie.
    pub(super) fn sign_in(&self, now: Instant) -> std::io::Result<String> {
        let key = random()?;
        let mut state = self.lock();
        if state.browsers.len() >= MAX_BROWSERS {
            state.browsers.pop_front();
        }
        state.browsers.push_back((key.clone(), now));
        Ok(String::from_utf8_lossy(&key).into_owned())
    }

    /// Whether a cookie is one of a browser that is signed in.
    pub(super) fn knows(&self, cookie: &[u8], now: Instant) -> bool {
        let mut state = self.lock();
        let fresh = |since: &Instant| now.saturating_duration_since(*since) < BROWSER_LIFETIME;
        state.browsers.retain(|(_, since)| fresh(since));
        let mut known = false;
        for (key, _) in &state.browsers {
            known |= bool::from(cookie.ct_eq(key));
        }
        known
    }

    /// Signs a browser out.
    pub(super) fn sign_out(&self, cookie: &[u8]) {
        let mut state = self.lock();
        state
            .browsers
            .retain(|(key, _)| !bool::from(cookie.ct_eq(key)));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random() -> std::io::Result<Vec<u8>> {
    let mut bytes = [0_u8; RANDOM];
    let given = getrandom(&mut bytes, GetRandomFlags::empty())?;
    if given < RANDOM {
        return Err(std::io::Error::other(
            "the system gave too little randomness",
        ));
    }
    Ok(bytes
        .iter()
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .collect())
}

fn make(path: &Path, token: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(token)?;
    file.write_all(b"\n")?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keeper() -> Keeper {
        Keeper {
            token: b"0123456789abcdef".to_vec(),
            state: Mutex::default(),
        }
    }

    #[test]
    fn the_right_token_and_no_other() {
        let (keeper, now) = (keeper(), Instant::now());
        assert_eq!(keeper.show(b"0123456789abcdef", now), Shown::Right);
        assert_eq!(keeper.show(b"0123456789abcdeX", now), Shown::Wrong);
        assert_eq!(keeper.show(b"0123456789abcde", now), Shown::Wrong);
        assert_eq!(keeper.show(b"", now), Shown::Wrong);
    }

    #[test]
    fn guessing_is_refused_unseen_until_it_is_a_minute_old() {
        let (keeper, now) = (keeper(), Instant::now());
        for _ in 0..MAX_GUESSES {
            assert_eq!(keeper.show(b"guess", now), Shown::Wrong);
        }
        let right = b"0123456789abcdef";
        let later = now + Duration::from_secs(20);
        assert_eq!(
            keeper.show(right, later),
            Shown::Wait(Duration::from_secs(40))
        );
        assert_eq!(keeper.show(right, now + GUESS_WINDOW), Shown::Right);
    }

    #[test]
    fn browsers_are_known_until_they_sign_out_or_their_time_is_over() {
        let (keeper, now) = (keeper(), Instant::now());
        let (first, second) = (keeper.sign_in(now).unwrap(), keeper.sign_in(now).unwrap());
        assert!(keeper.knows(first.as_bytes(), now));
        keeper.sign_out(first.as_bytes());
        assert!(!keeper.knows(first.as_bytes(), now));
        assert!(keeper.knows(second.as_bytes(), now));
        assert!(!keeper.knows(second.as_bytes(), now + BROWSER_LIFETIME));
        assert!(!keeper.knows(b"", now));
    }

    #[test]
    fn browsers_are_bounded() {
        let (keeper, now) = (keeper(), Instant::now());
        let first = keeper.sign_in(now).unwrap();
        for _ in 0..MAX_BROWSERS {
            keeper.sign_in(now).unwrap();
        }
        assert!(!keeper.knows(first.as_bytes(), now));
    }
}
