//! `bench-sim PROJECTS DELAY`: a simulator with so many projects, whose pages take so many milliseconds more. Prints its
//! address and a token, and stops when standard input ends, so that it never outlives who started it.

use std::error::Error;
use std::io::{Write as _, stdout};
use std::time::Duration;

use scm_testkit::fault::Fault;
use scm_testkit::sim::gitlab::GitLabSim;
use tokio::io::{AsyncReadExt as _, stdin};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(projects), Some(delay)) = (args.next(), args.next()) else {
        return Err("usage: bench-sim PROJECTS DELAY".into());
    };
    let sim = GitLabSim::builder().projects(projects.parse()?).start().await?;
    let delay = Duration::from_millis(delay.parse()?);
    if !delay.is_zero() {
        sim.faults().add(Fault::on("GET", "/projects").delay(delay));
    }
    writeln!(stdout(), "{} {}", sim.url(), sim.tokens()[0].token)?;
    stdin().read_to_end(&mut Vec::new()).await?;
    sim.shutdown().await;
    Ok(())
}
