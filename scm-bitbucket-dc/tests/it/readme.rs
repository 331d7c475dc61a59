//! The table of capabilities in the README says what the client says of the newest version.

use std::collections::BTreeMap;

use scm_bitbucket_dc::BitbucketDc;
use scm_core::Scm as _;
use scm_testkit::sim::bitbucket_dc::BitbucketDcSim;
use serde_json::Value;

use crate::world::{config, direct};

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

async fn told(version: &str) -> BTreeMap<String, Value> {
    let sim = BitbucketDcSim::builder().version(version).start().await.unwrap();
    let token = sim.tokens()[0].token.clone();
    let scm = BitbucketDc::new(config(&sim.url(), &token), direct()).unwrap();
    let capabilities = scm.capabilities().await.unwrap();
    serde_json::from_value(serde_json::to_value(capabilities).unwrap()).unwrap()
}

#[tokio::test]
async fn the_capability_table_says_what_the_client_says() {
    let table = table();
    let written: BTreeMap<_, _> =
        table.iter().map(|(name, (value, _))| (name.clone(), value.clone())).collect();
    let newest = told("10.2.0").await;
    assert_eq!(written, newest);
    for (name, (value, remarks)) in &table {
        assert!(*value != Value::Bool(false) || !remarks.is_empty(), "{name}: a no needs its reason");
    }
    // What an older version lacks is said beside it, with the version that has it.
    let (oldest, mut gated) = (told("8.0.0").await, 0);
    for (name, value) in &newest {
        let since = table[name].1.contains("from 8.") || table[name].1.contains("from 9.");
        assert_eq!(oldest[name] != *value, since, "{name}: {}", table[name].1);
        gated += usize::from(since);
    }
    assert_eq!(gated, 3);
}
