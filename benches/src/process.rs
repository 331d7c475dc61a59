//! Clients and the server as processes of their own: nobody's work is counted as another's.

use std::io::{BufRead as _, BufReader, Error, ErrorKind, Result, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// A program that reads lines and answers lines. It stops when its input ends, at the latest when this is dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a program.
    ///
    /// # Errors
    /// When there is none.
    pub fn start(program: &str, args: &[&str]) -> Result<Self> {
        let mut child =
            Command::new(program).args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().map(BufReader::new).ok_or(ErrorKind::BrokenPipe)?;
        Ok(Self { input: child.stdin.take(), output, child })
    }

    /// The next line it prints.
    ///
    /// # Errors
    /// When it ends instead.
    pub fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err(Error::new(ErrorKind::UnexpectedEof, "the program ended early; see above")),
            _ => Ok(line.trim().to_owned()),
        }
    }

    /// Gives it a line, and does not wait for an answer.
    ///
    /// # Errors
    /// When the program has ended.
    pub fn tell(&mut self, line: &str) -> Result<()> {
        let input = self.input.as_mut().ok_or(ErrorKind::BrokenPipe)?;
        input.write_all(format!("{line}\n").as_bytes())
    }

    /// Gives it a line: what it answers, and what that took.
    ///
    /// # Errors
    /// When the program ends instead.
    pub fn ask(&mut self, line: &str) -> Result<(String, Cost)> {
        let before = self.processor_time();
        let start = Instant::now();
        self.tell(line)?;
        let answer = self.line()?;
        let wall = start.elapsed();
        let processor = self.processor_time().zip(before).map(|(after, before)| after.saturating_sub(before));
        Ok((answer, Cost { wall, processor }))
    }

    /// The most memory that it has used so far, in MiB, where the system tells.
    #[must_use]
    pub fn peak(&self) -> Option<f64> {
        peak(self.child.id())
    }

    /// Processor time of all its threads so far, where the system tells.
    fn processor_time(&self) -> Option<Duration> {
        let mut sum = Duration::ZERO;
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()? {
            let text = std::fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
            sum += Duration::from_nanos(text.split(' ').next()?.parse().ok()?);
        }
        Some(sum)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        // It was told to stop; how it ended no longer matters.
        let _ = self.child.wait();
    }
}

/// The most memory that the process of this number has used so far, in MiB, where the system tells.
#[must_use]
pub fn peak(process: u32) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(peak.trim().trim_end_matches(" kB").parse::<f64>().ok()? / 1024.0)
}

/// What one answer took.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Time.
    pub wall: Duration,
    /// Processor time of the program itself, where the system tells.
    pub processor: Option<Duration>,
}
