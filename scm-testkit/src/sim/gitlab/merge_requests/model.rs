//! The state of a merge request, its shapes, and what a moved branch does to it.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::sim::{
    gitlab::{
        Inner,
        call::Call,
        ci::{self, NewPipeline},
        entities,
        reply::Failure,
        state::{Project, State},
    },
    repo::Repo,
};

#[derive(Debug)]
pub(crate) struct MergeRequest {
    pub(crate) id: u64,
    pub(crate) iid: u64,
    pub(crate) project_id: u64,
    pub(crate) source_project_id: u64,
    pub(crate) source_branch: String,
    pub(crate) target_branch: String,
    pub(crate) title: String,
    pub(crate) description: Option<String>,
    /// `opened`, `closed` or `merged`.
    pub(crate) state: &'static str,
    pub(crate) author_id: u64,
    pub(crate) assignees: Vec<u64>,
    pub(crate) reviewers: Vec<u64>,
    pub(crate) labels: Vec<String>,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) merged: Option<(Timestamp, u64)>,
    pub(crate) closed: Option<(Timestamp, u64)>,
    pub(crate) sha: Option<String>,
    pub(crate) merge_commit_sha: Option<String>,
    pub(crate) squash_commit_sha: Option<String>,
    pub(crate) squash: bool,
    pub(crate) remove_source_branch: bool,
    pub(crate) discussion_locked: Option<bool>,
    pub(crate) allow_collaboration: bool,
    pub(crate) auto_merge: Option<AutoMerge>,
    pub(crate) merge_error: Option<String>,
    pub(crate) versions: Vec<Version>,
    pub(crate) discussions: Vec<Discussion>,
    pub(crate) approvals: Vec<(u64, Timestamp)>,
    /// Reads that still say `checking`.
    pub(crate) checking: u32,
    pub(crate) conflict: bool,
    /// The target has commits that the source lacks.
    pub(crate) behind: bool,
    pub(crate) rebase: Option<Rebase>,
}

/// A merge that waits for the pipeline.
#[derive(Debug, Clone)]
pub(crate) struct AutoMerge {
    pub(crate) user_id: u64,
    pub(crate) squash: Option<bool>,
    pub(crate) remove_source_branch: Option<bool>,
    pub(crate) message: Option<String>,
    pub(crate) squash_message: Option<String>,
}

/// A rebase that is not seen to be over yet.
#[derive(Debug, Clone)]
pub(crate) struct Rebase {
    pub(crate) reads_left: u32,
    pub(crate) user_id: u64,
    pub(crate) skip_ci: bool,
}

/// One state of the diff.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    pub(crate) id: u64,
    pub(crate) base: String,
    pub(crate) head: String,
    pub(crate) start: String,
    pub(crate) created_at: Timestamp,
    pub(crate) files: usize,
}

#[derive(Debug)]
pub(crate) struct Discussion {
    pub(crate) id: String,
    pub(crate) individual: bool,
    pub(crate) notes: Vec<Note>,
}

#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) id: u64,
    /// `None`, `DiscussionNote` or `DiffNote`.
    pub(crate) kind: Option<&'static str>,
    pub(crate) body: String,
    pub(crate) author_id: u64,
    pub(crate) created_at: Timestamp,
    pub(crate) updated_at: Timestamp,
    pub(crate) system: bool,
    pub(crate) internal: bool,
    pub(crate) position: Option<Value>,
    pub(crate) resolved: Option<(u64, Timestamp)>,
}

impl MergeRequest {
    pub(crate) fn draft(&self) -> bool {
        let title = self.title.to_lowercase();
        ["draft:", "[draft]", "(draft)"].iter().any(|prefix| title.starts_with(prefix))
    }

    pub(crate) fn base_sha(&self) -> Option<&str> {
        self.versions.last().map(|version| version.base.as_str())
    }

    pub(crate) fn notes(&self) -> impl Iterator<Item = &Note> {
        self.discussions.iter().flat_map(|discussion| &discussion.notes)
    }

    pub(crate) fn resolved_all(&self) -> bool {
        self.discussions
            .iter()
            .filter(|d| d.resolvable())
            .all(|d| d.notes.iter().all(|note| note.resolved.is_some()))
    }

