//! `scm-hub agents`.

use comfy_table::{Cell, Color, ContentArrangement, Table, presets};
use http::Request;
use scm_core::{Body, Error, HttpTransport as _, Result, Timestamp, TransportError};
use scm_relay::AgentStatus;
use scm_transport::{CaCertificates, DirectTransport, Network};
use serde::Deserialize;

use crate::{Agents, failed, print};

/// Longest answer, in bytes.
const LONGEST: usize = 16 * 1024 * 1024;

/// An error as a hub writes it.
#[derive(Deserialize)]
struct Told {
    error: TransportError,
}

pub(crate) async fn run(options: Agents) -> Result<()> {
    let agents = ask(&options).await?;
    if options.json {
        let mut text = serde_json::to_string(&agents)
            .map_err(|error| failed("the agents cannot be written as JSON").with_source(error))?;
        text.push('\n');
        return print(&text);
    }
    print(&format!("{}\n", table(&agents)))
}

async fn ask(options: &Agents) -> Result<Vec<AgentStatus>> {
    let read = |path: &std::path::Path| {
        std::fs::read_to_string(path)
            .map_err(|error| Error::config(format!("{} cannot be read: {error}", path.display())))
    };
    match options.hub.scheme() {
        "https" => {}
        "http" if options.danger_plain_http => {}
        "http" => {
            return Err(Error::config(
                "the hub's URL is http://, so that everybody on the way could read the key: use https://, or \
                 --danger-plain-http",
            ));
        }
        _ => return Err(Error::config("the hub's URL is written like https://hub.company.com")),
    }
    let mut network = Network::new();
    if let Some(path) = &options.ca_file {
        network = network.with_extra_roots(CaCertificates::parse(read(path)?)?);
    }
    let mut key = http::HeaderValue::try_from(read(&options.key_file)?.trim())
        .map_err(|_| Error::config(format!("{} has no key in it", options.key_file.display())))?;
    key.set_sensitive(true);
    let url = format!("{}/v1/agents", options.hub.as_str().trim_end_matches('/'));
    let request = Request::get(url).header("scm-hub-key", key).body(Body::empty());
    let request = request.map_err(|_| Error::config("the hub's URL cannot be used"))?;
    let answer = DirectTransport::new(&network)?.send(request).await?;
    let (status, hub) = (answer.status(), answer.headers().contains_key("scm-hub-version"));
    let body = answer.into_body().collect(LONGEST).await?;
    if let Ok(told) = serde_json::from_slice::<Told>(&body) {
        return Err(told.error.into());
    }
    if !hub || !status.is_success() {
        return Err(failed(format!("what answers there is no hub: the status is {status}")));
    }
    serde_json::from_slice(&body).map_err(|error| {
        failed("the hub's answer cannot be read: is it of another version?").with_source(error)
    })
}

fn table(agents: &[AgentStatus]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["agent", "state", "tunnels", "in flight", "since", "last seen", "version"]);
    for agent in agents {
        let (state, color) = match (agent.tunnels, agent.last_seen) {
            (1.., _) => ("connected", Color::Green),
            (0, _) if agent.refused.is_some() => ("too old", Color::Red),
            (0, Some(_)) => ("offline", Color::Red),
            (0, None) => ("never seen", Color::Yellow),
        };
        let time =
            |at: Option<Timestamp>| at.map_or_else(|| "-".to_owned(), |at| to_the_second(&at.to_string()));
        table.add_row([
            Cell::new(&agent.name),
            Cell::new(state).fg(color),
            Cell::new(agent.tunnels),
            Cell::new(agent.in_flight),
            Cell::new(time(agent.since)),
            Cell::new(time(agent.last_seen)),
            Cell::new(agent.versions.join(", ")),
        ]);
    }
    table
}

fn to_the_second(at: &str) -> String {
    match at.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => at.to_owned(),
    }
}
