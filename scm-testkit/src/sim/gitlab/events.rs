//! What follows when a branch moves, by whatever way it was moved.

use super::{
    Inner,
    ci::{self, NewPipeline},
    merge_requests,
    reply::Failure,
};

/// Takes note of a branch that is now at `new` (absent: deleted) and was at `old` (absent: created).
pub(crate) fn branch_moved(
    inner: &Inner,
    project_id: u64,
    branch: &str,
    old: Option<&String>,
    new: Option<&String>,
    user_id: u64,
) -> Result<(), Failure> {
    let branch = branch.strip_prefix("refs/heads/").unwrap_or(branch);
    let now = inner.clock.now();
    let repo = inner.repo(project_id)?;
    let mut head = None;
    {
        let mut state = inner.state();
        state.touch(project_id, now);
        if let Some(project) = state.projects.get_mut(&project_id)
            && project.empty
            && new.is_some()
        {
            project.empty = false;
            if branch != project.default_branch && repo.branch_id(&project.default_branch)?.is_none() {
                branch.clone_into(&mut project.default_branch);
                head = Some(branch.to_owned());
            }
        }
        if let Some(sha) = new {
            let pipeline = NewPipeline {
                sha,
                before: old.map(String::as_str),
                reference: branch,
                source: "push",
                user_id,
            };
            ci::start(&mut state, project_id, &pipeline, now);
        }
    }
    if let Some(head) = head {
        repo.set_head_branch(&head)?;
    }
    merge_requests::branch_moved(inner, project_id, branch, new.map(String::as_str), user_id)
}