    /// The reason why it cannot be merged, or `mergeable`. CI counts last.
    pub(crate) fn detailed_status(&self, state: &State) -> &'static str {
        let Some(project) = state.projects.get(&self.project_id) else { return "checking" };
        if self.state != "opened" {
            return "not_open";
        }
        if self.checking > 0 {
            return "checking";
        }
        let settings = &project.settings;
        let approvals = u32::try_from(self.approvals.len()).unwrap_or(u32::MAX);
        if self.sha.is_none() {
            return "commits_status";
        }
        if self.conflict {
            return "conflict";
        }
        if self.draft() {
            return "draft_status";
        }
        if settings.discussions_must_be_resolved && !self.resolved_all() {
            return "discussions_not_resolved";
        }
        if approvals < settings.approvals_required {
            return "not_approved";
        }
        if settings.merge_method != "merge" && self.behind {
            return "need_rebase";
        }
        if settings.pipeline_must_succeed {
            return match self.head_pipeline(state).map(|pipeline| pipeline.status.as_str()) {
                Some("success") => "mergeable",
                Some("failed" | "canceled" | "skipped") | None => "ci_must_pass",
                Some(_) => "ci_still_running",
            };
        }
        "mergeable"
    }

    pub(crate) fn head_pipeline<'a>(&self, state: &'a State) -> Option<&'a ci::Pipeline> {
        let sha = self.sha.as_deref()?;
        ci::newest(state, self.project_id, sha).or_else(|| ci::newest(state, self.source_project_id, sha))
    }
}

impl Discussion {
    pub(crate) fn resolvable(&self) -> bool {
        !self.individual && self.notes.iter().any(|note| !note.system)
    }
}

/// The merge request of the path.
pub(crate) fn find<'a>(call: &Call, state: &'a State) -> Result<&'a MergeRequest, Failure> {
    let iid = call.number("merge_request_iid")?;
    call.project_in(state)?.merge_requests.get(&iid).ok_or_else(Failure::no_record)
}

pub(crate) fn find_mut<'a>(call: &Call, state: &'a mut State) -> Result<&'a mut MergeRequest, Failure> {
    let iid = call.number("merge_request_iid")?;
    call.project_mut(state)?.merge_requests.get_mut(&iid).ok_or_else(Failure::no_record)
}

pub(crate) fn basic_json(inner: &Inner, state: &State, mr: &MergeRequest) -> Value {
    let user = |id: u64| entities::user_basic(inner, state, id);
    let path = entities::path_of(state, mr.project_id);
    let detailed = mr.detailed_status(state);
    let old_status = match detailed {
        "checking" => "checking",
        _ if mr.conflict => "cannot_be_merged",
        _ => "can_be_merged",
    };
    let mut value = json!({
        "id": mr.id,
        "iid": mr.iid,
        "project_id": mr.project_id,
        "title": mr.title,
        "description": mr.description,
        "state": mr.state,
        "created_at": entities::time(mr.created_at),
        "updated_at": entities::time(mr.updated_at),
        "merged_by": mr.merged.map(|(_, id)| user(id)),
        "merge_user": mr.merged.map(|(_, id)| id).or(mr.auto_merge.as_ref().map(|auto| auto.user_id)).map(user),
        "merged_at": mr.merged.map(|(at, _)| entities::time(at)),
        "closed_by": mr.closed.map(|(_, id)| user(id)),
        "closed_at": mr.closed.map(|(at, _)| entities::time(at)),
        "target_branch": mr.target_branch,
        "source_branch": mr.source_branch,
        "user_notes_count": mr.notes().filter(|note| !note.system).count(),
        "upvotes": 0,
        "downvotes": 0,
        "author": user(mr.author_id),
        "assignees": mr.assignees.iter().map(|id| user(*id)).collect::<Vec<_>>(),
        "assignee": mr.assignees.first().map(|id| user(*id)),
        "reviewers": mr.reviewers.iter().map(|id| user(*id)).collect::<Vec<_>>(),
    });
    entities::extend(
        &mut value,
        json!({
            "source_project_id": state.projects.contains_key(&mr.source_project_id).then_some(mr.source_project_id),
            "target_project_id": mr.project_id,
            "labels": mr.labels,
            "draft": mr.draft(),
            "imported": false,
            "imported_from": "none",
            "work_in_progress": mr.draft(),
            "milestone": null,
            "merge_when_pipeline_succeeds": mr.auto_merge.is_some(),
            "merge_status": old_status,
            "detailed_merge_status": detailed,
            "merge_after": null,
            "sha": mr.sha,
            "merge_commit_sha": mr.merge_commit_sha,
            "squash_commit_sha": mr.squash_commit_sha,
            "discussion_locked": mr.discussion_locked,
            "should_remove_source_branch": mr.auto_merge.as_ref().and_then(|auto| auto.remove_source_branch),
            "force_remove_source_branch": mr.remove_source_branch,
            "prepared_at": entities::time(mr.created_at),
            "reference": format!("!{}", mr.iid),
            "references": {
                "short": format!("!{}", mr.iid),
                "relative": format!("!{}", mr.iid),
                "full": format!("{path}!{}", mr.iid),
            },
            "web_url": format!("{}/{path}/-/merge_requests/{}", inner.external_url(), mr.iid),
            "time_stats": {
                "time_estimate": 0, "total_time_spent": 0,
                "human_time_estimate": null, "human_total_time_spent": null,
            },
            "squash": mr.squash,
            "squash_on_merge": mr.squash,
            "task_completion_status": { "count": 0, "completed_count": 0 },
            "has_conflicts": mr.conflict && mr.checking == 0,
            "blocking_discussions_resolved": mr.resolved_all(),
            "approvals_before_merge": null,
        }),
    );
    if mr.source_project_id != mr.project_id {
        let allowed = mr.allow_collaboration;
        entities::extend(
            &mut value,
            json!({ "allow_collaboration": allowed, "allow_maintainer_to_push": allowed }),
        );
    }
    value
}

