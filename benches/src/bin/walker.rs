//! `bench-walker CLIENT URL`: the first line on standard input is the token; for each further one it walks over the whole
//! listing once, and answers with the number of projects found.

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
