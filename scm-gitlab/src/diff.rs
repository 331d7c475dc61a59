//! Diffs: wire → model, as one text, and where in one a line stands.

use std::fmt::Write as _;

use scm_core::pipeline::told;
use scm_core::{DiffSide, FileAction, FileDiff, FileMode, FilePath, LineRange, Result};
use sha1::{Digest as _, Sha1};

use crate::wire::{WireDiff, WireNewLine, WireNewRange};

pub(crate) fn file(wire: WireDiff) -> Result<FileDiff> {
    let action = match (wire.new_file, wire.deleted_file, wire.renamed_file) {
        (true, ..) => FileAction::Added,
        (_, true, _) => FileAction::Deleted,
        (.., true) => FileAction::Renamed,
        _ => FileAction::Modified,
    };
    let path = if action == FileAction::Deleted { &wire.old_path } else { &wire.new_path };
    let mut out = FileDiff::new(told("new_path", path.as_str())?, action);
    if wire.old_path != *path {
        out.old_path = FilePath::new(&wire.old_path).ok();
    }
    if action != FileAction::Deleted {
        out.mode = wire.b_mode.as_deref().and_then(FileMode::from_octal);
    }
    out.truncated = wire.too_large == Some(true) || wire.collapsed == Some(true);
    out.diff = wire.diff.starts_with("@@").then_some(wire.diff);
    Ok(out)
}

/// A file's diff with the header that git writes, so that tools can apply it.
pub(crate) fn text(wire: &WireDiff) -> String {
    let (old, new) = (&wire.old_path, &wire.new_path);
    let mut out = format!("diff --git a/{old} b/{new}\n");
    let (a_mode, b_mode) =
        (wire.a_mode.as_deref().unwrap_or("100644"), wire.b_mode.as_deref().unwrap_or("100644"));
    // Writing into a String cannot fail.
    let _ = match (wire.new_file, wire.deleted_file) {
        (true, _) => writeln!(out, "new file mode {b_mode}"),
        (_, true) => writeln!(out, "deleted file mode {a_mode}"),
        _ if a_mode != b_mode => writeln!(out, "old mode {a_mode}\nnew mode {b_mode}"),
        _ => Ok(()),
    };
    if wire.renamed_file {
        let _ = writeln!(out, "rename from {old}\nrename to {new}");
    }
    if wire.diff.starts_with("@@") {
        let before = if wire.new_file { "/dev/null".to_owned() } else { format!("a/{old}") };
        let after = if wire.deleted_file { "/dev/null".to_owned() } else { format!("b/{new}") };
        let _ = writeln!(out, "--- {before}\n+++ {after}");
    }
    out.push_str(&wire.diff);
    if !wire.diff.is_empty() && !wire.diff.ends_with('\n') {
        out.push('\n');
    }
    out
}

/// A line of a file in a diff. Both numbers are always set: that of the side a line is missing on is where it would
/// stand, which GitLab's line codes want to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    kind: LineKind,
    old: u32,
    new: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineKind {
    Added,
    Removed,
    Same,
}

impl Line {
    /// A line of a file of whose diff nothing is known: the server is to judge it.
    pub(crate) fn unknown(side: DiffSide, line: u32) -> Self {
        let kind = if side == DiffSide::New { LineKind::Added } else { LineKind::Removed };
        Self { kind, old: line, new: line }
    }

    /// The line of this number on `side`. Lines between the hunks are unchanged.
    pub(crate) fn find(hunks: &str, side: DiffSide, wanted: u32) -> Self {
        // The numbers of the next line on either side, outside of hunks.
        let (mut old, mut new) = (1_u32, 1_u32);
        let mut lines = hunks.lines().peekable();
        while let Some(header) = lines.next() {
            let Some([old_start, old_count, new_start, new_count]) = hunk_header(header) else { continue };
            let gap_ends = if side == DiffSide::New { new_start } else { old_start };
            if wanted < gap_ends {
                break;
            }
            let (mut at_old, mut at_new) = (old_start, new_start);
            while let Some(line) = lines.next_if(|line| !line.starts_with("@@")) {
                let (kind, on_old, on_new) = match line.as_bytes().first() {
                    Some(b'+') => (LineKind::Added, 0, 1),
                    Some(b'-') => (LineKind::Removed, 1, 0),
                    Some(b'\\') => continue,
                    _ => (LineKind::Same, 1, 1),
                };
                let here = match side {
                    DiffSide::New => on_new == 1 && at_new == wanted,
                    _ => on_old == 1 && at_old == wanted,
                };
                if here {
                    return Self { kind, old: at_old, new: at_new };
                }
                at_old = at_old.saturating_add(on_old);
                at_new = at_new.saturating_add(on_new);
            }
            // A hunk without lines on one side names the line before it.
            old = old_start.saturating_add(old_count.max(1));
            new = new_start.saturating_add(new_count.max(1));
        }
        let other = |wanted: u32, from: u32, to: u32| wanted.saturating_sub(from).saturating_add(to);
        match side {
            DiffSide::New => Self { kind: LineKind::Same, old: other(wanted, new, old), new: wanted },
            _ => Self { kind: LineKind::Same, old: wanted, new: other(wanted, old, new) },
        }
    }

    /// The number on the old side, for a line that is there.
    pub(crate) fn old_line(self) -> Option<u32> {
        (self.kind != LineKind::Added).then_some(self.old)
    }

