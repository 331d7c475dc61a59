//! A catalogue of repositories that survives the program being stopped.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind as IoKind, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use scm_core::{Cursor, Error, Result};
use serde::{Deserialize, Serialize};

/// How far the catalogue is.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Place {
    /// Connections that are through.
    pub done: Vec<String>,
    /// Where the one after them goes on; `None` for its start.
    pub cursor: Option<Cursor>,
    /// Bytes of the catalogue that belong to this place. What stands behind was written by a run that ended before it
    /// could say so.
    bytes: u64,
    /// Repositories in it.
    pub repositories: u64,
    /// Entries that could not be read.
    pub unreadable: u64,
}

/// The file, and how far it is.
#[derive(Debug)]
pub struct Catalogue {
    file: File,
    /// How far it is.
    pub place: Place,
    kept_in: PathBuf,
}

impl Catalogue {
    /// Opens it where an earlier run stopped, or begins it.
    ///
    /// # Errors
    /// `Config` for a catalogue that is complete, a place that cannot be read, and files that cannot be written.
    pub fn open(path: &Path, restart: bool) -> Result<Self> {
        let failed = |error: std::io::Error| {
            Error::config(format!("the catalogue {} cannot be written: {}", path.display(), error.kind()))
        };
        let kept_in = PathBuf::from(format!("{}.place", path.display()));
        let place = match std::fs::read(&kept_in) {
            _ if restart => Place::default(),
            Ok(text) => serde_json::from_slice(&text).map_err(|_| {
                Error::config(format!("{} cannot be read; --restart begins anew", kept_in.display()))
            })?,
            Err(error) if error.kind() == IoKind::NotFound && path.exists() => {
                let message = format!("{} is there and complete; --restart begins anew", path.display());
                return Err(Error::config(message));
            }
            Err(error) if error.kind() == IoKind::NotFound => Place::default(),
            Err(error) => return Err(failed(error)),
        };
        let mut options = OpenOptions::new();
        let mut file = options.create(true).truncate(false).write(true).open(path).map_err(failed)?;
        file.set_len(place.bytes).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
        Ok(Self { file, place, kept_in })
    }

    /// Adds a page, and then keeps the place: in this order, so that a page may be there twice for a moment and never
    /// not at all.
    ///
    /// # Errors
    /// `Config`, when it cannot be written.
    pub fn add(&mut self, lines: &[u8]) -> Result<()> {
        self.place.bytes += lines.len() as u64;
        let new = self.kept_in.with_extension("new");
        let place = serde_json::to_vec(&self.place).unwrap_or_default();
        self.file
            .write_all(lines)
            .and_then(|()| self.file.sync_data())
            .and_then(|()| std::fs::write(&new, place))
            .and_then(|()| std::fs::rename(&new, &self.kept_in))
            .map_err(|error| Error::config(format!("the catalogue cannot be written: {}", error.kind())))
    }

    /// Forgets the place: nothing is missing.
    ///
    /// # Errors
    /// `Config`, when it cannot be removed.
    pub fn finish(&self) -> Result<()> {
        std::fs::remove_file(&self.kept_in).map_err(|error| {
            Error::config(format!("{} cannot be removed: {}", self.kept_in.display(), error.kind()))
        })
    }
}
