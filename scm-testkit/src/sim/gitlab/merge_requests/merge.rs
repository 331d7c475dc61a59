//! Merging, now or when the pipeline succeeds.

use crate::sim::{
    gitlab::{
        Inner,
        call::Call,
        reply::{Failure, Outcome, Reply},
        state::State,
    },
    repo::{Identity, NewCommit, Repo, ZERO},
};

use super::model::{self, AutoMerge, MergeRequest, full_json, system_note};

pub(crate) const PARAMS: &str = "merge_commit_message squash_commit_message should_remove_source_branch:bool \
     merge_when_pipeline_succeeds:bool auto_merge:bool sha squash:bool skip_merge_train:bool";

pub(crate) fn merge(call: &Call) -> Outcome {
    let user = call.user()?;
    super::api::read(call)?;
    let iid = call.number("merge_request_iid")?;
    let params = &call.params;
    let asked = AutoMerge {
        user_id: user,
        squash: params.bool("squash"),
        remove_source_branch: params.bool("should_remove_source_branch"),
        message: params.filled("merge_commit_message").map(str::to_owned),
        squash_message: params.filled("squash_commit_message").map(str::to_owned),
    };
    let wait = params.flag("auto_merge") || params.flag("merge_when_pipeline_succeeds");
    let waiting = {
        let mut state = call.state();
        let mr = model::find(call, &state)?;
        let project = call.project_in(&state)?;
        let level = call.level_on(&state, project);
        if project.archived || level < 30 || level < state.merge_level(project, &mr.target_branch) {
            return Err(Failure::unauthorized());
        }
        if let (Some(expected), Some(head)) = (params.filled("sha"), &mr.sha)
            && expected != head
        {
            return Err(Failure::message(409, format!("SHA does not match HEAD of source branch: {head}")));
        }
        let status = mr.detailed_status(&state);
        let running = mr
            .head_pipeline(&state)
            .is_some_and(|pipeline| !crate::sim::gitlab::ci::finished(&pipeline.status));
        match status {
            "conflict" => return Err(Failure::message(422, "Branch cannot be merged")),
            "mergeable" | "ci_still_running" if wait && running => {
                model::find_mut(call, &mut state)?.auto_merge = Some(asked.clone());
                true
            }
            "mergeable" => false,
            _ => return Err(Failure::not_allowed()),
        }
    };
    if !waiting {
        merge_as(&call.inner, call.project_id(), iid, &asked)?;
    }
    let state = call.state();
    Ok(Reply::ok(full_json(&call.inner, &state, model::find(call, &state)?)))
}

pub(crate) fn cancel(call: &Call) -> Outcome {
    let user = call.user()?;
    let level = call.level();
    let mut state = call.state();
    let mr = model::find_mut(call, &mut state)?;
    if level < 30 && mr.author_id != user {
        return Err(Failure::unauthorized());
    }
    if mr.state != "opened" {
        return Err(Failure::not_allowed());
    }
    if mr.auto_merge.take().is_none() {
        return Err(Failure::message(406, "406 Not Acceptable"));
    }
    Ok(Reply::created(full_json(&call.inner, &state, model::find(call, &state)?)))
}

/// Merges those that waited for a pipeline which has succeeded by now.
pub(crate) fn auto_merge(inner: &Inner, project_id: u64) {
    let ready: Vec<(u64, u64, AutoMerge)> = {
        let state = inner.state();
        let done = |mr: &&MergeRequest| {
            mr.head_pipeline(&state).is_some_and(|pipeline| pipeline.status == "success")
                && mr.detailed_status(&state) == "mergeable"
        };
        state
            .projects
            .values()
            .flat_map(|project| project.merge_requests.values())
            .filter(|mr| mr.project_id == project_id || mr.source_project_id == project_id)
            .filter(|mr| mr.state == "opened" && mr.auto_merge.is_some())
            .filter(done)
            .filter_map(|mr| Some((mr.project_id, mr.iid, mr.auto_merge.clone()?)))
            .collect()
    };
    for (project, iid, asked) in ready {
        if let Err(error) = merge_as(inner, project, iid, &asked) {
            tracing::debug!(?error, iid, "auto-merge refused");
        }
    }
}

/// Everything about a merge request that its merge needs.
struct Plan {
    source_project: u64,
    source_branch: String,
    target_branch: String,
    head: String,
    base: Option<String>,
    squash: bool,
    remove_source: bool,
    method: String,
    message: String,
    squash_message: String,
    who: Identity,
}

