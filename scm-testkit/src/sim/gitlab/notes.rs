//! Notes and discussions of merge requests.

use serde_json::{Value, json};

use crate::sim::repo::DiffLines;

use super::{
    auth::Access,
    call::Call,
    entities,
    merge_requests::{self, Discussion, MergeRequest, Note, discussion_id, find, find_mut},
    reply::{Failure, Outcome, Reply},
    router::Route,
    state::State,
};

pub(crate) const ROUTES: &[Route] = &[
    (
        "GET",
        "/projects/:id/merge_requests/:merge_request_iid/notes",
        Access::Open,
        "sort:enum(asc|desc) order_by:enum(created_at|updated_at) \
         activity_filter:enum(all_notes|only_comments|only_activity) &page",
        list,
    ),
    (
        "POST",
        "/projects/:id/merge_requests/:merge_request_iid/notes",
        Access::Write,
        "body! confidential:bool internal:bool created_at:time merge_request_diff_head_sha",
        create,
    ),
    ("GET", "/projects/:id/merge_requests/:merge_request_iid/notes/:note_id", Access::Open, "", show),
    (
        "PUT",
        "/projects/:id/merge_requests/:merge_request_iid/notes/:note_id",
        Access::Write,
        "body confidential:bool",
        update,
    ),
    ("DELETE", "/projects/:id/merge_requests/:merge_request_iid/notes/:note_id", Access::Write, "", delete),
    (
        "GET",
        "/projects/:id/merge_requests/:merge_request_iid/discussions",
        Access::Open,
        "&page",
        discussions,
    ),
    (
        "POST",
        "/projects/:id/merge_requests/:merge_request_iid/discussions",
        Access::Write,
        "body! position:hash commit_id created_at:time",
        start,
    ),
    (
        "GET",
        "/projects/:id/merge_requests/:merge_request_iid/discussions/:discussion_id",
        Access::Open,
        "",
        discussion,
    ),
    (
        "PUT",
        "/projects/:id/merge_requests/:merge_request_iid/discussions/:discussion_id",
        Access::Write,
        "resolved!:bool",
        resolve,
    ),
    (
        "POST",
        "/projects/:id/merge_requests/:merge_request_iid/discussions/:discussion_id/notes",
        Access::Write,
        "body! created_at:time",
        reply,
    ),
    (
        "PUT",
        "/projects/:id/merge_requests/:merge_request_iid/discussions/:discussion_id/notes/:note_id",
        Access::Write,
        "body resolved:bool",
        update_in_discussion,
    ),
    (
        "DELETE",
        "/projects/:id/merge_requests/:merge_request_iid/discussions/:discussion_id/notes/:note_id",
        Access::Write,
        "",
        delete,
    ),
];

const LONGEST_BODY: usize = 1_000_000;

fn note_json(call: &Call, state: &State, mr: &MergeRequest, discussion: &Discussion, note: &Note) -> Value {
    let resolvable = discussion.resolvable() && !note.system;
    let mut value = json!({
        "id": note.id,
        "type": note.kind,
        "body": note.body,
        "author": entities::user_basic(&call.inner, state, note.author_id),
        "created_at": entities::time(note.created_at),
        "updated_at": entities::time(note.updated_at),
        "system": note.system,
        "noteable_id": mr.id,
        "noteable_type": "MergeRequest",
        "project_id": mr.project_id,
        "resolvable": resolvable,
        "confidential": note.internal,
        "internal": note.internal,
        "imported": false,
        "imported_from": "none",
        "noteable_iid": mr.iid,
        "commands_changes": {},
        "attachment": null,
        "commit_id": null,
    });
    if let Some(position) = &note.position {
        entities::extend(&mut value, json!({ "position": position, "suggestions": [] }));
    }
    if resolvable {
        entities::extend(
            &mut value,
            json!({
                "resolved": note.resolved.is_some(),
                "resolved_by": note.resolved.map(|(user, _)| entities::user_basic(&call.inner, state, user)),
                "resolved_at": note.resolved.map(|(_, at)| entities::time(at)),
            }),
        );
    }
    value
}

fn discussion_json(call: &Call, state: &State, mr: &MergeRequest, discussion: &Discussion) -> Value {
    let notes = discussion.notes.iter().map(|note| note_json(call, state, mr, discussion, note));
    json!({
        "id": discussion.id,
        "individual_note": discussion.individual,
        "notes": notes.collect::<Vec<_>>(),
    })
}

fn located(mr: &MergeRequest, id: u64) -> Option<(&Discussion, &Note)> {
    mr.discussions.iter().find_map(|d| d.notes.iter().find(|note| note.id == id).map(|note| (d, note)))
}

