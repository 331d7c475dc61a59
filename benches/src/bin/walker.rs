//! `bench-walker CLIENT URL TOKEN`: walks over the whole listing once for each line on standard input, and answers with
//! the number of projects found.

use std::error::Error;
use std::io::{Write as _, stdin, stdout};

use benches::Walk;

fn main() -> Result<(), Box<dyn Error>> {
    let walk = Walk::from_args()?;
    for line in stdin().lines() {
        line?;
        writeln!(stdout(), "{}", walk.walk()?)?;
    }
    Ok(())
}