/// What only the single read shows.
pub(crate) fn full_json(inner: &Inner, state: &State, mr: &MergeRequest) -> Value {
    let mut value = basic_json(inner, state, mr);
    let pipeline = mr.head_pipeline(state);
    let project = state.projects.get(&mr.project_id);
    let owner_of =
        |id: u64| project.filter(|project| project.pipelines.contains_key(&id)).map(|project| project.id);
    let pipeline_project = pipeline.and_then(|p| owner_of(p.id)).unwrap_or(mr.source_project_id);
    let version = mr.versions.last();
    entities::extend(
        &mut value,
        json!({
            "subscribed": false,
            "changes_count": version.filter(|v| v.files > 0).map(|version| version.files.to_string()),
            "latest_build_started_at": pipeline.and_then(|pipeline| pipeline.started_at).map(entities::time),
            "latest_build_finished_at": pipeline.and_then(|pipeline| pipeline.finished_at).map(entities::time),
            "first_deployed_to_production_at": null,
            "pipeline": pipeline.map(|pipeline| ci::basic_json(inner, state, pipeline_project, pipeline)),
            "head_pipeline": pipeline.map(|pipeline| ci::detail_json(inner, state, pipeline_project, pipeline)),
            "diff_refs": version.map(|version| json!({
                "base_sha": version.base, "head_sha": version.head, "start_sha": version.start,
            })),
            "merge_error": mr.merge_error,
            "first_contribution": false,
        }),
    );
    value
}

/// A note that the server itself writes.
pub(crate) fn system_note(
    state: &mut State,
    project_id: u64,
    iid: u64,
    user_id: u64,
    text: &str,
    now: Timestamp,
) {
    let id = state.next_id("note");
    let project = state.projects.get_mut(&project_id);
    let Some(mr) = project.and_then(|project| project.merge_requests.get_mut(&iid)) else { return };
    mr.discussions.push(Discussion {
        id: discussion_id(id),
        individual: true,
        notes: vec![Note {
            id,
            kind: None,
            body: text.to_owned(),
            author_id: user_id,
            created_at: now,
            updated_at: now,
            system: true,
            internal: false,
            position: None,
            resolved: None,
        }],
    });
}

