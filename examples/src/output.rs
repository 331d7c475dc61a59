//! What programs print: tables that fit the terminal, JSON, errors.

use std::io::Write as _;

use comfy_table::{ContentArrangement, Table, presets};
use scm_core::{Error, Result};
use serde::Serialize;

/// A table that fits the terminal, and is plain text elsewhere.
pub fn table(head: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(head.to_vec());
    table
}

/// Writes one JSON document to standard output.
///
/// # Errors
/// `Config`, when it cannot be written.
pub fn print_json(value: &impl Serialize) -> Result<()> {
    let mut text = serde_json::to_string(value)
        .map_err(|error| Error::config(format!("the report cannot be written as JSON: {error}")))?;
    text.push('\n');
    print(&text)
}

/// Writes to standard output; a reader that has gone away (`| head`) is no fault.
///
/// # Errors
/// `Config`, when it cannot be written.
pub fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::config(format!("standard output cannot be written: {}", error.kind())))
        }
        _ => Ok(()),
    }
}

/// Writes what should be known, and stops nothing, to standard error.
pub fn warn(text: &str) {
    // Nothing is left to do where even this cannot be written.
    let _ = writeln!(std::io::stderr().lock(), "warning: {text}");
}

/// Writes what went wrong to standard error, after the program's name.
pub fn complain(program: &str, error: &Error) {
    // Nothing is left to do where even this cannot be written.
    let _ = writeln!(std::io::stderr().lock(), "{program}: {}", error.report());
}
