//! Secrets that are sent in on purpose, and a look at everything that comes out.
//!
//! ```
//! use scm_core::{Error, ErrorKind};
//! use scm_testkit::canary::Canary;
//!
//! let canary = Canary::new();
//! let error = Error::new(ErrorKind::Internal, "the token is not accepted");
//! tracing::debug!(%error, "refused");
//! canary.assert_error_is_silent("a refusal", &error);
//! canary.assert_logs_are_silent("a refusal");
//! ```

use std::{
    cell::RefCell,
    collections::HashSet,
    error::Error as StdError,
    fmt::Debug,
    io::{self, Write},
    sync::{Arc, Mutex, Once, PoisonError},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::{MakeWriter, format::FmtSpan};

/// Token, user information of a proxy, content of a file, text of a comment.
const SECRETS: [&str; 4] = [
    "tok7f3a91c2Xw5Lr8Zq0Bn",
    "usr4d8b02e6:pwd9c1f75a3Kt6Vm",
    "fil2e6c84b7Hd3Js9Py1Gf",
    "com5a0d93f8Rc7Tn2Ux4Ek",
];

/// So many bytes in a row of a secret are too many.
const TELLING: usize = 8;

thread_local! {
    /// Where the logs of this thread go while a canary lives.
    static SINK: RefCell<Option<Buffer>> = const { RefCell::new(None) };
}

/// Secrets with no shape that anything could know, and all the logs of this thread from now on, at the finest level and
/// of every crate.
///
/// Use it in a test on a single thread: what other threads log is not seen.
pub struct Canary {
    /// An access token or password.
    pub token: &'static str,
    /// What a proxy wants: user and password, as in a URL.
    pub proxy_userinfo: &'static str,
    /// The content of a file.
    pub file: &'static str,
    /// The text of a comment.
    pub comment: &'static str,
    parts: HashSet<Vec<u8>>,
    /// The pairs of bytes that one of them starts with.
    starts: Vec<bool>,
    logs: Buffer,
    _logging: DefaultGuard,
}

impl Canary {
    /// Starts to listen.
    #[must_use]
    pub fn new() -> Self {
        let logs = Buffer::default();
        SINK.with_borrow_mut(|sink| *sink = Some(logs.clone()));
        forward_log_records();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_span_events(FmtSpan::FULL)
            .with_ansi(false)
            .with_writer(logs.clone())
            .finish();
        let [token, proxy_userinfo, file, comment] = SECRETS;
        let parts = Self::parts(SECRETS);
        let mut starts = vec![false; 1 << 16];
        for part in &parts {
            starts[usize::from(part[0]) << 8 | usize::from(part[1])] = true;
        }
        Self {
            token,
            proxy_userinfo,
            file,
            comment,
            parts,
            starts,
            logs,
            _logging: tracing::subscriber::set_default(subscriber),
        }
    }

    /// Asserts that `shown` holds no secret, nor a telling part of one, nor one in base64.
    ///
    /// # Panics
    /// When it does.
    pub fn assert_silent(&self, what: &str, shown: &str) {
        if let Some(part) = self.found_in(shown) {
            panic!("{what} shows '{part}': {shown}");
        }
    }

    /// Asserts the same of everything that an error can show: as text, for a debugger (which is what a panic shows),
    /// and all its causes.
    ///
    /// # Panics
    /// When it shows a secret.
    pub fn assert_error_is_silent<E: StdError + 'static>(&self, what: &str, error: &E) {
        let mut next: Option<&(dyn StdError + 'static)> = Some(error);
        while let Some(error) = next {
            self.assert_silent(what, &format!("{error} {error:#} {error:?} {error:#?}"));
            next = error.source();
        }
        if let Some(error) = (error as &dyn std::any::Any).downcast_ref::<scm_core::Error>() {
            self.assert_silent(what, &error.report());
        }
    }

    /// Asserts the same of what a debugger shows.
    ///
    /// # Panics
    /// When it shows a secret.
    pub fn assert_debug_is_silent(&self, what: &str, value: &dyn Debug) {
        self.assert_silent(what, &format!("{value:?} {value:#?}"));
    }

    /// Asserts the same of what was logged since the last call, and that something was.
    ///
    /// # Panics
    /// When a secret was logged, or nothing at all.
    pub fn assert_logs_are_silent(&self, what: &str) {
        let logs = self.logs.take();
        assert!(!logs.is_empty(), "{what}: nothing was logged, so that this proves nothing");
        if let Some(part) = self.found_in(&logs) {
            let lines: Vec<_> = logs.lines().filter(|line| line.contains(&part)).take(5).collect();
            panic!("{what}: the logs hold '{part}': {lines:#?}");
        }
    }

    /// A telling part of a secret in `shown`. Logs are long: few of their places are worth a second look.
    fn found_in(&self, shown: &str) -> Option<String> {
        let shown = shown.as_bytes();
        let may_start = |at: &usize| self.starts[usize::from(shown[*at]) << 8 | usize::from(shown[*at + 1])];
        let places = (0..(shown.len() + 1).saturating_sub(TELLING)).filter(may_start);
        let mut parts = places.map(|at| &shown[at..at + TELLING]);
        parts.find(|part| self.parts.contains(*part)).map(|part| String::from_utf8_lossy(part).into_owned())
    }

    /// The telling parts of all secrets, as they are and in base64.
    fn parts(secrets: [&str; 4]) -> HashSet<Vec<u8>> {
        let [token, proxy_userinfo, ..] = secrets;
        let (user, password) = proxy_userinfo.split_once(':').unwrap_or_default();
        let basic = STANDARD.encode(format!("bot:{token}"));
        let plain = secrets.into_iter().chain([user, password]).filter(|secret| !secret.contains(':'));
        let all =
            plain.map(str::to_owned).chain(secrets.map(|secret| STANDARD.encode(secret))).chain([basic]);
        all.flat_map(|secret| secret.as_bytes().windows(TELLING).map(<[u8]>::to_vec).collect::<Vec<_>>())
            .collect()
    }
}

impl Default for Canary {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        SINK.with_borrow_mut(|sink| *sink = None);
    }
}