fn list(call: &Call) -> Outcome {
    let state = call.state();
    let mr = find(call, &state)?;
    let filter = call.params.text("activity_filter").unwrap_or("all_notes");
    let mut found: Vec<(&Discussion, &Note)> = mr
        .discussions
        .iter()
        .flat_map(|discussion| discussion.notes.iter().map(move |note| (discussion, note)))
        .filter(|(_, note)| match filter {
            "only_comments" => !note.system,
            "only_activity" => note.system,
            _ => true,
        })
        .collect();
    match call.params.text("order_by") {
        Some("updated_at") => found.sort_by_key(|(_, note)| (note.updated_at, note.id)),
        _ => found.sort_by_key(|(_, note)| (note.created_at, note.id)),
    }
    if call.params.text("sort") != Some("asc") {
        found.reverse();
    }
    call.paged(found, |(discussion, note)| note_json(call, &state, mr, discussion, note))
}

fn show(call: &Call) -> Outcome {
    let id = call.number("note_id")?;
    let state = call.state();
    let mr = find(call, &state)?;
    let (discussion, note) = located(mr, id).ok_or_else(Failure::no_record)?;
    Ok(Reply::ok(note_json(call, &state, mr, discussion, note)))
}

/// Who sees a merge request may comment; on archived projects nobody may.
fn may_comment(call: &Call) -> Result<u64, Failure> {
    let user = call.user()?;
    let level = call.level();
    let state = call.state();
    let project = call.project_in(&state)?;
    let locked = find(call, &state)?.discussion_locked == Some(true);
    let public = project.visibility != super::types::Visibility::Private;
    if project.archived || (level == 0 && !public) || (locked && level == 0) {
        return Err(Failure::forbidden());
    }
    Ok(user)
}

fn body(call: &Call) -> Result<String, Failure> {
    let body = call.params.text("body").unwrap_or_default();
    if body.trim().is_empty() {
        return Err(Failure::bad_request("Note {:note=>[\"can't be blank\"]}"));
    }
    if body.len() > LONGEST_BODY {
        return Err(Failure::bad_request("Note {:note=>[\"is too long (maximum is 1000000 characters)\"]}"));
    }
    Ok(body.to_owned())
}

/// A note to be added.
#[derive(Debug)]
pub(crate) struct NewNote {
    pub(crate) author_id: u64,
    pub(crate) body: String,
    pub(crate) kind: Option<&'static str>,
    pub(crate) internal: bool,
    pub(crate) position: Option<Value>,
}

/// Adds a note, to a discussion or as a new one, and returns its number.
pub(crate) fn add(
    state: &mut State,
    project_id: u64,
    iid: u64,
    discussion: Option<&str>,
    new: NewNote,
    now: jiff::Timestamp,
) -> Option<u64> {
    let id = state.next_id("note");
    let project = state.projects.get_mut(&project_id)?;
    let mr = project.merge_requests.get_mut(&iid)?;
    let note = Note {
        id,
        kind: new.kind,
        body: new.body,
        author_id: new.author_id,
        created_at: now,
        updated_at: now,
        system: false,
        internal: new.internal,
        position: new.position,
        resolved: None,
    };
    match discussion {
        None => mr.discussions.push(Discussion {
            id: discussion_id(id),
            individual: note.kind.is_none(),
            notes: vec![note],
        }),
        Some(wanted) => {
            let thread = mr.discussions.iter_mut().find(|discussion| discussion.id == wanted)?;
            // A plain comment becomes a thread by its first reply.
            if std::mem::take(&mut thread.individual) {
                for note in &mut thread.notes {
                    note.kind.get_or_insert("DiscussionNote");
                }
            }
            let kind = thread.notes.first().and_then(|first| first.kind).or(Some("DiscussionNote"));
            let position = thread.notes.first().and_then(|first| first.position.clone());
            thread.notes.push(Note { kind, position, ..note });
        }
    }
    mr.updated_at = now;
    project.last_activity_at = now;
    Some(id)
}

fn create(call: &Call) -> Outcome {
    let user = may_comment(call)?;
    let body = body(call)?;
    let iid = call.number("merge_request_iid")?;
    if let Some(done) = quick_actions(call, &body, user, iid)? {
        return Ok(done);
    }
    let internal = call.params.flag("internal") || call.params.flag("confidential");
    let new = NewNote { author_id: user, body, kind: None, internal, position: None };
    let mut state = call.state();
    let now = call.inner.clock.now();
    let id = add(&mut state, call.project_id(), iid, None, new, now).ok_or_else(Failure::nothing_here)?;
    let mr = find(call, &state)?;
    let (discussion, note) = located(mr, id).ok_or_else(Failure::nothing_here)?;
    Ok(Reply::created(note_json(call, &state, mr, discussion, note)))
}

