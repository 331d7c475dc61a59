//! `Cargo.lock`, all versions of its format.

use toml_edit::{Document, Item, Table, Value};

use super::{Entry, Field, Lock, Origin, Require};
use crate::analysis::ecosystem::Ecosystem;
use crate::analysis::manifest::Unreadable;
use crate::analysis::text::{Source, shown};

pub(super) fn parse(source: &Source<'_>) -> Result<Lock, Unreadable> {
    let document = Document::parse(source.body()).map_err(|error| Unreadable {
        line: error.span().map(|span| source.line(source.offset(span.start))),
        reason: shown(error.message()),
    })?;
    let packages = match document.as_table().get("package") {
        None => return Ok(Lock::new(Ecosystem::CratesIo, Vec::new())),
        Some(packages) => packages.as_array_of_tables().ok_or_else(|| Unreadable {
            line: packages.span().map(|span| source.line(source.offset(span.start))),
            reason: "`package` is no array of tables".to_owned(),
        })?,
    };
    let mut entries: Vec<Entry> = Vec::new();
    let mut references = Vec::new();
    for package in packages {
        // Dependencies refer to entries by number, so every package gets one, however odd it is.
        references.push(dependencies(source, package));
        entries.push(entry(source, package));
    }
    for (from, dependencies) in references.into_iter().enumerate() {
        for (text, at) in dependencies {
            link(source, &mut entries, from, &text, at);
        }
    }
    let keyed = entries.into_iter().map(|entry| (entry.package.clone(), entry)).collect();
    Ok(Lock::new(Ecosystem::CratesIo, keyed))
}

fn entry(source: &Source<'_>, package: &Table) -> Entry {
    let text = |key: &str| package.get(key).and_then(Item::as_str).unwrap_or_default();
    let field = |key: &str| {
        let item = package.get(key)?;
        let at = source.inside_quotes(&item.span()?, item.as_str()?)?;
        Some(Field { at, line: source.line(at), text: item.as_str()?.to_owned() })
    };
    let versions: Vec<Field> = field("version").into_iter().collect();
    let checksums: Vec<Field> = field("checksum").into_iter().collect();
    let start = || package.span().map(|span| source.line(source.offset(span.start)));
    Entry {
        package: text("name").to_owned(),
        version: text("version").to_owned(),
        line: versions.first().map(|field| field.line).or_else(start).unwrap_or(1),
        origin: match package.get("source").and_then(Item::as_str) {
            None => Origin::Own,
            Some(from) if from.contains("crates.io-index") || from.contains("//index.crates.io") => {
                Origin::Registry
            }
            Some(_) => Origin::Elsewhere,
        },
        // The first format keeps hashes in a table of their own; such a file is left to Cargo.
        editable: !versions.is_empty() && !checksums.is_empty(),
        versions,
        checksums,
        ..Entry::default()
    }
}

fn dependencies(source: &Source<'_>, package: &Table) -> Vec<(String, Option<usize>)> {
    let array = package.get("dependencies").and_then(Item::as_array);
    array
        .into_iter()
        .flatten()
        .filter_map(|value: &Value| {
            let text = value.as_str()?;
            let at = value.span().and_then(|span| source.inside_quotes(&span, text));
            Some((text.to_owned(), at))
        })
        .collect()
}

/// A dependency is `name`, or `name version` where there are several, or either with `(source)` in old files.
fn link(source: &Source<'_>, entries: &mut [Entry], from: usize, text: &str, at: Option<usize>) {
    let mut words = text.split(' ');
    let name = words.next().unwrap_or_default();
    let version = words.next();
    let found = entries
        .iter()
        .position(|entry| entry.package == name && version.is_none_or(|version| entry.version == version));
    if let (Some(found), Some(version)) = (found, version)
        && let Some(entry) = entries.get_mut(found)
    {
        match at {
            Some(at) => {
                let at = at + name.len() + 1;
                entry.versions.push(Field { at, line: source.line(at), text: version.to_owned() });
            }
            None => entry.editable = false,
        }
    }
    if let Some(from) = entries.get_mut(from) {
        from.requires.push(Require {
            name: name.to_owned(),
            requirement: None,
            fields: Vec::new(),
            entry: found,
        });
    }
}