impl Debug for Canary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Canary").finish_non_exhaustive()
    }
}

/// Text that several hands write to.
#[derive(Debug, Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Buffer {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Many crates log by `log`, not by `tracing`.
struct Forward;

impl log::Log for Forward {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        SINK.try_with(|sink| sink.borrow().is_some()).unwrap_or_default()
    }

    fn log(&self, record: &log::Record<'_>) {
        // A thread that is ending has no sink any more.
        let _ = SINK.try_with(|sink| {
            if let Some(mut sink) = sink.borrow().clone() {
                let _ = writeln!(sink, "{} {}: {}", record.level(), record.target(), record.args());
            }
        });
    }

    fn flush(&self) {}
}

fn forward_log_records() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Fails where a test set a logger of its own, which then sees what there is.
        let _ = log::set_logger(&Forward);
        log::set_max_level(log::LevelFilter::Trace);
    });
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn sings(look: impl FnOnce()) -> bool {
        catch_unwind(AssertUnwindSafe(look)).is_err()
    }

    #[test]
    fn a_secret_is_heard_wherever_it_comes_out() {
        let canary = Canary::new();
        let token = canary.token;
        assert!(!sings(|| canary.assert_silent("text", "nothing of it")));
        for shown in [
            token.to_owned(),
            token[3..12].to_owned(),
            STANDARD.encode(token),
            STANDARD.encode(format!("bot:{token}")),
        ] {
            assert!(sings(|| canary.assert_silent("text", &format!("<{shown}>"))), "{shown}");
        }
        let cause = io::Error::other(canary.comment);
        let error = scm_core::Error::config("well").with_source(cause);
        assert!(sings(|| canary.assert_error_is_silent("a cause", &error)));
        assert!(sings(|| canary.assert_debug_is_silent("a value", &Some(canary.file))));

        assert!(sings(|| canary.assert_logs_are_silent("no logs")));
        tracing::trace!(value = 1, "harmless");
        canary.assert_logs_are_silent("harmless");
        tracing::trace!(token, "an event");
        assert!(sings(|| canary.assert_logs_are_silent("an event")));
        drop(tracing::trace_span!("span", token).entered());
        assert!(sings(|| canary.assert_logs_are_silent("a span")));
        log::trace!("{token}");
        assert!(sings(|| canary.assert_logs_are_silent("a record")));
    }
}