fn plan(inner: &Inner, state: &State, project_id: u64, iid: u64, asked: &AutoMerge) -> Option<Plan> {
    let project = state.projects.get(&project_id)?;
    let mr = project.merge_requests.get(&iid)?;
    let user = state.users.get(&asked.user_id)?;
    let path = state.full_path(project);
    let default = format!(
        "Merge branch '{}' into '{}'\n\n{}\n\nSee merge request {path}!{iid}",
        mr.source_branch, mr.target_branch, mr.title
    );
    let date = format!("{} +0000", inner.clock.unix_seconds());
    Some(Plan {
        source_project: mr.source_project_id,
        source_branch: mr.source_branch.clone(),
        target_branch: mr.target_branch.clone(),
        head: mr.sha.clone()?,
        base: mr.base_sha().map(str::to_owned),
        squash: match project.settings.squash_option.as_str() {
            "always" => true,
            "never" => false,
            _ => asked.squash.unwrap_or(mr.squash),
        },
        remove_source: asked.remove_source_branch.unwrap_or(mr.remove_source_branch),
        method: project.settings.merge_method.clone(),
        message: asked.message.clone().unwrap_or(default),
        squash_message: asked.squash_message.clone().unwrap_or_else(|| mr.title.clone()),
        who: Identity { name: user.name.clone(), email: user.email.clone(), date },
    })
}

/// Merges with git and says so everywhere.
pub(crate) fn merge_as(inner: &Inner, project_id: u64, iid: u64, asked: &AutoMerge) -> Result<(), Failure> {
    let plan = plan(inner, &inner.state(), project_id, iid, asked).ok_or_else(Failure::not_allowed)?;
    let repo = inner.repo(project_id)?;
    let made = {
        let _writing = repo.lock();
        let target = repo.branch_id(&plan.target_branch)?.ok_or_else(Failure::not_allowed)?;
        let made = write(&repo, &plan, &target)?;
        let name = format!("refs/heads/{}", plan.target_branch);
        if !repo.update_ref(&name, &made.top, &target)? {
            return Err(Failure::message(409, "409 Conflict"));
        }
        made
    };
    let now = inner.clock.now();
    {
        let mut state = inner.state();
        let project = state.projects.get_mut(&project_id);
        if let Some(mr) = project.and_then(|project| project.merge_requests.get_mut(&iid)) {
            mr.state = "merged";
            mr.merged = Some((now, asked.user_id));
            mr.updated_at = now;
            mr.merge_commit_sha = made.merge_commit.clone();
            mr.squash_commit_sha = made.squash_commit.clone();
            mr.auto_merge = None;
            mr.squash = plan.squash;
        }
        system_note(&mut state, project_id, iid, asked.user_id, "merged", now);
    }
    crate::sim::gitlab::events::branch_moved(
        inner,
        project_id,
        &plan.target_branch,
        Some(&made.old),
        Some(&made.top),
        asked.user_id,
    )?;
    if plan.remove_source {
        remove_source(inner, &plan, asked.user_id)?;
    }
    Ok(())
}

/// Deletes the source branch, unless others still need it.
fn remove_source(inner: &Inner, plan: &Plan, user_id: u64) -> Result<(), Failure> {
    let keep = {
        let state = inner.state();
        let Some(project) = state.projects.get(&plan.source_project) else { return Ok(()) };
        project.default_branch == plan.source_branch
            || state.protection(project, &plan.source_branch).is_some()
    };
    let repo = inner.repo(plan.source_project)?;
    if !keep && repo.update_ref(&format!("refs/heads/{}", plan.source_branch), ZERO, &plan.head)? {
        crate::sim::gitlab::events::branch_moved(
            inner,
            plan.source_project,
            &plan.source_branch,
            Some(&plan.head),
            None,
            user_id,
        )?;
    }
    Ok(())
}

struct Made {
    /// Where the target was.
    old: String,
    top: String,
    merge_commit: Option<String>,
    squash_commit: Option<String>,
}

fn write(repo: &Repo, plan: &Plan, target: &str) -> Result<Made, Failure> {
    let conflict = || Failure::message(422, "Branch cannot be merged");
    let fast_forward = repo.is_ancestor(target, &plan.head)?;
    if plan.method != "merge" && !fast_forward {
        return Err(Failure::not_allowed());
    }
    let tree = repo.merge_tree(target, &plan.head)?.map_err(|_| conflict())?;
    let commit = |tree: &str, parents: &[String], message: &str| {
        repo.write_commit(&NewCommit { tree, parents, message, author: &plan.who, committer: &plan.who })
    };
    let mut head = plan.head.clone();
    let mut squash_commit = None;
    if plan.squash {
        let (tree, parent) = match (&plan.base, fast_forward) {
            (Some(base), false) => (repo.tree_of(&plan.head)?, base.clone()),
            _ => (tree.clone(), target.to_owned()),
        };
        head = commit(&tree, &[parent], &plan.squash_message)?;
        squash_commit = Some(head.clone());
    }
    if plan.method == "ff" {
        return Ok(Made { old: target.to_owned(), top: head, merge_commit: None, squash_commit });
    }
    let top = commit(&tree, &[target.to_owned(), head], &plan.message)?;
    Ok(Made { old: target.to_owned(), top: top.clone(), merge_commit: Some(top), squash_commit })
}
