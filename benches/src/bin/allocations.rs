//! `bench-allocations CLIENT URL`, with the token on standard input: prints how often one walk allocates, and how many
//! bytes, per project.

use std::error::Error;
use std::io::{Write as _, stdout};

use allocation_counter::measure;
use benches::Walk;

fn main() -> Result<(), Box<dyn Error>> {
    let walk = Walk::from_args()?;
    // The first walk opens the connection.
    walk.walk()?;
    let mut found = Ok(0);
    // It counts this thread, on which everything happens.
    let count = measure(|| found = walk.walk());
    let projects = found? as f64;
    writeln!(stdout(), "{} {}", count.count_total as f64 / projects, count.bytes_total as f64 / projects)?;
    Ok(())
}
