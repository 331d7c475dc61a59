//! Diffs: wire → model, as one text, and where in one a line stands.

use std::fmt::Write as _;

use scm_core::pipeline::told;
use scm_core::{DiffSide, FileAction, FileDiff, FileMode, FilePath, Result};

use crate::wire::{WireChange, WireFileDiff, WireHunk, WireLine, WirePath};

/// A changed file, without its lines.
pub(crate) fn change(wire: WireChange) -> Result<FileDiff> {
    let action = match wire.kind.as_str() {
        // A copy is a new file; where it came from is still there.
        "ADD" | "COPY" => FileAction::Added,
        "DELETE" => FileAction::Deleted,
        "MOVE" => FileAction::Renamed,
        _ => FileAction::Modified,
    };
    let mut out = FileDiff::new(told("path", wire.path.into_text())?, action);
    out.old_path = wire.src_path.and_then(|path| FilePath::new(path.into_text()).ok());
    out.mode = match (wire.node_type.as_deref(), wire.executable) {
        (Some("SUBMODULE"), _) => Some(FileMode::Submodule),
        (_, Some(true)) => Some(FileMode::Executable),
        _ => None,
    };
    Ok(out)
}

/// A changed file with its lines.
pub(crate) fn file(wire: WireFileDiff) -> Result<FileDiff> {
    let path = |path: Option<WirePath>| path.map(WirePath::into_text);
    let (old, new) = (path(wire.source), path(wire.destination));
    let action = match (&old, &new) {
        (None, _) => FileAction::Added,
        (Some(_), None) => FileAction::Deleted,
        (Some(old), Some(new)) if old != new => FileAction::Renamed,
        _ => FileAction::Modified,
    };
    let name = new.or_else(|| old.clone()).unwrap_or_default();
    let mut out = FileDiff::new(told("destination", name)?, action);
    if action == FileAction::Renamed {
        out.old_path = old.and_then(|old| FilePath::new(old).ok());
    }
    out.truncated = wire.truncated == Some(true);
    out.diff = (!wire.hunks.is_empty()).then(|| text(&wire.hunks));
    Ok(out)
}

/// Hunks as git writes them, without a header for the file.
fn text(hunks: &[WireHunk]) -> String {
    let mut out = String::new();
    for hunk in hunks {
        let WireHunk { source_line, source_span, destination_line, destination_span, .. } = hunk;
        let head = format_args!("@@ -{source_line},{source_span} +{destination_line},{destination_span} @@");
        // Writing to a text cannot fail.
        let _ = writeln!(out, "{head}");
        for segment in &hunk.segments {
            let mark = match segment.kind.as_str() {
                "ADDED" => '+',
                "REMOVED" => '-',
                _ => ' ',
            };
            for line in &segment.lines {
                out.push(mark);
                out.push_str(&line.line);
                out.push('\n');
            }
        }
    }
    out
}

/// What a line of one side is: `ADDED`, `REMOVED` or `CONTEXT`. Lines between the hunks are context; whether there is
/// such a line only the server knows.
pub(crate) fn line_type(hunks: &[WireHunk], side: DiffSide, number: u32) -> &'static str {
    let (changed, other) = match side {
        DiffSide::Old => ("REMOVED", "ADDED"),
        _ => ("ADDED", "REMOVED"),
    };
    let is_it =
        |line: &WireLine| number == if side == DiffSide::Old { line.source } else { line.destination };
    let segments = hunks.iter().flat_map(|hunk| &hunk.segments).filter(|segment| segment.kind != other);
    let mut found = segments.filter(|segment| segment.lines.iter().any(is_it));
    match found.next() {
        Some(segment) if segment.kind == changed => changed,
        _ => "CONTEXT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff() -> WireFileDiff {
        serde_json::from_str(
            r#"{"source":{"toString":"a/b.txt"},"destination":{"components":["a","c.txt"]},"hunks":[
                {"sourceLine":3,"sourceSpan":3,"destinationLine":3,"destinationSpan":4,"segments":[
                    {"type":"CONTEXT","lines":[{"source":3,"destination":3,"line":"x"}]},
                    {"type":"REMOVED","lines":[{"source":4,"destination":4,"line":"old"}]},
                    {"type":"ADDED","lines":[{"source":5,"destination":4,"line":"new"},{"source":5,"destination":5,"line":""}]},
                    {"type":"CONTEXT","lines":[{"source":5,"destination":6,"line":"y"}]}]}]}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_diff_is_written_as_git_does() {
        let out = file(diff()).unwrap();
        assert_eq!((out.path.as_str(), out.action), ("a/c.txt", FileAction::Renamed));
        assert_eq!(out.old_path.unwrap().as_str(), "a/b.txt");
        assert_eq!(out.diff.unwrap(), "@@ -3,3 +3,4 @@\n x\n-old\n+new\n+\n y\n");
    }

    #[test]
    fn lines_are_what_the_diff_says() {
        let hunks = diff().hunks;
        for (side, number, kind) in [
            (DiffSide::New, 4, "ADDED"),
            (DiffSide::New, 5, "ADDED"),
            (DiffSide::New, 6, "CONTEXT"),
            (DiffSide::New, 100, "CONTEXT"),
            (DiffSide::Old, 4, "REMOVED"),
            (DiffSide::Old, 5, "CONTEXT"),
        ] {
            assert_eq!(line_type(&hunks, side, number), kind, "{side:?} {number}");
        }
    }
}
