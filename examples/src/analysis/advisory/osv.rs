//! The OSV schema (<https://ossf.github.io/osv-schema/>), as far as it is used. Unknown fields are ignored, as the
//! schema asks of readers.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::AdvisoryError;
use crate::analysis::text::shown;

#[derive(Debug, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    pub(super) affected: Vec<Affected>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) aliases: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) summary: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) details: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) severity: Vec<Score>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) database_specific: DatabaseSpecific,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) references: Vec<Reference>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Affected {
    /// Absent in records that only name commits.
    #[serde(default)]
    pub(super) package: Option<Package>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) ranges: Vec<Range>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) versions: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) ecosystem: String,
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Range {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) events: Vec<Event>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Event {
    #[serde(default)]
    pub(super) introduced: Option<String>,
    #[serde(default)]
    pub(super) fixed: Option<String>,
    #[serde(default)]
    pub(super) last_affected: Option<String>,
    #[serde(default)]
    pub(super) limit: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Score {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) score: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct DatabaseSpecific {
    /// A word such as `HIGH`; other databases put other things here, which must not cost the record.
    #[serde(default)]
    pub(super) severity: Value,
}

#[derive(Debug, Deserialize)]
pub(super) struct Reference {
    #[serde(rename = "type", default)]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) url: String,
}

/// Exporters written in Go send `null` for an empty list.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Option::deserialize(from).map(Option::unwrap_or_default)
}

/// The records of a file: one record, an array, `{"vulns": [...]}` or one record a line.
pub(super) fn split(text: &str) -> Result<Vec<Value>, AdvisoryError> {
    let text = text.trim_start_matches('\u{feff}');
    match serde_json::from_str(text) {
        Ok(Value::Array(records)) => Ok(records),
        Ok(Value::Object(mut object)) => match object.remove("vulns") {
            Some(Value::Array(records)) => Ok(records),
            Some(_) => Err(AdvisoryError::NotOsv { found: "an object whose `vulns` is no array".to_owned() }),
            None => Ok(vec![Value::Object(object)]),
        },
        Ok(other) => Err(AdvisoryError::NotOsv { found: kind(&other).to_owned() }),
        Err(error) => lines(text).unwrap_or_else(|| {
            Err(AdvisoryError::NotJson { line: error.line(), message: shown(&error.to_string()) })
        }),
    }
}

/// JSON lines, if the first line is a value of its own; else the file is one broken value.
fn lines(text: &str) -> Option<Result<Vec<Value>, AdvisoryError>> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()).peekable();
    let (_, first) = lines.peek()?;
    if !matches!(serde_json::from_str(first), Ok(Value::Object(_))) {
        return None;
    }
    let parse = |(at, line): (usize, &str)| {
        serde_json::from_str(line)
            .map_err(|error| AdvisoryError::NotJson { line: at + 1, message: shown(&error.to_string()) })
    };
    Some(lines.map(parse).collect())
}

/// One record; `None` if it was withdrawn.
pub(super) fn record(index: usize, value: Value) -> Result<Option<Record>, AdvisoryError> {
    if value.get("withdrawn").is_some_and(|at| !at.is_null()) {
        return Ok(None);
    }
    let id = value.get("id").and_then(Value::as_str).map(shown);
    serde_path_to_error::deserialize(value).map(Some).map_err(|error| {
        let path = error.path().to_string();
        AdvisoryError::Record {
            record: index,
            id,
            path: if path == "." { "the top level".to_owned() } else { format!("`{}`", shown(&path)) },
            message: shown(&error.into_inner().to_string()),
        }
    })
}

const fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
