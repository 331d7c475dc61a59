//! Every figure of the README: what needs no network by criterion, then listings by several clients in alternation, then
//! one table. A smoke run (`cargo test --benches`) does each thing once and gives no figures.

mod listing;
mod memory;
mod table;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use criterion::Criterion;

fn main() {
    let smoke = std::env::args().any(|arg| arg == "--test") || !std::env::args().any(|arg| arg == "--bench");
    let since = SystemTime::now();
    let mut criterion = Criterion::default()
        .output_directory(&criterion_dir())
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(4))
        .configure_from_args();
    memory::run(&mut criterion);
    criterion.final_summary();

    let listing = listing::run(if smoke { &listing::SMOKE } else { &listing::FULL });
    if smoke {
        say("a smoke run: everything ran, nothing was measured");
        return;
    }
    let mut rows = table::of_criterion(&criterion_dir(), since);
    rows.extend(listing);
    say(&format!("\n{}", table::render(&rows)));
}

/// Where cargo builds.
pub(crate) fn target_dir() -> PathBuf {
    let mut dir = PathBuf::from(env!("CARGO_BIN_EXE_bench-walker"));
    dir.pop();
    dir.pop();
    dir
}

fn criterion_dir() -> PathBuf {
    target_dir().join("criterion")
}

#[expect(clippy::print_stdout, reason = "the table is the program's output")]
pub(crate) fn say(line: &str) {
    println!("{line}");
}

/// The folder of this package.
pub(crate) fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