    /// The number on the new side, for a line that is there.
    pub(crate) fn new_line(self) -> Option<u32> {
        (self.kind != LineKind::Removed).then_some(self.new)
    }

    fn wire(self, path: &str) -> WireNewLine {
        WireNewLine {
            line_code: format!("{:x}_{}_{}", Sha1::digest(path), self.old, self.new),
            kind: if self.kind == LineKind::Added { "new" } else { "old" },
            old_line: self.old_line(),
            new_line: self.new_line(),
        }
    }
}

/// First and last line of a comment on several lines.
pub(crate) fn range(path: &str, start: Line, end: Line) -> WireNewRange {
    WireNewRange { start: start.wire(path), end: end.wire(path) }
}

/// First and last line of what is commented on.
pub(crate) fn ends(hunks: Option<&str>, lines: LineRange) -> (Line, Line) {
    let find = |line| match hunks {
        Some(hunks) => Line::find(hunks, lines.side, line),
        None => Line::unknown(lines.side, line),
    };
    (find(lines.start), find(lines.end))
}

/// Start and count on the old side, start and count on the new side of `@@ -1,2 +3,4 @@`; a count of 1 is left out.
fn hunk_header(line: &str) -> Option<[u32; 4]> {
    let rest = line.strip_prefix("@@ -")?;
    let (ranges, _) = rest.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let range = |text: &str| -> Option<(u32, u32)> {
        match text.split_once(',') {
            Some((start, count)) => Some((start.parse().ok()?, count.parse().ok()?)),
            None => Some((text.parse().ok()?, 1)),
        }
    };
    let ((old_start, old_count), (new_start, new_count)) = (range(old)?, range(new)?);
    Some([old_start, old_count, new_start, new_count])
}

#[cfg(test)]
mod tests {
    use super::*;

    const HUNKS: &str = "@@ -2,3 +2,4 @@ fn x()\n two\n-three\n+drei\n+mehr\n four\n\
                         @@ -20 +21 @@\n-twenty\n+zwanzig\n\\ No newline at end of file\n";

    fn at(side: DiffSide, line: u32) -> (LineKind, u32, u32) {
        let found = Line::find(HUNKS, side, line);
        (found.kind, found.old, found.new)
    }

    #[test]
    fn lines_are_found_on_both_sides() {
        use DiffSide::{New, Old};
        use LineKind::{Added, Removed, Same};
        for (side, line, found) in [
            (New, 1, (Same, 1, 1)),
            (New, 2, (Same, 2, 2)),
            (New, 3, (Added, 4, 3)),
            (New, 4, (Added, 4, 4)),
            (New, 5, (Same, 4, 5)),
            (New, 6, (Same, 5, 6)),
            (New, 20, (Same, 19, 20)),
            (New, 21, (Added, 21, 21)),
            (New, 30, (Same, 29, 30)),
            (Old, 3, (Removed, 3, 3)),
            (Old, 4, (Same, 4, 5)),
            (Old, 10, (Same, 10, 11)),
            (Old, 20, (Removed, 20, 21)),
            (Old, 21, (Same, 21, 22)),
        ] {
            assert_eq!(at(side, line), found, "{side:?} {line}");
        }
        let added = Line::find("@@ -0,0 +1,2 @@\n+one\n+two\n", New, 2);
        assert_eq!((added.kind, added.old, added.new), (Added, 0, 2), "as GitLab numbers a new file");
    }

    #[test]
    fn a_range_names_its_ends_by_line_codes() {
        let (start, end) = ends(Some(HUNKS), LineRange::lines(DiffSide::New, 4, 5).unwrap());
        let range = serde_json::to_value(range("a.txt", start, end)).unwrap();
        // SHA-1 of the path, old and new number.
        let code = |rest: &str| format!("cfc7b4885384957ae445bc14914d4588f607651c_{rest}");
        assert_eq!(
            range,
            serde_json::json!({
                "start": { "line_code": code("4_4"), "type": "new", "new_line": 4 },
                "end": { "line_code": code("4_5"), "type": "old", "old_line": 4, "new_line": 5 },
            })
        );
    }

    #[test]
    fn a_text_can_be_applied() {
        let wire = |json: serde_json::Value| serde_json::from_value::<WireDiff>(json).unwrap();
        let renamed = wire(serde_json::json!({
            "old_path": "a", "new_path": "b", "a_mode": "100644", "b_mode": "100755", "diff": "", "renamed_file": true,
        }));
        assert_eq!(
            text(&renamed),
            "diff --git a/a b/b\nold mode 100644\nnew mode 100755\nrename from a\nrename to b\n"
        );
        let new = wire(serde_json::json!({
            "old_path": "n", "new_path": "n", "a_mode": "0", "b_mode": "100644", "diff": "@@ -0,0 +1 @@\n+x", "new_file": true,
        }));
        assert_eq!(
            text(&new),
            "diff --git a/n b/n\nnew file mode 100644\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+x\n"
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_can_be_searched(hunks in "(@@ -[0-9]{1,10}(,[0-9]{1,10})? \\+[0-9]{1,10} @@\n|[-+ \\\\]x\n|.*\n){0,8}", line in 1_u32..) {
            for side in [DiffSide::Old, DiffSide::New] {
                let found = Line::find(&hunks, side, line);
                proptest::prop_assert!(found.old_line() == Some(line) || found.new_line() == Some(line));
            }
        }
    }
}
