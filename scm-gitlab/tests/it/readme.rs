//! The table of capabilities in the README says what the client says.

use std::collections::BTreeMap;
use std::sync::Arc;

use scm_core::{Scm as _, StaticCredential, Transport};
use scm_gitlab::{GitLab, GitLabConfig};
use scm_testkit::sim::gitlab::GitLabSim;
use scm_transport::{DirectTransport, Network};
use serde_json::Value;

/// The value and the remarks of each capability, as the README has them.
fn table() -> BTreeMap<String, (Value, &'static str)> {
    let section = include_str!("../../README.md").split("# Capabilities").nth(1).unwrap();
    let section = section.split("\n# ").next().unwrap();
    let mut rows = BTreeMap::new();
    for row in section.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<_> = row.trim_matches('|').splitn(3, '|').map(str::trim).collect();
        let value = match cells[1] {
            "yes" => Value::Bool(true),
            "no" => Value::Bool(false),
            word => serde_json::from_str(&word.replace('`', "\"")).unwrap(),
        };
        let twice = rows.insert(cells[0].trim_matches('`').to_owned(), (value, cells[2]));
        assert!(twice.is_none(), "two rows: {row}");
    }
    rows
}

#[tokio::test]
async fn the_capability_table_says_what_the_client_says() {
    let sim = GitLabSim::builder().start().await.unwrap();
    let token = StaticCredential::token(sim.tokens()[0].token.clone().into());
    let config = GitLabConfig::new(&sim.url(), Arc::new(token)).unwrap();
    let transport = Transport::new(DirectTransport::new(&Network::new()).unwrap());
    let capabilities = GitLab::new(config, transport).unwrap().capabilities().await.unwrap();

    let told: BTreeMap<String, Value> =
        serde_json::from_value(serde_json::to_value(capabilities).unwrap()).unwrap();
    let table = table();
    let written: BTreeMap<_, _> =
        table.iter().map(|(name, (value, _))| (name.clone(), value.clone())).collect();
    assert_eq!(written, told);
    for (name, (value, remarks)) in table {
        assert!(value != Value::Bool(false) || !remarks.is_empty(), "{name}: a no needs its reason");
    }
}