/// A body of nothing but quick actions leaves no note.
fn quick_actions(call: &Call, body: &str, user: u64, iid: u64) -> Result<Option<Reply>, Failure> {
    if !body.lines().all(|line| matches!(line.trim(), "/close" | "/reopen")) {
        return Ok(None);
    }
    let now = call.inner.clock.now();
    let mut state = call.state();
    let mut summary = Vec::new();
    for line in body.lines() {
        if line.trim() == "/close" && merge_requests::close_as(&mut state, call.project_id(), iid, user, now)
        {
            summary.push("Closed this merge request.");
        } else if line.trim() == "/reopen" {
            let mr = find_mut(call, &mut state)?;
            if mr.state == "closed" {
                mr.state = "opened";
                mr.closed = None;
                summary.push("Reopened this merge request.");
            }
        }
    }
    let changes = json!({ "commands_changes": { "state_event": "close" }, "summary": summary });
    Ok(Some(Reply::json(202, changes)))
}

/// Own notes, and everyone's for maintainers.
fn may_change(call: &Call, id: u64) -> Result<u64, Failure> {
    let user = may_comment(call)?;
    let level = call.level();
    let state = call.state();
    let (_, note) = located(find(call, &state)?, id).ok_or_else(Failure::no_record)?;
    if note.system || (note.author_id != user && level < 40) { Err(Failure::forbidden()) } else { Ok(user) }
}

fn note_mut(mr: &mut MergeRequest, id: u64) -> Option<&mut Note> {
    mr.discussions.iter_mut().flat_map(|discussion| &mut discussion.notes).find(|note| note.id == id)
}

fn update(call: &Call) -> Outcome {
    let id = call.number("note_id")?;
    may_change(call, id)?;
    let text = body(call)?;
    let now = call.inner.clock.now();
    let mut state = call.state();
    let note = note_mut(find_mut(call, &mut state)?, id).ok_or_else(Failure::nothing_here)?;
    note.body = text;
    note.updated_at = now;
    drop(state);
    show(call)
}

fn delete(call: &Call) -> Outcome {
    let id = call.number("note_id")?;
    may_change(call, id)?;
    let mut state = call.state();
    let mr = find_mut(call, &mut state)?;
    for discussion in &mut mr.discussions {
        discussion.notes.retain(|note| note.id != id);
    }
    mr.discussions.retain(|discussion| !discussion.notes.is_empty());
    Ok(Reply::no_content())
}

fn discussions(call: &Call) -> Outcome {
    let state = call.state();
    let mr = find(call, &state)?;
    call.paged(mr.discussions.iter().collect(), |discussion| discussion_json(call, &state, mr, discussion))
}

fn thread<'a>(call: &Call, mr: &'a MergeRequest) -> Result<&'a Discussion, Failure> {
    let wanted = call.part("discussion_id");
    let found = mr.discussions.iter().find(|discussion| discussion.id == wanted);
    found.ok_or_else(|| Failure::not_found("Discussion"))
}

fn discussion(call: &Call) -> Outcome {
    let state = call.state();
    let mr = find(call, &state)?;
    Ok(Reply::ok(discussion_json(call, &state, mr, thread(call, mr)?)))
}

fn start(call: &Call) -> Outcome {
    let user = may_comment(call)?;
    let text = body(call)?;
    let iid = call.number("merge_request_iid")?;
    let position = match call.params.get("position") {
        Some(position) => Some(checked_position(call, position)?),
        None => None,
    };
    let kind = if position.is_some() { "DiffNote" } else { "DiscussionNote" };
    let new = NewNote { author_id: user, body: text, kind: Some(kind), internal: false, position };
    let mut state = call.state();
    let now = call.inner.clock.now();
    let id = add(&mut state, call.project_id(), iid, None, new, now).ok_or_else(Failure::nothing_here)?;
    let mr = find(call, &state)?;
    let (discussion, _) = located(mr, id).ok_or_else(Failure::nothing_here)?;
    Ok(Reply::created(discussion_json(call, &state, mr, discussion)))
}

