//! `requirements.txt`: PEP 508 requirements with pip's options, comments and line continuations.
//!
//! Read by hand: what is needed is the place of the version, which no parser of PEP 508 gives.

use super::{Declaration, Manifest, Place};
use crate::analysis::ecosystem::Ecosystem;
use crate::analysis::requirement::Requirement;
use crate::analysis::text::{Source, shown};

pub(super) fn parse(source: &Source<'_>) -> Manifest {
    let mut manifest = Manifest::default();
    for (at, line) in logical_lines(source) {
        let text = without_comment(&line);
        let requirement = text.trim();
        // Options such as `-r base.txt` and paths or addresses of archives name no package.
        let names_none = requirement.starts_with(['-', '.', '/']) || is_address(requirement);
        if requirement.is_empty() || names_none {
            continue;
        }
        let at = at + text.len() - text.trim_start().len();
        let number = source.line(at);
        match declaration(requirement, at, number) {
            Ok(declaration) => manifest.declarations.push(declaration),
            Err(reason) => manifest.unread.push((number, reason)),
        }
    }
    manifest
}

/// Lines joined where one ends with a backslash. Each such end is replaced by as many spaces, so that offsets hold.
fn logical_lines(source: &Source<'_>) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut at = source.offset(0);
    let mut continued = false;
    for physical in source.body().split_inclusive('\n') {
        let content = physical.trim_end_matches(['\n', '\r']);
        let backslash = content.ends_with('\\') && !content.trim_start().starts_with('#');
        let mut text = content.strip_suffix('\\').filter(|_| backslash).unwrap_or(content).to_owned();
        if backslash {
            text.extend(std::iter::repeat_n(' ', physical.len() - text.len()));
        }
        match lines.last_mut() {
            Some((_, open)) if continued => open.push_str(&text),
            _ => lines.push((at, text)),
        }
        continued = backslash;
        at += physical.len();
    }
    lines
}

/// pip's rule: a `#` at the start or after a space.
fn without_comment(line: &str) -> &str {
    let mut before = None;
    for (at, c) in line.char_indices() {
        if c == '#' && before.is_none_or(char::is_whitespace) {
            return &line[..at];
        }
        before = Some(c);
    }
    line
}

/// `name @ address` is no such: that has a space or an `@` before the scheme's end.
fn is_address(requirement: &str) -> bool {
    let first = requirement.split([' ', '\t', ';']).next().unwrap_or_default();
    first.split_once("://").is_some_and(|(scheme, _)| scheme.bytes().all(is_scheme_byte))
        || [".whl", ".tar.gz", ".zip"].iter().any(|end| first.ends_with(end))
}

const fn is_scheme_byte(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.')
}

fn declaration(text: &str, at: usize, line: usize) -> Result<Declaration, String> {
    // Options of one requirement, such as `--hash=sha256:...`, follow it after a space.
    let options_at = text.match_indices("--").map(|(i, _)| i).find(|i| text[..*i].ends_with([' ', '\t']));
    let (requirement, options) = text.split_at(options_at.unwrap_or(text.len()));
    let (name, rest) = take_name(requirement)
        .ok_or_else(|| format!("expected the name of a package, found `{}`", shown(requirement)))?;
    let package = Ecosystem::PyPi.normalise(name);
    let declared = |requirement, place| Declaration { package, alias: None, line, requirement, place };
    let rest =
        skip_extras(rest).ok_or_else(|| format!("unreadable extras of `{}`", shown(name)))?.trim_start();
    if rest.starts_with('@') {
        return Ok(declared(None, Place::Foreign("it comes from an address, not from PyPI".to_owned())));
    }
    // What follows the semicolon is the marker, which only says where the requirement counts.
    let specifiers = rest.split(';').next().unwrap_or_default().trim_end();
    let specifiers = match specifiers.strip_prefix('(') {
        Some(inner) => {
            let inner = inner.strip_suffix(')');
            inner.ok_or_else(|| format!("unclosed bracket after `{}`", shown(name)))?
        }
        None => specifiers,
    };
    let start = requirement.len() - rest.len() + usize::from(rest.starts_with('('));
    let start = start + specifiers.len() - specifiers.trim_start().len();
    let specifiers = specifiers.trim();
    if specifiers.is_empty() {
        return Ok(declared(None, Place::Fixed("no version is named".to_owned())));
    }
    if let Err(reason) = Requirement::parse(Ecosystem::PyPi, specifiers) {
        return Err(format!("`{}`: {reason}", shown(name)));
    }
    let place = if options.contains("--hash") { Place::Hashed } else { Place::At(at + start) };
    Ok(declared(Some(specifiers.to_owned()), place))
}

/// The name at the start: letters, digits and, not at its ends, `.`, `-` and `_`.
fn take_name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    let edge = |c: char| c.is_ascii_alphanumeric();
    (name.starts_with(edge) && name.ends_with(edge)).then_some((name, rest))
}

/// What follows the extras, if there are any.
fn skip_extras(text: &str) -> Option<&str> {
    let Some(inside) = text.trim_start().strip_prefix('[') else { return Some(text) };
    let (extras, rest) = inside.split_once(']')?;
    let valid = |extra: &str| take_name(extra.trim()).is_some_and(|(_, rest)| rest.is_empty());
    (extras.trim().is_empty() || extras.split(',').all(valid)).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        let text = "# all of it\n-r base.txt\n--index-url https://example.com\n\
            jinja2==2.11.2  # templates\nrequests[security, socks] >= 2.3 , <3 ; python_version >= \"3.8\"\n\
            Zope.Interface (~=5.0)\nplain\n./local\ngit+https://example.com/x.git#egg=x\n\
            urllib3 @ https://example.com/urllib3.tar.gz\nx.whl\n\
            flask==1.0 \\\n    --hash=sha256:00 \\\n    --hash=sha256:11\nbad==\n\
            a#b\nre.\nx ==1.0é\ny[a,] ==1\nz[a (==1\n( ==1\n";
        let source = Source::new(text);
        let manifest = parse(&source);
        let read: Vec<_> = manifest
            .declarations
            .iter()
            .map(|d| {
                if let (Place::At(at), Some(requirement)) = (&d.place, &d.requirement) {
                    assert!(text[*at..].starts_with(requirement.as_str()));
                }
                (d.package.as_str(), d.line, d.requirement.as_deref(), matches!(d.place, Place::At(_)))
            })
            .collect();
        assert_eq!(
            read,
            [
                ("jinja2", 4, Some("==2.11.2"), true),
                ("requests", 5, Some(">= 2.3 , <3"), true),
                ("zope-interface", 6, Some("~=5.0"), true),
                ("plain", 7, None, false),
                ("urllib3", 10, None, false),
                ("flask", 12, Some("==1.0"), false),
            ]
        );
        assert_eq!(
            manifest.unread.iter().map(|(line, _)| *line).collect::<Vec<_>>(),
            [15, 16, 17, 18, 19, 20, 21]
        );
    }
}
