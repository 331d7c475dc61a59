//! From the text of manifests and lock files to fixes that change version texts and nothing else.
//!
//! ```
//! use std::collections::BTreeMap;
//! use scm_examples::analysis::{self, AdvisoryDb, edit};
//!
//! let files = BTreeMap::from([("requirements.txt".to_owned(), "jinja2==2.11.2  # templates\r\n".to_owned())]);
//! let found = analysis::analyse(&files, &AdvisoryDb::embedded(), None);
//! let fixes: Vec<_> = found.fixes.iter().collect();
//! let changed = edit::apply(&files, &fixes)?;
//! assert_eq!(changed["requirements.txt"], "jinja2==2.11.3  # templates\r\n");
//! # Ok::<(), edit::EditError>(())
//! ```
//!
//! | step | where |
//! |---|---|
//! | which paths to read at all | [`files`] |
//! | what is vulnerable, from OSV records | [`AdvisoryDb`] |
//! | what is newest, and the hashes a lock file needs | [`NewestVersions`] |
//! | compare versions as each ecosystem does | [`Version`] |
//! | judge every dependency | [`analyse`], into [`Analysis`] |
//! | change the files | [`edit::apply`] |
//! | tell the reviewer | [`explain`] |

pub mod edit;
pub mod explain;
pub mod files;

mod advisory;
mod ecosystem;
mod engine;
mod lock;
mod manifest;
mod model;
mod relock;
mod requirement;
mod text;
mod version;
mod versions;

pub use advisory::{Advisory, AdvisoryDb, AdvisoryError, Match, Severity, Skipped};
pub use ecosystem::Ecosystem;
pub use engine::analyse;
pub use model::{AdvisoryRef, Analysis, Edit, Finding, Fix, Outdated, Problem};
pub use version::{Version, VersionError};
pub use versions::{KnownVersion, NewestVersions, VersionsError};
