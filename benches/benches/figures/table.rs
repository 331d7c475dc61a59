//! The table.

use std::path::Path;
use std::time::{Duration, SystemTime};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

use crate::memory::{CALL, PAGE};

/// One comparison; the ratio is the figure over the peer's.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) what: String,
    pub(crate) figure: String,
    pub(crate) peer: String,
    pub(crate) peer_figure: String,
    pub(crate) ratio: f64,
}

pub(crate) fn render(rows: &[Row]) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::ASCII_MARKDOWN)
        .set_header(["name", "what", "figure", "peer", "peer's", "ratio"]);
    for row in rows {
        let ratio = format!("{:.2}", row.ratio);
        table.add_row([row.name, &row.what, &row.figure, &row.peer, &row.peer_figure, &ratio]);
    }
    for column in [2, 4, 5] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// What criterion measured in this run: the medians of its own files.
pub(crate) fn of_criterion(dir: &Path, since: SystemTime) -> Vec<Row> {
    let median = |group: &str, name: &str| {
        let path = dir.join(group).join(name).join("new/estimates.json");
        let fresh = path.metadata().and_then(|meta| meta.modified()).is_ok_and(|at| at >= since);
        let text = fresh.then(|| std::fs::read_to_string(path).ok())??;
        serde_json::from_str::<Value>(&text).ok()?["median"]["point_estimate"].as_f64()
    };
    let row = |name, what: &str, group, own, peer: &str| {
        let (figure, peer_figure) = (median(group, own)?, median(group, peer)?);
        Some(Row {
            name,
            what: what.to_owned(),
            figure: microseconds(figure),
            peer: peer.to_owned(),
            peer_figure: microseconds(peer_figure),
            ratio: figure / peer_figure,
        })
    };
    let page = "a page of 100 projects, from call to models";
    [
        row("decode", page, PAGE, "models", "generic JSON"),
        row("decode", page, PAGE, "models", "plain structs"),
        row("pipeline", "one call over a transport in memory", CALL, "pipeline", "the transport alone"),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn microseconds(nanoseconds: f64) -> String {
    format!("{:.2} µs", nanoseconds / 1000.0)
}

pub(crate) fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1000.0)
}
