//! Test Connection: a ladder of rungs that names the fault, and its report.

mod climb;
mod code;
mod ladder;
mod report;

pub use self::climb::climb;
pub use self::code::{Code, Outcome, Rung};
pub use self::ladder::{Ladder, RoleWords, Words, first};
pub use self::report::{CheckOptions, CheckReport, Finding, Purpose, RungReport};
