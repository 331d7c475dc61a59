//! Lists every repository into a catalogue file, and goes on where an interrupted run stopped.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use indicatif::ProgressBar;
use scm_core::{ListRepositories, Result};
use scm_examples::catalogue::{Catalogue, Place};
use scm_examples::connections::{Connection, Connections};
use scm_examples::demo::agent_if_asked;
use scm_examples::output::{complain, print, print_json};

/// Lists every repository that the configured tokens can reach into a catalogue: one line of JSON for each. After each
/// page it keeps its place in a file beside the catalogue, so that a run that was stopped, even by kill -9, goes on there:
/// no repository is lost and none is there twice. That file is gone once the catalogue is complete.
///
/// Exit codes: 0 the catalogue is complete, 1 some entries could not be read (told on standard error), 2 wrong usage or
/// configuration, 3 stopped after --pages: run it again.
#[derive(Parser, Debug)]
#[command(version, about)]
struct Cli {
    /// The catalogue (JSON lines).
    #[arg(long, value_name = "FILE", default_value = "catalogue.jsonl")]
    out: PathBuf,
    /// Connections (TOML). Without it: the embedded demonstration.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Begin anew, over what is there.
    #[arg(long)]
    restart: bool,
    /// Repositories asked for at once, 1 to 100.
    #[arg(long, value_name = "N", default_value_t = 100)]
    page_size: u16,
    /// Stop after so many pages; the next run goes on.
    #[arg(long, value_name = "N")]
    pages: Option<usize>,
    /// One JSON document on standard output in place of text.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    if let Some(code) = agent_if_asked().await {
        return code;
    }
    let cli = Cli::parse();
    match run(&cli).await {
        Ok(code) => code,
        Err(error) => {
            complain("onboard", &error);
            ExitCode::from(2)
        }
    }
}

async fn run(cli: &Cli) -> Result<ExitCode> {
    let connections = Connections::open(cli.config.as_deref()).await?;
    let mut catalogue = Catalogue::open(&cli.out, cli.restart)?;
    let complete = list(cli, &connections, &mut catalogue).await?;
    connections.close().await;
    let Place { repositories, unreadable, .. } = catalogue.place;
    if cli.json {
        print_json(&serde_json::json!({
            "catalogue": cli.out, "complete": complete, "repositories": repositories, "unreadable": unreadable,
        }))?;
    } else {
        let state = if complete { "complete" } else { "not complete; run it again to go on" };
        print(&format!(
            "{}: {repositories} repositories, {unreadable} unreadable, {state}\n",
            cli.out.display()
        ))?;
    }
    Ok(ExitCode::from(match (complete, unreadable) {
        (false, _) => 3,
        (true, 0) => 0,
        (true, _) => 1,
    }))
}

/// Lists what is missing; `false` when it stopped before the end.
async fn list(cli: &Cli, connections: &Connections, catalogue: &mut Catalogue) -> Result<bool> {
    let spinner = if cli.json { ProgressBar::hidden() } else { ProgressBar::new_spinner() };
    let mut pages_left = cli.pages.unwrap_or(usize::MAX);
    for connection in &connections.list {
        if catalogue.place.done.contains(&connection.name) {
            continue;
        }
        loop {
            if pages_left == 0 {
                return Ok(false);
            }
            pages_left -= 1;
            let goes_on = one_page(cli, connection, catalogue).await?;
            spinner.set_message(format!("{}: {}", connection.name, catalogue.place.repositories));
            spinner.tick();
            if !goes_on {
                break;
            }
        }
    }
    catalogue.finish()?;
    Ok(true)
}

/// Adds the next page of a connection; `false` after the last one.
async fn one_page(cli: &Cli, connection: &Connection, catalogue: &mut Catalogue) -> Result<bool> {
    let opts = ListRepositories::default().with_page_size(cli.page_size);
    let at = catalogue.place.cursor.as_ref();
    let page = connection.scm.repositories().list_repositories_page(&opts, at).await?;
    let mut lines = Vec::new();
    for item in page.items {
        match item {
            Ok(repository) => {
                let entry = serde_json::json!({ "connection": connection.name, "repository": repository });
                lines.extend(entry.to_string().into_bytes());
                lines.push(b'\n');
                catalogue.place.repositories += 1;
            }
            Err(error) => {
                complain("onboard", &error);
                catalogue.place.unreadable += 1;
            }
        }
    }
    let goes_on = page.next.is_some();
    catalogue.place.cursor = page.next;
    if !goes_on {
        catalogue.place.done.push(connection.name.clone());
    }
    catalogue.add(&lines)?;
    Ok(goes_on)
}
