//! Whether a pull request can be merged, and merging it.

use serde_json::{Value, json};

use crate::sim::{
    bitbucket_dc::{
        Inner, builds,
        call::Call,
        entities::{display_id, short},
        events,
        reply::{Failure, Outcome, Reply},
        restrictions::{self, Move},
        router::{
            Route,
            Since::{Always, V},
        },
        state::{Repository, State},
    },
    repo::{Identity, LogQuery, NewCommit, Repo},
};

use super::{
    api::shown,
    auto_merge,
    model::{self, PullRequest, find, must_be_current, must_be_open},
};

pub(crate) const ROUTES: &[Route] = &[
    ("GET", "/api/projects/:key/repos/:slug/pull-requests/:id/merge", Always, "", mergeable),
    (
        "POST",
        "/api/projects/:key/repos/:slug/pull-requests/:id/merge",
        Always,
        "version:int message strategyId autoSubject autoMerge:bool bypassMergeQueue:bool context",
        merge,
    ),
    (
        "GET",
        "/api/projects/:key/repos/:slug/pull-requests/:id/commit-message-suggestion",
        V(8, 12),
        "",
        suggestion,
    ),
];

/// A merge as it is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) user_id: u64,
    pub(crate) message: Option<String>,
    /// Whether the usual first line is put above the message.
    pub(crate) subject: bool,
    pub(crate) strategy: Option<String>,
}

impl Ask {
    pub(crate) fn of(call: &Call, user_id: u64) -> Self {
        let params = &call.params;
        Self {
            user_id,
            message: params.filled("message").map(str::to_owned),
            subject: params.text("autoSubject") != Some("false") && params.bool("autoSubject") != Some(false),
            strategy: params.filled("strategyId").map(str::to_owned),
        }
    }
}

/// What stands against a merge, beside conflicts: summary and details.
pub(crate) fn vetoes(
    state: &State,
    repo: &Repository,
    pull: &PullRequest,
    user_id: u64,
) -> Vec<(String, String)> {
    let settings = &repo.settings;
    let mut found = settings.vetoes.clone();
    let mut veto = |summary: &str, detail: String| found.push((summary.to_owned(), detail));
    if pull.draft {
        veto("Pull request is a draft", "Mark the pull request as ready for review to merge it.".to_owned());
    }
    let approvals = pull.reviewers.iter().filter(|one| one.status == "APPROVED").count() as u64;
    let needed = settings.required_approvers;
    if approvals < needed {
        veto(
            "Requires approvals",
            format!("You need {} more approvals before this pull request can be merged.", needed - approvals),
        );
    }
    if settings.all_approvers && pull.reviewers.iter().any(|one| one.status != "APPROVED") {
        veto("Not all reviewers have approved", "All reviewers must approve this pull request.".to_owned());
    }
    if settings.no_needs_work && pull.reviewers.iter().any(|one| one.status == "NEEDS_WORK") {
        veto("Needs work", "This pull request has been marked as needs work by a reviewer.".to_owned());
    }
    if settings.all_tasks && pull.comments.values().any(|c| c.severity == "BLOCKER" && c.state == "OPEN") {
        veto("Requires all tasks to be resolved", "This pull request has unresolved tasks.".to_owned());
    }
    let (passed, others) = builds::counts(state, &pull.from.commit);
    let required = settings.required_builds;
    if required > 0 && (passed < required || others > 0) {
        veto(
            "Not all required builds are successful yet",
            format!(
                "You need a minimum of {required} successful builds before this pull request can be merged."
            ),
        );
    }
    if restrictions::refusal(state, repo, short(&pull.to.id), Move::Merge, user_id).is_some() {
        veto(
            "Insufficient branch permissions",
            format!("You do not have permission to merge into {}.", short(&pull.to.id)),
        );
    }
    found
}

fn vetoes_json(vetoes: &[(String, String)]) -> Vec<Value> {
    vetoes
        .iter()
        .map(|(summary, details)| json!({ "summaryMessage": summary, "detailedMessage": details }))
        .collect()
}

fn mergeable(call: &Call) -> Outcome {
    let state = call.state();
    let repo = call.repo_in(&state)?;
    let pull = find(call, &state)?;
    must_be_open(pull)?;
    let user = call.caller.as_ref().map_or(0, |caller| caller.user_id);
    let vetoes = vetoes(&state, repo, pull, user);
    let allowed = call.level_on(&state, repo) >= 2 && !repo.archived;
    Ok(Reply::ok(json!({
        "canMerge": allowed && !pull.conflicted && vetoes.is_empty(),
        "conflicted": pull.conflicted,
        "outcome": if pull.conflicted { "CONFLICTED" } else { "CLEAN" },
        "vetoes": vetoes_json(&vetoes),
    })))
}

pub(crate) fn conflict() -> Failure {
    vetoed("The pull request has conflicts and cannot be merged.", true, &[])
}

fn vetoed(message: &str, conflicted: bool, vetoes: &[(String, String)]) -> Failure {
    Failure::new(409, "pull.PullRequestMergeVetoedException", message)
        .with(json!({ "conflicted": conflicted, "vetoes": vetoes_json(vetoes) }))
}

