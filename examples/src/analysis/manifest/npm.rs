//! `package.json`.

use jsonc_parser::ast::{Object, StringLit, Value};
use jsonc_parser::common::Ranged;

use super::{Declaration, Manifest, Place, Unreadable};
use crate::analysis::lock::json_object;
use crate::analysis::text::{Source, shown};

const SECTIONS: [&str; 3] = ["dependencies", "devDependencies", "optionalDependencies"];

pub(super) fn parse(source: &Source<'_>) -> Result<Manifest, Unreadable> {
    let root = json_object(source)?;
    let mut manifest =
        Manifest { name: root.get_string("name").map(|name| name.value.to_string()), ..Manifest::default() };
    for section in SECTIONS {
        if let Some(dependencies) = root.get_object(section) {
            read(source, section, dependencies, &mut manifest);
        }
    }
    Ok(manifest)
}

fn read(source: &Source<'_>, section: &str, dependencies: &Object<'_>, manifest: &mut Manifest) {
    for property in &dependencies.properties {
        let name = property.name.as_str();
        let line = source.line(source.offset(property.start()));
        match &property.value {
            Value::StringLit(value) => manifest.declarations.push(declaration(source, name, value, line)),
            _ => manifest.unread.push((line, format!("`{}` in `{section}` is no text", shown(name)))),
        }
    }
}

fn declaration(source: &Source<'_>, name: &str, literal: &StringLit<'_>, line: usize) -> Declaration {
    let value = literal.value.as_ref();
    let place = source
        .inside_quotes(&(literal.range.start..literal.range.end), value)
        .map_or_else(|| Place::Fixed("its version is written with escapes".to_owned()), Place::At);
    let package = name.to_owned();
    if let Some(aliased) = value.strip_prefix("npm:") {
        // The first character may be the @ of a scope.
        let split = aliased.char_indices().skip(1).find(|(_, c)| *c == '@').map(|(at, _)| at);
        let (package, requirement) = match split {
            Some(at) => (&aliased[..at], Some(&aliased[at + 1..])),
            None => (aliased, None),
        };
        let before = value.len() - requirement.map_or(0, str::len);
        let place = match place {
            Place::At(at) => Place::At(at + before),
            other => other,
        };
        return Declaration {
            package: package.to_owned(),
            alias: (package != name).then(|| name.to_owned()),
            line,
            requirement: requirement.map(str::to_owned),
            place,
        };
    }
    // Tags and versions have neither, all other forms (URLs, paths, protocols, user/repository) have one.
    if value.contains(['/', ':']) {
        let reason = format!("it comes from `{}`, not from the registry", shown(value));
        return Declaration { package, alias: None, line, requirement: None, place: Place::Foreign(reason) };
    }
    Declaration { package, alias: None, line, requirement: Some(value.to_owned()), place }
}
