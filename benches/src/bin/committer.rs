//! `bench-committer scm|git URL FILES one|many`: the first line on standard input is the token; for each further one, the
//! name of a new branch, it makes a commit and answers with its id and the most memory that was used so far, in KiB: by
//! this process, or by the largest process of git.

use std::error::Error;
use std::io::{Write as _, stdin, stdout};

use benches::{ByGit, ByScm, Task};
use nix::sys::resource::{UsageWho, getrusage};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [client, url, files, changes] = &args[..] else {
        return Err("usage: bench-committer scm|git URL FILES one|many".into());
    };
    let mut lines = stdin().lines();
    let token = lines.next().ok_or("no token")??;
    let task = Task { url: url.clone(), token, files: files.parse()?, many: changes == "many" };
    if client == "git" {
        let git = ByGit::new(&task);
        writeln!(stdout(), "ready")?;
        for branch in lines {
            let dir = tempfile::tempdir()?;
            let sha = git.commit(dir.path(), &branch?)?;
            writeln!(stdout(), "{sha} {}", getrusage(UsageWho::RUSAGE_CHILDREN)?.max_rss())?;
        }
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let scm = ByScm::new(&task)?;
    writeln!(stdout(), "ready")?;
    for branch in lines {
        let sha = runtime.block_on(scm.commit(&branch?))?;
        writeln!(stdout(), "{sha} {}", own_peak()?)?;
    }
    Ok(())
}

/// Not by `getrusage`, which also counts the process that started this one.
fn own_peak() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no peak")?;
    Ok(peak.trim().trim_end_matches(" kB").parse()?)
}