fn merge(call: &Call) -> Outcome {
    let user = call.may_change(2)?;
    let ask = Ask::of(call, user);
    let wait = call.inner.release >= (8, 15) && call.params.flag("autoMerge");
    let waiting = {
        let mut state = call.state();
        let pull = find(call, &state)?;
        must_be_open(pull)?;
        must_be_current(call, &state)?;
        let repo = call.repo_in(&state)?;
        if wait && !repo.settings.auto_merge {
            return Err(auto_merge::disabled());
        }
        if pull.conflicted {
            return Err(conflict());
        }
        strategy(repo, &ask)?;
        let vetoes = vetoes(&state, repo, pull, user);
        if !vetoes.is_empty() && !wait {
            return Err(vetoed(
                "The pull request cannot be merged: it was vetoed by a merge check.",
                false,
                &vetoes,
            ));
        }
        if !vetoes.is_empty() {
            auto_merge::request(call, &mut state, &ask)?;
        }
        !vetoes.is_empty()
    };
    if !waiting {
        merge_as(&call.inner, call.repo, call.number("id")?, &ask)?;
    }
    shown(call)
}

fn strategy(repo: &Repository, ask: &Ask) -> Result<String, Failure> {
    let wanted = ask.strategy.as_ref().unwrap_or(&repo.settings.default_strategy);
    if repo.settings.strategies.contains(wanted) {
        return Ok(wanted.clone());
    }
    Err(Failure::field("strategyId", format!("The merge strategy '{wanted}' is not enabled.")))
}

/// Everything about a pull request that its merge needs.
struct Plan {
    number: u64,
    from: model::Side,
    to: model::Side,
    subject: String,
    title: String,
    strategy: String,
}

fn plan(state: &State, repo_id: u64, number: u64, ask: &Ask) -> Result<Plan, Failure> {
    let repo = state.repos.get(&repo_id).ok_or_else(|| Failure::no_such("Repository"))?;
    let pull = repo.pull_requests.get(&number).ok_or_else(|| Failure::no_such("Pull request"))?;
    must_be_open(pull)?;
    let subject = format!("Pull request #{number}: {}", pull.title);
    Ok(Plan {
        number,
        from: pull.from.clone(),
        to: pull.to.clone(),
        title: format!(
            "Merge in {} from {} to {}",
            state.full_name(repo),
            short(&pull.from.id),
            short(&pull.to.id)
        ),
        subject,
        strategy: strategy(repo, ask)?,
    })
}

/// Merges with git and says so everywhere, whatever the checks say.
pub(crate) fn merge_as(inner: &Inner, repo_id: u64, number: u64, ask: &Ask) -> Result<(), Failure> {
    let plan = plan(&inner.state(), repo_id, number, ask)?;
    let git = inner.repo(repo_id)?;
    let writing = git.lock();
    let target = model::tip(&git, &plan.to.id)?.ok_or_else(|| Failure::no_branch(&plan.to.id))?;
    let who = inner.identity(ask.user_id);
    let made = write(&git, &plan, ask, &target, &who)?;
    if !git.update_ref(&plan.to.id, &made, &target)? {
        return Err(Failure::new(
            409,
            "scm.MergeException",
            "The target branch has been updated while the merge was going on.",
        ));
    }
    drop(writing);
    model::close(inner, repo_id, number, ask.user_id, "MERGED", Some(made.clone()));
    events::branch_moved(inner, repo_id, &plan.to.id, Some(&target), Some(&made), ask.user_id)
}

fn message(git: &Repo, plan: &Plan, ask: &Ask, target: &str) -> Result<String, Failure> {
    if let Some(text) = &ask.message {
        return Ok(if ask.subject { format!("{}\n\n{text}", plan.subject) } else { text.clone() });
    }
    let query = LogQuery {
        revisions: vec![plan.from.commit.clone(), format!("^{target}")],
        limit: Some(20),
        ..LogQuery::default()
    };
    let commits = git.log(&query)?;
    let list: Vec<String> = commits
        .iter()
        .map(|commit| format!("* commit '{}':\n  {}", display_id(&commit.id), commit.title()))
        .collect();
    Ok(format!("{}\n\n{}\n\n{}", plan.subject, plan.title, list.join("\n")))
}

/// The target's new tip by the strategy.
fn write(git: &Repo, plan: &Plan, ask: &Ask, target: &str, who: &Identity) -> Result<String, Failure> {
    let source = &plan.from.commit;
    let straight = git.is_ancestor(target, source)?;
    let only = plan.strategy.ends_with("ff-only");
    if only && !straight && !plan.strategy.starts_with("rebase") {
        return Err(vetoed(
            "The source branch is not up to date with the target branch, so it cannot be fast-forwarded.",
            false,
            &[],
        ));
    }
    let merged =
        |head: &str| -> Result<String, Failure> { git.merge_tree(target, head)?.map_err(|_| conflict()) };
    let commit = |tree: &str, parents: &[&str]| -> Result<String, Failure> {
        let parents: Vec<String> = parents.iter().map(|&parent| parent.to_owned()).collect();
        let message = message(git, plan, ask, target)?;
        let new = NewCommit { tree, parents: &parents, message: &message, author: who, committer: who };
        Ok(git.write_commit(&new)?)
    };
    let rebased = || -> Result<String, Failure> {
        if straight { Ok(source.clone()) } else { git.rebase(source, target, who)?.map_err(|_| conflict()) }
    };
    tracing::debug!(number = plan.number, strategy = plan.strategy, "merging");
    match plan.strategy.as_str() {
        "ff" | "ff-only" if straight => Ok(source.clone()),
        "rebase-ff-only" => rebased(),
        "rebase-no-ff" => {
            let head = rebased()?;
            commit(&git.tree_of(&head)?, &[target, &head])
        }
        "squash" | "squash-ff-only" => commit(&merged(source)?, &[target]),
        _ => commit(&merged(source)?, &[target, source]),
    }
}

fn suggestion(call: &Call) -> Outcome {
    let state = call.state();
    let pull = find(call, &state)?;
    Ok(Reply::ok(json!({
        "title": format!("Pull request #{}: {}", pull.id, pull.title),
        "body": pull.description.clone().unwrap_or_default(),
    })))
}