/// The position as it is kept, or what is wrong with it.
fn checked_position(call: &Call, position: &Value) -> Result<Value, Failure> {
    let text = |name: &str| position.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let line = |name: &str| {
        position
            .get(name)
            .and_then(|value| value.as_u64().or_else(|| value.as_str().and_then(|text| text.parse().ok())))
    };
    let missing: Vec<String> = ["base_sha", "start_sha", "head_sha", "position_type"]
        .iter()
        .filter(|name| text(name).is_none())
        .map(|name| format!("position[{name}] is missing"))
        .collect();
    if !missing.is_empty() {
        return Err(Failure::error(400, missing.join(", ")));
    }
    let kind = text("position_type").unwrap_or_default();
    if !["text", "image", "file"].contains(&kind) {
        return Err(Failure::error(400, "position[position_type] does not have a valid value"));
    }
    let (old_path, new_path) = (text("old_path"), text("new_path"));
    let (old_line, new_line) = (line("old_line"), line("new_line"));
    let version = {
        let state = call.state();
        let shas = (text("base_sha"), text("head_sha"), text("start_sha"));
        find(call, &state)?
            .versions
            .iter()
            .find(|version| {
                (Some(version.base.as_str()), Some(version.head.as_str()), Some(version.start.as_str()))
                    == shas
            })
            .cloned()
    };
    // Positions in diffs that the server does not know are kept without being looked at.
    if let (Some(version), "text") = (version, kind) {
        let files = call.repo()?.diff(&version.base, &version.head)?;
        let file = files.iter().find(|file| {
            new_path.is_some_and(|path| path == file.new_path)
                || old_path.is_some_and(|path| path == file.old_path)
        });
        let in_file = match file.zip(new_line) {
            Some((file, line)) if file.status != 'D' => {
                let content = call.repo()?.blob(&file.new_id)?;
                line <= content.split_inclusive(|byte| *byte == b'\n').count() as u64
            }
            _ => true,
        };
        let fits = old_path.is_some()
            && new_path.is_some()
            && in_file
            && file.is_some_and(|file| DiffLines::of(&file.hunks).accepts(old_line, new_line));
        if !fits {
            let reason = "Note {:line_code=>[\"can't be blank\", \"must be a valid line code\"]}";
            return Err(Failure::bad_request(reason));
        }
    }
    let mut kept = json!({
        "base_sha": text("base_sha"),
        "start_sha": text("start_sha"),
        "head_sha": text("head_sha"),
        "old_path": old_path,
        "new_path": new_path,
        "position_type": kind,
        "old_line": old_line,
        "new_line": new_line,
        "line_range": position.get("line_range"),
    });
    if kind == "image" {
        for name in ["width", "height", "x", "y"] {
            entities::extend(&mut kept, json!({ name: position.get(name) }));
        }
    }
    Ok(kept)
}

fn reply(call: &Call) -> Outcome {
    let user = may_comment(call)?;
    let text = body(call)?;
    let iid = call.number("merge_request_iid")?;
    let wanted = call.part("discussion_id").to_owned();
    let mut state = call.state();
    thread(call, find(call, &state)?)?;
    let new = NewNote { author_id: user, body: text, kind: None, internal: false, position: None };
    let now = call.inner.clock.now();
    let id =
        add(&mut state, call.project_id(), iid, Some(&wanted), new, now).ok_or_else(Failure::nothing_here)?;
    let mr = find(call, &state)?;
    let (discussion, note) = located(mr, id).ok_or_else(Failure::nothing_here)?;
    Ok(Reply::created(note_json(call, &state, mr, discussion, note)))
}

/// The author of the merge request and developers resolve threads.
fn may_resolve(call: &Call) -> Result<u64, Failure> {
    let user = may_comment(call)?;
    let level = call.level();
    let author = find(call, &call.state())?.author_id;
    if level >= 30 || author == user { Ok(user) } else { Err(Failure::forbidden()) }
}

fn resolve(call: &Call) -> Outcome {
    let user = may_resolve(call)?;
    let now = call.inner.clock.now();
    let resolved = call.params.flag("resolved").then_some((user, now));
    {
        let mut state = call.state();
        if !thread(call, find(call, &state)?)?.resolvable() {
            return Err(Failure::forbidden());
        }
        let wanted = call.part("discussion_id");
        let mr = find_mut(call, &mut state)?;
        for discussion in mr.discussions.iter_mut().filter(|discussion| discussion.id == wanted) {
            for note in &mut discussion.notes {
                note.resolved = resolved;
            }
        }
    }
    discussion(call)
}

fn update_in_discussion(call: &Call) -> Outcome {
    let (text, resolved) = (call.params.has("body"), call.params.bool("resolved"));
    match (text, resolved) {
        (true, None) => update(call),
        (false, Some(resolved)) => {
            let user = may_resolve(call)?;
            let id = call.number("note_id")?;
            let now = call.inner.clock.now();
            let mut state = call.state();
            let note = note_mut(find_mut(call, &mut state)?, id).ok_or_else(Failure::no_record)?;
            note.resolved = resolved.then_some((user, now));
            drop(state);
            show(call)
        }
        _ => Err(Failure::error(400, "body, resolved are missing, exactly one parameter must be provided")),
    }
}
