//! Opening a merge request.

use crate::sim::gitlab::{
    Inner,
    call::Call,
    reply::{Failure, Outcome, Reply},
};

use super::model::{self, MergeRequest};

/// What a new merge request is made of.
#[derive(Debug, Clone, Default)]
pub(crate) struct Draft {
    pub(crate) source_project: u64,
    pub(crate) target_project: u64,
    pub(crate) source_branch: String,
    pub(crate) target_branch: String,
    pub(crate) title: String,
    pub(crate) description: Option<String>,
    pub(crate) assignees: Vec<u64>,
    pub(crate) reviewers: Vec<u64>,
    pub(crate) labels: Vec<String>,
    pub(crate) remove_source_branch: bool,
    pub(crate) squash: bool,
    pub(crate) allow_collaboration: bool,
}

pub(crate) fn create(call: &Call) -> Outcome {
    let user = call.may_write(30)?;
    let params = &call.params;
    let source_project = call.project_id();
    let target_project = params.id("target_project_id").unwrap_or(source_project);
    let (squash, known) = {
        let today = call.inner.today();
        let state = call.state();
        let target =
            state.projects.get(&target_project).filter(|project| state.can_see(project, Some(user), &today));
        let target = target.ok_or_else(|| Failure::not_found("Project"))?;
        if target.archived {
            return Err(Failure::forbidden());
        }
        let squash = matches!(target.settings.squash_option.as_str(), "always" | "default_on");
        let users: Vec<u64> = state.users.keys().copied().collect();
        (squash, users)
    };
    let people = |plural: &str, single: Option<&str>| {
        let ids = params.ids(plural).or_else(|| single.and_then(|name| params.id(name)).map(|id| vec![id]));
        ids.unwrap_or_default().into_iter().filter(|id| known.contains(id)).collect::<Vec<u64>>()
    };
    let draft = Draft {
        source_project,
        target_project,
        source_branch: params.text("source_branch").unwrap_or_default().to_owned(),
        target_branch: params.text("target_branch").unwrap_or_default().to_owned(),
        title: params.text("title").unwrap_or_default().to_owned(),
        description: params.text("description").map(str::to_owned),
        assignees: people("assignee_ids", Some("assignee_id")),
        reviewers: people("reviewer_ids", None),
        labels: params.texts("labels").or_else(|| params.texts("add_labels")).unwrap_or_default(),
        remove_source_branch: params.flag("remove_source_branch"),
        squash: params.bool("squash").unwrap_or(squash),
        allow_collaboration: params.flag("allow_collaboration"),
    };
    let iid = open(&call.inner, &draft, user)?;
    let state = call.state();
    let mr = state.projects.get(&target_project).and_then(|project| project.merge_requests.get(&iid));
    Ok(Reply::created(model::full_json(&call.inner, &state, mr.ok_or_else(Failure::nothing_here)?)))
}

/// Opens it, or says why the two branches cannot be brought together. Returns its number in the target.
pub(crate) fn open(inner: &Inner, draft: &Draft, user_id: u64) -> Result<u64, Failure> {
    let invalid = |text: &str| Failure::message(422, serde_json::json!([text]));
    if draft.source_project == draft.target_project && draft.source_branch == draft.target_branch {
        return Err(invalid("You can't use same project/branch for source and target"));
    }
    if draft.title.trim().is_empty() {
        return Err(Failure::message(400, serde_json::json!({ "title": ["can't be blank"] })));
    }
    let source = inner.repo(draft.source_project)?;
    let target = inner.repo(draft.target_project)?;
    let Some(head) = source.branch_id(&draft.source_branch)? else {
        return Err(Failure::message(
            400,
            serde_json::json!([format!("Source branch \"{}\" does not exist", draft.source_branch)]),
        ));
    };
    if target.branch_id(&draft.target_branch)?.is_none() {
        return Err(Failure::message(
            400,
            serde_json::json!([format!("Target branch \"{}\" does not exist", draft.target_branch)]),
        ));
    }
    let now = inner.clock.now();
    let iid = {
        let mut state = inner.state();
        let related = |id: u64| state.projects.get(&id).map(|project| project.forked_from);
        if draft.source_project != draft.target_project
            && related(draft.source_project) != Some(Some(draft.target_project))
            && related(draft.target_project) != Some(Some(draft.source_project))
        {
            return Err(invalid("Source project is not a fork of the target project"));
        }
        let open = state.projects.get(&draft.target_project).and_then(|project| {
            project.merge_requests.values().find(|mr| {
                mr.state == "opened"
                    && mr.source_project_id == draft.source_project
                    && mr.source_branch == draft.source_branch
                    && mr.target_branch == draft.target_branch
            })
        });
        if let Some(other) = open {
            let text =
                format!("Another open merge request already exists for this source branch: !{}", other.iid);
            return Err(Failure::message(409, serde_json::json!([text])));
        }
        let id = state.next_id("merge request");
        let Some(project) = state.projects.get_mut(&draft.target_project) else {
            return Err(Failure::nothing_here());
        };
        project.last_mr_iid += 1;
        project.last_activity_at = now;
        let iid = project.last_mr_iid;
        project.merge_requests.insert(
            iid,
            MergeRequest {
                id,
                iid,
                project_id: draft.target_project,
                source_project_id: draft.source_project,
                source_branch: draft.source_branch.clone(),
                target_branch: draft.target_branch.clone(),
                title: draft.title.clone(),
                description: draft.description.clone(),
                state: "opened",
                author_id: user_id,
                assignees: draft.assignees.clone(),
                reviewers: draft.reviewers.clone(),
                labels: draft.labels.clone(),
                created_at: now,
                updated_at: now,
                merged: None,
                closed: None,
                sha: None,
                merge_commit_sha: None,
                squash_commit_sha: None,
                squash: draft.squash,
                remove_source_branch: draft.remove_source_branch,
                discussion_locked: None,
                allow_collaboration: draft.allow_collaboration,
                auto_merge: None,
                merge_error: None,
                versions: Vec::new(),
                discussions: Vec::new(),
                approvals: Vec::new(),
                checking: 0,
                conflict: false,
                behind: false,
                rebase: None,
            },
        );
        iid
    };
    model::refresh(inner, draft.target_project, iid, Some(&head), Some(user_id))?;
    Ok(iid)
}