/// Forty hexadecimal digits, the same for the same first note.
pub(crate) fn discussion_id(note_id: u64) -> String {
    use sha1::Digest as _;
    let digest = sha1::Sha1::digest(format!("discussion {note_id}").as_bytes());
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Takes a branch's move into the merge requests that start from it or lead to it.
pub(crate) fn branch_moved(
    inner: &Inner,
    project_id: u64,
    branch: &str,
    new: Option<&str>,
    user_id: u64,
) -> Result<(), Failure> {
    let (sources, targets) = {
        let state = inner.state();
        let open = state.projects.values().flat_map(|project| project.merge_requests.values());
        let mut sources = Vec::new();
        let mut targets = Vec::new();
        for mr in open.filter(|mr| mr.state == "opened") {
            if mr.source_project_id == project_id && mr.source_branch == branch {
                sources.push((mr.project_id, mr.iid));
            } else if mr.project_id == project_id && mr.target_branch == branch {
                targets.push((mr.project_id, mr.iid));
            }
        }
        (sources, targets)
    };
    for (project, iid) in sources {
        refresh(inner, project, iid, new, Some(user_id))?;
    }
    for (project, iid) in targets {
        if let Some(target) = new
            && merged_by_push(inner, project, iid, target, user_id)?
        {
            continue;
        }
        let head = inner.state().projects.get(&project).and_then(|p| p.merge_requests.get(&iid)?.sha.clone());
        refresh(inner, project, iid, head.as_deref(), None)?;
    }
    Ok(())
}

/// A push that brings the source's commits to the target merges the request.
fn merged_by_push(
    inner: &Inner,
    project_id: u64,
    iid: u64,
    target: &str,
    user_id: u64,
) -> Result<bool, Failure> {
    let repo = inner.repo(project_id)?;
    let now = inner.clock.now();
    let (head, start) = {
        let state = inner.state();
        let mr = state.projects.get(&project_id).and_then(|project| project.merge_requests.get(&iid));
        let Some(mr) = mr else { return Ok(false) };
        let Some(head) = mr.sha.clone() else { return Ok(false) };
        (head, mr.base_sha().map(str::to_owned))
    };
    if start.as_deref() == Some(head.as_str()) || !repo.is_ancestor(&head, target)? {
        return Ok(false);
    }
    let mut state = inner.state();
    let project = state.projects.get_mut(&project_id);
    if let Some(mr) = project.and_then(|project| project.merge_requests.get_mut(&iid)) {
        mr.state = "merged";
        mr.merged = Some((now, user_id));
        mr.updated_at = now;
    }
    system_note(&mut state, project_id, iid, user_id, "merged manually", now);
    Ok(true)
}

/// Looks at source and target anew: head, diff, conflicts. `mover` is set when the source itself has moved.
pub(crate) fn refresh(
    inner: &Inner,
    project_id: u64,
    iid: u64,
    head: Option<&str>,
    mover: Option<u64>,
) -> Result<(), Failure> {
    let repo = inner.repo(project_id)?;
    let now = inner.clock.now();
    let (source_project, target_branch, old) = {
        let state = inner.state();
        let mr = state.projects.get(&project_id).and_then(|project| project.merge_requests.get(&iid));
        let Some(mr) = mr else { return Ok(()) };
        (mr.source_project_id, mr.target_branch.clone(), mr.sha.clone())
    };
    let seen = match head {
        Some(head) => look(inner, &repo, project_id, source_project, iid, head, &target_branch)?,
        None => None,
    };
    let mut state = inner.state();
    let version_id = state.next_id("diff version");
    let Some(project) = state.projects.get_mut(&project_id) else { return Ok(()) };
    let (reads, script) = (project.settings.mergeability_reads, project.script.clone());
    let Some(mr) = project.merge_requests.get_mut(&iid) else { return Ok(()) };
    let moved = old.as_deref() != head;
    mr.sha = head.map(str::to_owned);
    mr.checking = reads;
    if mover.is_some() {
        mr.updated_at = now;
    }
    if moved && mr.auto_merge.take().is_some() {
        tracing::debug!(iid, "auto-merge aborted by a push");
    }
    let target_branch = mr.target_branch.clone();
    if let Some(seen) = seen {
        mr.conflict = seen.conflict;
        mr.behind = seen.base != seen.start;
        // A target that moves on leaves the diff as it was.
        if moved || mr.versions.is_empty() {
            let Seen { base, start, files, .. } = seen;
            let head = head.unwrap_or_default().to_owned();
            mr.versions.push(Version { id: version_id, base, head, start, created_at: now, files });
        }
    }
    if let (true, Some(sha), Some(script)) = (moved, head, script)
        && script.runs_for_merge_requests()
    {
        let reference = format!("refs/merge-requests/{iid}/head");
        let user_id = mover.unwrap_or(0);
        let new =
            NewPipeline { sha, before: None, reference: &reference, source: "merge_request_event", user_id };
        ci::start(&mut state, project_id, &new, now);
    }
    if let (true, Some(user), Some(_)) = (moved && head.is_some(), mover, &old) {
        let text = format!("added 1 commit\n\n<ul><li>compare with {target_branch}</li></ul>");
        system_note(&mut state, project_id, iid, user, &text, now);
    }
    Ok(())
}

struct Seen {
    base: String,
    start: String,
    files: usize,
    conflict: bool,
}

fn look(
    inner: &Inner,
    repo: &Repo,
    project_id: u64,
    source_project: u64,
    iid: u64,
    head: &str,
    target_branch: &str,
) -> Result<Option<Seen>, Failure> {
    let name = format!("refs/merge-requests/{iid}/head");
    if source_project == project_id {
        repo.set_ref(&name, head)?;
    } else {
        repo.fetch_from(&*inner.repo(source_project)?, head, &name)?;
    }
    let Some(start) = repo.branch_id(target_branch)? else { return Ok(None) };
    let Some(base) = repo.merge_base(&[start.clone(), head.to_owned()])? else { return Ok(None) };
    let files = repo.diff(&base, head)?.len();
    let conflict = repo.merge_tree(&start, head)?.is_err();
    Ok(Some(Seen { base, start, files, conflict }))
}

/// Closes on someone's behalf.
pub(crate) fn close_as(state: &mut State, project_id: u64, iid: u64, user_id: u64, now: Timestamp) -> bool {
    let project: Option<&mut Project> = state.projects.get_mut(&project_id);
    let Some(mr) = project.and_then(|project| project.merge_requests.get_mut(&iid)) else { return false };
    if mr.state != "opened" {
        return false;
    }
    mr.state = "closed";
    mr.closed = Some((now, user_id));
    mr.updated_at = now;
    mr.auto_merge = None;
    system_note(state, project_id, iid, user_id, "closed", now);
    true
}
