//! What both programs write to standard error.

use std::io::IsTerminal as _;

use clap::ValueEnum;
use tracing::Level;
use tracing_subscriber::EnvFilter;

#[derive(ValueEnum, Clone, Copy, Debug, Default)]
pub(crate) enum LogFormat {
    /// Lines for people.
    #[default]
    Text,
    /// One JSON object on each line.
    Json,
}

/// Logs from `level` on, or what the variable of this name says.
pub(crate) fn start(variable: &str, level: Level, format: LogFormat) {
    let filter =
        EnvFilter::builder().with_default_directive(level.into()).with_env_var(variable).from_env_lossy();
    let subscriber = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        // Whoever reads the log may go away; to say so there would be a panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal())
        .with_env_filter(filter);
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().flatten_event(true).init(),
    }
}
