//! `package-lock.json`: format 1 with `dependencies`, format 3 with `packages`, format 2 with both.

use std::collections::BTreeMap;

use jsonc_parser::ast::{Object, ObjectProp, StringLit, Value};
use jsonc_parser::common::Ranged;

use super::{Entry, Field, Lock, Origin, Require, json_object};
use crate::analysis::ecosystem::Ecosystem;
use crate::analysis::manifest::Unreadable;
use crate::analysis::text::{Source, join, upward};

const SECTIONS: [&str; 4] = ["dependencies", "devDependencies", "optionalDependencies", "peerDependencies"];

/// Entries by the path of their directory, which is how npm identifies them.
type Installed = BTreeMap<String, Entry>;

pub(super) fn parse(source: &Source<'_>) -> Result<Lock, Unreadable> {
    let root = json_object(source)?;
    let mut installed = Installed::new();
    let mut links = BTreeMap::new();
    for property in root.get_object("packages").into_iter().flat_map(|all| &all.properties) {
        if let Some(object) = property.value.as_object() {
            package(source, property, object, &mut installed, &mut links);
        }
    }
    if let Some(dependencies) = root.get_object("dependencies") {
        legacy(source, dependencies, "", &mut installed);
    }
    // The repository's own package: it is there in format 1 as well, only not written down.
    installed.entry(String::new()).or_insert_with(|| Entry { origin: Origin::Own, ..Entry::default() });

    let numbers: BTreeMap<String, usize> =
        installed.keys().enumerate().map(|(number, path)| (path.clone(), number)).collect();
    for (path, entry) in &mut installed {
        for require in &mut entry.requires {
            require.entry = upward(path).find_map(|dir| {
                let place = join(dir, &format!("node_modules/{}", require.name));
                numbers.get(links.get(&place).unwrap_or(&place)).copied()
            });
        }
    }
    Ok(Lock::new(Ecosystem::Npm, installed.into_iter().collect()))
}

fn package(
    source: &Source<'_>,
    property: &ObjectProp<'_>,
    object: &Object<'_>,
    installed: &mut Installed,
    links: &mut BTreeMap<String, String>,
) {
    let path = property.name.as_str();
    let is = |key: &str| object.get_boolean(key).is_some_and(|flag| flag.value);
    if is("link") {
        // A workspace member: what is installed is the directory it points to.
        if let Some(target) = object.get_string("resolved") {
            links.insert(path.to_owned(), target.value.to_string());
        }
        return;
    }
    let installed_as = path.rsplit_once("node_modules/").map(|(_, name)| name);
    let name = object.get_string("name").map(|name| name.value.to_string());
    let mut entry = read(source, property, object);
    entry.package = name.or_else(|| installed_as.map(str::to_owned)).unwrap_or_default();
    if installed_as.is_none() {
        entry.origin = Origin::Own;
    }
    entry.editable &= !is("inBundle");
    for section in SECTIONS {
        for property in object.get_object(section).into_iter().flat_map(|all| &all.properties) {
            if let Value::StringLit(value) = &property.value {
                require(&mut entry, property.name.as_str(), value.value.as_ref(), field(source, value));
            }
        }
    }
    installed.insert(path.to_owned(), entry);
}

/// The tree of the first format, merged into what `packages` already said about the same directories.
fn legacy(source: &Source<'_>, dependencies: &Object<'_>, parent: &str, installed: &mut Installed) {
    for property in &dependencies.properties {
        let Some(object) = property.value.as_object() else { continue };
        let name = property.name.as_str();
        let path = join(parent, &format!("node_modules/{name}"));
        if let Some(nested) = object.get_object("dependencies") {
            legacy(source, nested, &path, installed);
        }
        let mut entry = read(source, property, object);
        entry.package = name.to_owned();
        if let Some((package, version)) = entry.version.strip_prefix("npm:").and_then(|v| v.rsplit_once('@'))
        {
            // An alias: the literal holds more than the version.
            (entry.package, entry.version) = (package.to_owned(), version.to_owned());
            entry.versions.iter_mut().for_each(|field| {
                field.at += field.text.len() - entry.version.len();
                field.text.clone_from(&entry.version);
            });
        }
        entry.editable &= !object.get_boolean("bundled").is_some_and(|flag| flag.value);
        for property in object.get_object("requires").into_iter().flat_map(|all| &all.properties) {
            if let Value::StringLit(value) = &property.value {
                require(&mut entry, property.name.as_str(), value.value.as_ref(), field(source, value));
            }
        }
        match installed.get_mut(&path) {
            None => {
                installed.insert(path, entry);
            }
            Some(known) => {
                known.editable &= entry.editable && known.version == entry.version;
                known.versions.extend(entry.versions);
                known.resolved.extend(entry.resolved);
                known.integrity.extend(entry.integrity);
            }
        }
    }
}

/// What both formats have in common.
fn read(source: &Source<'_>, property: &ObjectProp<'_>, object: &Object<'_>) -> Entry {
    let text = |key: &str| object.get_string(key).map(|text| text.value.as_ref());
    let fields = |key: &str| -> Vec<Field> {
        object.get_string(key).and_then(|value| field(source, value)).into_iter().collect()
    };
    let version = text("version").unwrap_or_default();
    let foreign = |from: &str| {
        let web = from.starts_with("https://") || from.starts_with("http://");
        !web || (from.ends_with(".git") || from.contains("codeload.github.com"))
    };
    let (versions, integrity) = (fields("version"), fields("integrity"));
    let not_a_version = !version.starts_with("npm:") && version.contains([':', '/']);
    let line =
        versions.first().map_or_else(|| source.line(source.offset(property.start())), |field| field.line);
    Entry {
        version: version.to_owned(),
        line,
        origin: if not_a_version || text("resolved").is_some_and(foreign) {
            Origin::Elsewhere
        } else {
            Origin::Registry
        },
        editable: !versions.is_empty() && !integrity.is_empty(),
        versions,
        integrity,
        resolved: fields("resolved"),
        ..Entry::default()
    }
}

fn require(entry: &mut Entry, name: &str, requirement: &str, field: Option<Field>) {
    let fields = field.into_iter().collect();
    entry.requires.push(Require {
        name: name.to_owned(),
        requirement: Some(requirement.to_owned()),
        fields,
        entry: None,
    });
}

fn field(source: &Source<'_>, literal: &StringLit<'_>) -> Option<Field> {
    let at = source.inside_quotes(&(literal.range.start..literal.range.end), &literal.value)?;
    Some(Field { at, line: source.line(at), text: literal.value.to_string() })
}
