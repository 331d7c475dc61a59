//! `bench-git-server FILES...`: a simulator with a repository of each of these sizes, `group/FILES`, behind a wire on which
//! the bytes are counted. Prints its address and a token. Then each line `ROUND_TRIP all|off`, with milliseconds and
//! whether the server's git takes filters, begins a measurement, and `end` answers with the requests, connections, bytes
//! to the server and bytes from it. Stops when standard input ends.

use std::error::Error;
use std::io::{Write as _, stdin, stdout};
use std::time::Duration;

use benches::Proxy;
use scm_testkit::seed::Large;
use scm_testkit::sim::GitFilters;
use scm_testkit::sim::gitlab::{GitLabSim, Role, TokenKind, TokenSpec};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let mut builder = GitLabSim::builder();
    for files in std::env::args().skip(1) {
        let path = dir.path().join(&files);
        Large::new(files.parse()?).make(&path)?;
        builder = builder.repository(format!("group/{files}"), path);
    }
    let sim = builder.start().await?;
    let token = sim.issue_token(&TokenSpec::new(TokenKind::Group, "bot").role(Role::Maintainer))?;
    let server = sim.url().strip_prefix("http://").map(str::to_owned).ok_or("an address with http://")?;
    let proxy = Proxy::start(server).await?;
    writeln!(stdout(), "http://{} {}", proxy.address(), token.token)?;
    for line in stdin().lines() {
        let line = line?;
        if line == "end" {
            let (traffic, requests) = (proxy.traffic(), sim.requests().len());
            writeln!(stdout(), "{requests} {} {} {}", traffic.connections, traffic.sent, traffic.received)?;
            continue;
        }
        let (round_trip, filters) = line.split_once(' ').ok_or("ROUND_TRIP all|off")?;
        sim.set_git_filters(match filters {
            "off" => GitFilters::Off,
            _ => GitFilters::All,
        });
        sim.clear_requests();
        proxy.reset(Duration::from_millis(round_trip.parse()?));
        writeln!(stdout(), "ready")?;
    }
    sim.shutdown().await;
    Ok(())
}
