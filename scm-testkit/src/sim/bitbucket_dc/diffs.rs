//! Changed files and their lines.

use serde_json::{Value, json};

use crate::sim::repo::{DiffStyle, FileDiff, Repo};

use super::{
    call::Call,
    entities,
    page::cap,
    reply::{Content, Outcome, Reply},
};

/// Unchanged lines around changed ones, unless told otherwise.
const CONTEXT: u32 = 10;

/// What a diff is asked to show.
#[derive(Debug)]
pub(crate) struct Asked {
    path: Option<String>,
    source_path: Option<String>,
    style: DiffStyle,
    text: bool,
}

impl Asked {
    pub(crate) fn of(call: &Call) -> Self {
        let params = &call.params;
        let context = params.int("contextLines").and_then(|n| u32::try_from(n).ok()).unwrap_or(CONTEXT);
        let ignore_space = params.filled("whitespace").is_some_and(|text| text.starts_with("ignore"));
        Self {
            path: Some(call.part("path").to_owned()).filter(|path| !path.is_empty()),
            source_path: params.filled("srcPath").map(str::to_owned),
            style: DiffStyle { context, ignore_space },
            text: call.wants_text,
        }
    }

    fn wants(&self, file: &FileDiff) -> bool {
        self.path.as_ref().is_none_or(|path| {
            *path == file.new_path && self.source_path.as_ref().is_none_or(|source| *source == file.old_path)
        })
    }
}

/// A comment that stands on a line: path, side, line, number.
#[derive(Debug)]
pub(crate) struct Pinned {
    pub(crate) path: String,
    /// On the old side, by its number there.
    pub(crate) old_side: bool,
    pub(crate) line: Option<u64>,
    pub(crate) id: u64,
    pub(crate) json: Value,
}

fn change_kind(file: &FileDiff) -> &'static str {
    match file.status {
        'A' => "ADD",
        'D' => "DELETE",
        'R' => "MOVE",
        'C' => "COPY",
        'M' | 'T' => "MODIFY",
        _ => "UNKNOWN",
    }
}

fn change_json(call: &Call, file: &FileDiff, from: &str, to: &str) -> Value {
    let moved = matches!(file.status, 'R' | 'C');
    let submodule = file.new_mode == "160000" || (file.status == 'D' && file.old_mode == "160000");
    let mut value = json!({
        "contentId": file.new_id,
        "fromContentId": file.old_id,
        "path": entities::path(&file.new_path),
        "executable": file.new_mode == "100755",
        "percentUnchanged": file.similarity.map_or(-1, i64::from),
        "type": change_kind(file),
        "nodeType": if submodule { "SUBMODULE" } else { "FILE" },
        "links": call.inner.self_link(&format!(
            "/projects/{}/repos/{}/compare/diff?sourceBranch={to}&targetBranch={from}#{}",
            call.part("key"), call.part("slug"), file.new_path,
        )),
        "properties": { "gitChangeType": match change_kind(file) { "MOVE" => "RENAME", other => other } },
    });
    if file.status != 'A' {
        entities::extend(&mut value, json!({ "srcExecutable": file.old_mode == "100755" }));
    }
    if moved {
        entities::extend(&mut value, json!({ "srcPath": entities::path(&file.old_path) }));
    }
    value
}

/// A page of changed files.
pub(crate) fn changes(call: &Call, git: &Repo, from: &str, to: &str) -> Outcome {
    let files = git.changed_files(from, to)?;
    let mut reply = call.paged(files, cap::DEFAULT, |file| change_json(call, &file, from, to))?;
    if let Content::Json(page) = &mut reply.body {
        entities::extend(page, json!({ "fromHash": from, "toHash": to }));
    }
    Ok(reply)
}

/// A diff as JSON, cut where the server stops, or as text where that is asked for.
pub(crate) fn diff(
    call: &Call,
    git: &Repo,
    from: &str,
    to: &str,
    asked: &Asked,
    pinned: &[Pinned],
) -> Outcome {
    if asked.text {
        let paths: Vec<&str> =
            [&asked.source_path, &asked.path].into_iter().flatten().map(String::as_str).collect();
        return Ok(Reply::bytes("text/plain;charset=UTF-8", git.patch_of(from, to, asked.style, &paths)?));
    }
    let files = git.diff_in(from, to, asked.style)?;
    let mut left = call.inner.max_diff_lines;
    let mut diffs = Vec::new();
    let mut truncated = false;
    for file in files.iter().filter(|file| asked.wants(file)) {
        let (value, cut) = file_json(file, &mut left, pinned);
        diffs.push(value);
        truncated |= cut;
    }
    Ok(Reply::ok(json!({
        "fromHash": from,
        "toHash": to,
        "contextLines": asked.style.context,
        "whitespace": if asked.style.ignore_space { "IGNORE_ALL" } else { "SHOW" },
        "diffs": diffs,
        "truncated": truncated,
    })))
}

fn file_json(file: &FileDiff, left: &mut usize, pinned: &[Pinned]) -> (Value, bool) {
    let here: Vec<&Pinned> = pinned.iter().filter(|comment| comment.path == file.new_path).collect();
    let mut hunks = Hunks { left, here: &here, list: Vec::new(), cut: false };
    for line in file.hunks.lines() {
        hunks.add(line);
    }
    let (list, cut) = (hunks.list, hunks.cut);
    let side = |there: bool, path: &str| there.then(|| entities::path(path));
    let mut value = json!({
        "source": side(file.status != 'A', &file.old_path),
        "destination": side(file.status != 'D', &file.new_path),
        "truncated": cut,
    });
    if file.binary {
        entities::extend(&mut value, json!({ "binary": true }));
    } else {
        entities::extend(&mut value, json!({ "hunks": list }));
    }
    let of_file: Vec<&Value> =
        here.iter().filter(|comment| comment.line.is_none()).map(|comment| &comment.json).collect();
    let of_lines: Vec<&Value> =
        here.iter().filter(|comment| comment.line.is_some()).map(|comment| &comment.json).collect();
    if !of_file.is_empty() {
        entities::extend(&mut value, json!({ "fileComments": of_file }));
    }
    if !of_lines.is_empty() {
        entities::extend(&mut value, json!({ "lineComments": of_lines }));
    }
    (value, cut)
}

