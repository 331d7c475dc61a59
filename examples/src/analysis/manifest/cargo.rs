//! `Cargo.toml`.

use toml_edit::{Document, Item, TableLike};

use super::{Declaration, Manifest, Place, Unreadable};
use crate::analysis::text::{Source, shown};

const SECTIONS: [&str; 5] =
    ["dependencies", "dev-dependencies", "dev_dependencies", "build-dependencies", "build_dependencies"];

pub(super) fn parse(source: &Source<'_>) -> Result<Manifest, Unreadable> {
    let document = Document::parse(source.body()).map_err(|error| Unreadable {
        line: error.span().map(|span| source.line(source.offset(span.start))),
        reason: shown(error.message()),
    })?;
    let root: &dyn TableLike = document.as_table();
    let mut manifest = Manifest {
        name: table(root, "package")
            .or_else(|| table(root, "project"))
            .and_then(|package| text(package, "name"))
            .map(str::to_owned),
        ..Manifest::default()
    };
    for section in SECTIONS {
        read(source, root, section, &mut manifest);
    }
    if let Some(targets) = table(root, "target") {
        for (_, target) in targets.iter() {
            for section in SECTIONS {
                if let Some(target) = target.as_table_like() {
                    read(source, target, section, &mut manifest);
                }
            }
        }
    }
    if let Some(workspace) = table(root, "workspace") {
        read(source, workspace, "dependencies", &mut manifest);
        if let Some(shared) = table(workspace, "dependencies") {
            manifest.offers.extend(shared.iter().map(|(name, _)| name.to_owned()));
        }
    }
    Ok(manifest)
}

fn table<'a>(parent: &'a dyn TableLike, key: &str) -> Option<&'a dyn TableLike> {
    parent.get(key).and_then(Item::as_table_like)
}

fn text<'a>(parent: &'a dyn TableLike, key: &str) -> Option<&'a str> {
    parent.get(key).and_then(Item::as_str)
}

fn read(source: &Source<'_>, parent: &dyn TableLike, section: &str, manifest: &mut Manifest) {
    let Some(dependencies) = table(parent, section) else { return };
    for (name, item) in dependencies.iter() {
        let key_span = dependencies.key(name).and_then(toml_edit::Key::span);
        let span = key_span.or_else(|| item.span());
        let line = span.map_or(1, |span| source.line(source.offset(span.start)));
        match declaration(source, name, item, line) {
            Some(declaration) => manifest.declarations.push(declaration),
            None => manifest
                .unread
                .push((line, format!("`{}` in [{section}] is neither text nor a table", shown(name)))),
        }
    }
}

fn declaration(source: &Source<'_>, name: &str, item: &Item, line: usize) -> Option<Declaration> {
    if item.is_str() {
        let (requirement, place, line) = requirement(source, item, line);
        return Some(Declaration { package: name.to_owned(), alias: None, line, requirement, place });
    }
    let table = item.as_table_like()?;
    let package = text(table, "package").unwrap_or(name).to_owned();
    let alias = (package != name).then(|| name.to_owned());
    let (requirement, place, line) = match table.get("version") {
        Some(version) => requirement(source, version, line),
        None => (None, Place::Fixed("it has no version".to_owned()), line),
    };
    let foreign = |what: &str| Place::Foreign(format!("it comes from {what}, not from crates.io"));
    let place = if table.get("workspace").and_then(Item::as_bool) == Some(true) {
        Place::Elsewhere(name.to_owned())
    } else if table.contains_key("git") {
        foreign("a git repository")
    } else if table.contains_key("path") {
        foreign("a path")
    } else if table.contains_key("registry") || table.contains_key("registry-index") {
        foreign("another registry")
    } else {
        place
    };
    Some(Declaration { package, alias, line, requirement, place })
}

/// The text of a requirement, its place and its line.
fn requirement(source: &Source<'_>, item: &Item, line: usize) -> (Option<String>, Place, usize) {
    let Some(value) = item.as_str() else {
        return (None, Place::Fixed("its version is no text".to_owned()), line);
    };
    let span = item.span();
    let line = span.as_ref().map_or(line, |span| source.line(source.offset(span.start)));
    let place = span
        .and_then(|span| source.inside_quotes(&span, value))
        .map_or_else(|| Place::Fixed("its version is written with escapes".to_owned()), Place::At);
    (Some(value.to_owned()), place, line)
}
