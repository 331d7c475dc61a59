//! Secrets that may change while the agent runs.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use scm_core::{Result, read_secret};
use secrecy::SecretString;

/// A secret that was given as it is, or in a file that is read again for each use. Never shown.
#[derive(Clone)]
pub struct Secret(Kind);

#[derive(Clone)]
enum Kind {
    Given(SecretString),
    File(Arc<File>),
}

struct File {
    path: PathBuf,
    last: Mutex<Last>,
}

struct Last {
    secret: SecretString,
    /// The file was readable.
    fresh: bool,
}

impl Secret {
    /// The one line in the file at `path`, such as a mounted secret.
    ///
    /// # Errors
    /// `Config` when the file is missing, unreadable, empty or holds more than one line.
    pub fn file(path: impl Into<PathBuf>) -> Result<Self> {
        let path = path.into();
        let last = Mutex::new(Last { secret: read_secret(&path)?, fresh: true });
        Ok(Self(Kind::File(Arc::new(File { path, last }))))
    }

    /// What it is now. A file that cannot be read for a while, as in the middle of its replacement, is what it was.
    pub(crate) fn now(&self) -> SecretString {
        let file = match &self.0 {
            Kind::Given(secret) => return secret.clone(),
            Kind::File(file) => file,
        };
        // A few bytes, from memory.
        let read = read_secret(&file.path);
        let mut last = file.last.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(secret) => *last = Last { secret, fresh: true },
            Err(error) if last.fresh => {
                last.fresh = false;
                tracing::warn!("what was read before is used on: {error}");
            }
            Err(_) => {}
        }
        last.secret.clone()
    }
}

impl From<SecretString> for Secret {
    fn from(secret: SecretString) -> Self {
        Self(Kind::Given(secret))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Given(_) => f.write_str("Secret([redacted])"),
            Kind::File(file) => write!(f, "Secret({})", file.path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn a_file_is_read_again_and_lasts_while_it_cannot_be() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(Secret::file(&path).is_err());
        std::fs::write(&path, "one\n").unwrap();
        let secret = Secret::file(&path).unwrap();
        assert_eq!(secret.now().expose_secret(), "one");
        std::fs::write(&path, "two\n").unwrap();
        assert_eq!(secret.now().expose_secret(), "two");
        for broken in ["", "a\nb\n"] {
            std::fs::write(&path, broken).unwrap();
            assert_eq!(secret.now().expose_secret(), "two");
        }
        std::fs::write(&path, "three").unwrap();
        assert_eq!(secret.now().expose_secret(), "three");
        assert_eq!(format!("{:?}", Secret::from(SecretString::from("one"))), "Secret([redacted])");
    }
}