/// Builds hunks of segments of lines.
struct Hunks<'a> {
    left: &'a mut usize,
    here: &'a [&'a Pinned],
    list: Vec<Value>,
    cut: bool,
}

impl Hunks<'_> {
    fn add(&mut self, line: &str) {
        if let Some(range) = line.strip_prefix("@@ ") {
            if *self.left == 0 {
                self.cut = true;
                return;
            }
            self.list.push(hunk_head(range));
            return;
        }
        let (kind, text) = match line.split_at_checked(1) {
            Some(("+", text)) => ("ADDED", text),
            Some(("-", text)) => ("REMOVED", text),
            Some(("\\", _)) => return,
            Some((_, text)) => ("CONTEXT", text),
            None => ("CONTEXT", ""),
        };
        let Some(hunk) = self.list.last_mut() else { return };
        if *self.left == 0 {
            self.cut = true;
            hunk["truncated"] = Value::Bool(true);
            return;
        }
        *self.left -= 1;
        // Where the next line of each side is, kept in the hunk until it is done.
        let (source, destination) = next_lines(hunk);
        let mut row = json!({
            "source": source, "destination": destination, "line": text, "truncated": false,
        });
        let ids: Vec<u64> = self
            .here
            .iter()
            .filter(|comment| {
                let number = if comment.old_side { source } else { destination };
                let other_side = if comment.old_side { "ADDED" } else { "REMOVED" };
                comment.line == Some(number) && kind != other_side
            })
            .map(|comment| comment.id)
            .collect();
        if !ids.is_empty() {
            entities::extend(&mut row, json!({ "commentIds": ids }));
        }
        let Some(segments) = hunk.get_mut("segments").and_then(Value::as_array_mut) else { return };
        if segments.last().is_none_or(|last| last["type"] != kind) {
            segments.push(json!({ "type": kind, "lines": [], "truncated": false }));
        }
        if let Some(lines) =
            segments.last_mut().and_then(|last| last.get_mut("lines")).and_then(Value::as_array_mut)
        {
            lines.push(row);
        }
    }
}

/// The numbers of the next line: behind the last one of the hunk.
fn next_lines(hunk: &Value) -> (u64, u64) {
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let last = hunk["segments"].as_array().and_then(|segments| segments.last());
    let Some((kind, line)) =
        last.and_then(|last| Some((last["type"].as_str()?, last["lines"].as_array()?.last()?)))
    else {
        return (number(&hunk["sourceLine"]), number(&hunk["destinationLine"]));
    };
    let (source, destination) = (number(&line["source"]), number(&line["destination"]));
    (source + u64::from(kind != "ADDED"), destination + u64::from(kind != "REMOVED"))
}

/// `-3,4 +5,6 @@ fn context` as a hunk without lines.
fn hunk_head(range: &str) -> Value {
    let mut sides = range.split(' ').map(|side| {
        let mut numbers =
            side.trim_start_matches(['-', '+']).split(',').map(|n| n.parse::<u64>().unwrap_or(0));
        let line = numbers.next().unwrap_or(0);
        (line, numbers.next().unwrap_or(1))
    });
    let (old, new) = (sides.next().unwrap_or_default(), sides.next().unwrap_or_default());
    let context = range.split_once("@@").map_or("", |(_, text)| text.trim_start());
    let mut value = json!({
        "sourceLine": old.0, "sourceSpan": old.1, "destinationLine": new.0, "destinationSpan": new.1,
        "segments": [], "truncated": false,
    });
    if !context.is_empty() {
        entities::extend(&mut value, json!({ "context": context }));
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_numbered_on_both_sides() {
        let file = FileDiff {
            old_path: "a".to_owned(),
            new_path: "a".to_owned(),
            old_mode: "100644".to_owned(),
            new_mode: "100644".to_owned(),
            old_id: String::new(),
            new_id: String::new(),
            status: 'M',
            similarity: None,
            binary: false,
            hunks: "@@ -3,3 +3,4 @@ fn x\n a\n-b\n+c\n+d\n e\n".to_owned(),
        };
        let (value, cut) = file_json(&file, &mut 100, &[]);
        let numbers: Vec<(String, u64, u64)> = value["hunks"][0]["segments"]
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|segment| {
                let kind = segment["type"].as_str().unwrap().to_owned();
                segment["lines"].as_array().unwrap().iter().map(move |line| {
                    (kind.clone(), line["source"].as_u64().unwrap(), line["destination"].as_u64().unwrap())
                })
            })
            .collect();
        let expected =
            [("CONTEXT", 3, 3), ("REMOVED", 4, 4), ("ADDED", 5, 4), ("ADDED", 5, 5), ("CONTEXT", 5, 6)];
        assert_eq!(numbers, expected.map(|(kind, a, b)| (kind.to_owned(), a, b)));
        assert!(!cut);
        let (value, cut) = file_json(&file, &mut 2, &[]);
        assert!(cut && value["truncated"] == true && value["hunks"][0]["truncated"] == true);
    }
}
