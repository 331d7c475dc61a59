//! Wire → model.

use scm_core::pipeline::{lenient, told};
use scm_core::{
    Approvals, Branch, BranchProtection, Check, CheckId, CheckState, Comment, CommentId, CommentPosition,
    Commit, DiffSide, EntryKind, FileMode, FilePath, Identity, Job, JobId, LineRange, MergeBlocker,
    MergeReason, Mergeability, Namespace, NamespaceId, NamespaceKind, Person, Pipeline, PipelineId,
    PullRequest, PullRequestId, PullRequestState, Readiness, RepoId, Repository, Result, Role, Sha, Tag,
    ThreadId, TokenInfo, TokenKind, TreeEntry, UserName, Visibility,
};

use crate::wire::{
    WireApprovals, WireBranch, WireBranchAccess, WireCommit, WireDiscussion, WireGroup, WireJob, WireLine,
    WireMergeRequest, WireNote, WirePipeline, WireProject, WireProtectedBranch, WireReviewer, WireStatus,
    WireTag, WireToken, WireTreeEntry, WireUser, WireUserRef,
};

/// GitLab's access levels: open on both ends, so that unknown numbers fall to the role below.
pub(crate) fn role(access_level: u32) -> Role {
    match access_level {
        0..=9 => Role::None,
        10..=19 => Role::Guest,
        20..=29 => Role::Read,
        30..=39 => Role::Write,
        40..=49 => Role::Maintain,
        _ => Role::Own,
    }
}

/// The smallest access level that gives a role.
pub(crate) fn access_level(role: Role) -> u32 {
    match role {
        Role::Read => 20,
        Role::Write => 30,
        Role::Maintain => 40,
        Role::Own => 50,
        _ => 10,
    }
}

pub(crate) fn repository(wire: WireProject) -> Result<Repository> {
    let mut out = Repository::new(
        told("id", wire.id.to_string())?,
        told("path_with_namespace", wire.path_with_namespace.clone())?,
        wire.name.unwrap_or(wire.path_with_namespace),
    );
    out.description = wire.description.filter(|text| !text.is_empty());
    out.namespace = wire.namespace.and_then(|namespace| NamespaceId::new(namespace.full_path).ok());
    out.default_branch = lenient(wire.default_branch);
    out.empty = wire.empty_repo;
    out.archived = wire.archived;
    out.visibility = wire.visibility.map(Visibility::from);
    out.role = wire.permissions.map(|given| {
        let levels = [given.project_access, given.group_access];
        role(levels.into_iter().flatten().map(|access| access.access_level).max().unwrap_or(0))
    });
    out.web_url = lenient(wire.web_url);
    out.clone_url = lenient(wire.http_url_to_repo);
    out.changed_at = lenient(wire.last_activity_at);
    out.forked_from = wire.forked_from_project.and_then(|from| RepoId::new(from.id.to_string()).ok());
    Ok(out)
}

pub(crate) fn namespace(wire: WireGroup) -> Result<Namespace> {
    let id = |number: u64| NamespaceId::new(number.to_string());
    let mut out =
        Namespace::new(id(wire.id)?, told("full_path", wire.full_path)?, wire.name, NamespaceKind::Group);
    out.parent = wire.parent_id.map(id).transpose()?;
    out.web_url = lenient(wire.web_url);
    Ok(out)
}

pub(crate) fn identity(wire: WireUser) -> Result<Identity> {
    let mut out = Identity::new(told("username", wire.username)?);
    out.id = Some(wire.id.to_string());
    out.name = wire.name;
    out.email = wire.email.filter(|text| !text.is_empty());
    out.bot = wire.bot;
    out.active = wire.state.map(|state| state == "active");
    Ok(out)
}

pub(crate) fn token_info(wire: WireToken, owner: Option<&Identity>) -> TokenInfo {
    let mut out = TokenInfo::new();
    out.id = Some(wire.id.to_string());
    out.name = wire.name;
    out.kind = owner.and_then(token_kind);
    out.scopes = wire.scopes;
    out.expires_at = lenient(wire.expires_at);
    out.active = wire.active;
    out.revoked = wire.revoked;
    out
}

/// What a token belongs to, by its user. A person can choose a name that looks like a bot's, so the server's own word
/// that it is a bot must agree; where the server does not say, nothing is claimed.
fn token_kind(owner: &Identity) -> Option<TokenKind> {
    let name = owner.username.as_str();
    let bot_of = |prefix: &str| {
        let rest = name.strip_prefix(prefix)?;
        let (id, _) = rest.split_once("_bot")?;
        (!id.is_empty() && id.bytes().all(|b| b.is_ascii_digit())).then_some(())
    };
    match owner.bot? {
        false => Some(TokenKind::Personal),
        true if bot_of("project_").is_some() => Some(TokenKind::Project),
        true if bot_of("group_").is_some() => Some(TokenKind::Group),
        true => Some(TokenKind::ServiceAccount),
    }
}

pub(crate) fn branch(wire: WireBranch) -> Result<Branch> {
    let mut out = Branch::new(told("name", wire.name)?, told("commit.id", wire.commit.id)?);
    out.default = wire.default;
    out.protected = wire.protected;
    out.can_push = wire.can_push;
    out.web_url = lenient(wire.web_url);
    Ok(out)
}

pub(crate) fn tag(wire: WireTag) -> Result<Tag> {
    let mut out = Tag::new(told("name", wire.name)?, told("commit.id", wire.commit.id)?);
    out.message = wire.message.filter(|text| !text.is_empty());
    Ok(out)
}

/// What the rules that cover a branch say together: GitLab takes the most generous one.
pub(crate) fn branch_protection(rules: Vec<WireProtectedBranch>) -> BranchProtection {
    let mut out = BranchProtection::default();
    if rules.is_empty() {
        return out;
    }
    let nobody = |access: &WireBranchAccess| {
        access.access_level == Some(0)
            && (access.user_id, access.group_id, access.deploy_key_id) == (None, None, None)
    };
    let closed = |rule: &WireProtectedBranch| {
        !rule.push_access_levels.is_empty() && rule.push_access_levels.iter().all(nobody)
    };
    out.protected = true;
    out.allow_force_push = Some(rules.iter().any(|rule| rule.allow_force_push == Some(true)));
    out.allow_delete = Some(false);
    out.pull_request_only = Some(rules.iter().all(closed));
    out.patterns = rules.into_iter().map(|rule| rule.name).collect();
    out
}

pub(crate) fn commit(wire: WireCommit) -> Result<Commit> {
    let message = wire.message.or(wire.title).unwrap_or_default();
    let mut out = Commit::new(told("id", wire.id)?, message);
    let person =
        |name: Option<String>, email: Option<String>| Some(Person::as_told(name?, email.unwrap_or_default()));
    out.author = person(wire.author_name, wire.author_email);
    out.authored_at = lenient(wire.authored_date);
    out.committer = person(wire.committer_name, wire.committer_email);
    out.committed_at = lenient(wire.committed_date);
    out.parents = wire.parent_ids.into_iter().map(|id| told("parent_ids", id)).collect::<Result<_>>()?;
    out.web_url = lenient(wire.web_url);
    Ok(out)
}

pub(crate) fn tree_entry(wire: WireTreeEntry) -> Result<TreeEntry> {
    let mut out = TreeEntry::new(told("path", wire.path)?, EntryKind::from(wire.kind));
    out.id = wire.id;
    out.mode = wire.mode.as_deref().and_then(FileMode::from_octal);
    Ok(out)
}

/// Starts of a title that make a merge request a draft.
const DRAFT_PREFIXES: &[&str] = &["draft:", "[draft]", "(draft)"];

/// A title without its draft prefixes.
pub(crate) fn without_draft_prefix(title: &str) -> &str {
    let mut rest = title.trim_start();
    'again: loop {
        for prefix in DRAFT_PREFIXES {
            if rest.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix)) {
                rest = rest[prefix.len()..].trim_start();
                continue 'again;
            }
        }
        return rest;
    }
}

/// A title that makes a merge request a draft, or not.
pub(crate) fn with_draft_prefix(title: &str, draft: bool) -> String {
    let title = without_draft_prefix(title);
    if draft { format!("Draft: {title}") } else { title.to_owned() }
}

fn users(wire: impl IntoIterator<Item = WireUserRef>) -> Vec<UserName> {
    wire.into_iter().filter_map(|user| UserName::new(user.username).ok()).collect()
}

pub(crate) fn pull_request(wire: WireMergeRequest) -> Result<PullRequest> {
    let draft = wire.draft.unwrap_or(false);
    let title = if draft { without_draft_prefix(&wire.title) } else { &wire.title };
    let mut out = PullRequest::new(
        PullRequestId::new(wire.iid),
        title,
        told("source_branch", wire.source_branch)?,
        told("target_branch", wire.target_branch)?,
    );
    out.description = wire.description.unwrap_or_default();
    out.state = match wire.state.as_str() {
        "opened" => PullRequestState::Open,
        "merged" => PullRequestState::Merged,
        "closed" => PullRequestState::Closed,
        "locked" => PullRequestState::Merging,
        _ => PullRequestState::Unknown(wire.state),
    };
    out.draft = Some(draft);
    out.source_repository = wire.source_project_id.and_then(|id| RepoId::new(id.to_string()).ok());
    out.head = lenient(wire.sha);
    out.merge_commit = lenient(wire.merge_commit_sha.or(wire.squash_commit_sha));
    out.author = wire.author.and_then(|user| UserName::new(user.username).ok());
    out.labels = wire.labels;
    out.assignees = users(wire.assignees);
    out.reviewers = users(wire.reviewers);
    out.auto_merge = wire.merge_when_pipeline_succeeds;
    out.web_url = lenient(wire.web_url);
    out.created_at = lenient(wire.created_at);
    out.updated_at = lenient(wire.updated_at);
    out.merged_at = lenient(wire.merged_at);
    Ok(out)
}

/// `detailed_merge_status`, an open enum: what is not known blocks, with the server's word as the reason.
pub(crate) fn mergeability(detailed: Option<&str>, has_conflicts: Option<bool>) -> Mergeability {
    let Some(status) = detailed else { return Mergeability::new(Readiness::Checking) };
    let reason = match status {
        "mergeable" => return Mergeability::new(Readiness::Ready),
        "preparing" | "checking" | "unchecked" | "approvals_syncing" => {
            return Mergeability::new(Readiness::Checking);
        }
        "conflict" => MergeReason::Conflict,
        // An older word for "cannot be merged", most often by conflicts.
        "broken_status" if has_conflicts == Some(true) => MergeReason::Conflict,
        "need_rebase" => MergeReason::NeedsRebase,
        "ci_must_pass" | "external_status_checks" | "status_checks_must_pass" | "commits_status" => {
            MergeReason::ChecksFailed
        }
        "ci_still_running" => MergeReason::ChecksRunning,
        "not_approved" => MergeReason::NotApproved,
        "requested_changes" => MergeReason::ChangesRequested,
        "discussions_not_resolved" => MergeReason::UnresolvedThreads,
        "draft_status" => MergeReason::Draft,
        "not_open" => MergeReason::NotOpen,
        "merge_request_blocked" | "blocked_status" => MergeReason::BlockedByOther,
        "jira_association_missing"
        | "locked_paths"
        | "locked_lfs_files"
        | "merge_time"
        | "policies_denied"
        | "security_policy_violations"
        | "title_regex" => MergeReason::Policy,
        other => MergeReason::Unknown(other.to_owned()),
    };
    Mergeability::blocked(MergeBlocker::new(reason, status))
}

/// Approvals, and what the reviewers said beside.
pub(crate) fn approvals(wire: WireApprovals, reviewers: Vec<WireReviewer>) -> Approvals {
    let mut out = Approvals::default();
    out.approved = wire.approved;
    out.required = wire.approvals_required;
    out.missing = wire.approvals_left;
    out.approved_by = users(wire.approved_by.into_iter().map(|approver| approver.user));
    let asked =
        reviewers.into_iter().filter(|reviewer| reviewer.state.as_deref() == Some("requested_changes"));
    out.changes_requested_by = users(asked.map(|reviewer| reviewer.user));
    out
}

/// The comments of a discussion. One that stands alone is a discussion too: a reply makes a thread of it.
pub(crate) fn thread(wire: WireDiscussion) -> Result<Vec<Comment>> {
    let id: ThreadId = told("id", wire.id)?;
    wire.notes.into_iter().map(|note| comment(note, Some(id.clone()))).collect()
}

pub(crate) fn comment(wire: WireNote, thread: Option<ThreadId>) -> Result<Comment> {
    let mut out = Comment::new(CommentId::new(wire.id.to_string())?, wire.body);
    out.thread = thread;
    out.author = wire.author.and_then(|user| UserName::new(user.username).ok());
    out.system = wire.system;
    out.resolved = if wire.resolvable { Some(wire.resolved.unwrap_or(false)) } else { None };
    out.created_at = lenient(wire.created_at);
    out.updated_at = lenient(wire.updated_at);
    if let Some(position) = wire.position {
        let path = position.new_path.clone().or_else(|| position.old_path.clone());
        let path = path.and_then(|path| FilePath::new(path).ok());
        let range = position.line_range;
        let (start, end) = range.map_or((None, None), |range| (range.start, range.end));
        // Unchanged lines have both numbers; they belong to the new side.
        let (side, last) = match (position.new_line, position.old_line) {
            (Some(line), _) => (DiffSide::New, Some(line)),
            (None, line) => (DiffSide::Old, line),
        };
        let pick = |line: WireLine| if side == DiffSide::New { line.new_line } else { line.old_line };
        let first = start.and_then(pick);
        let last = end.and_then(pick).or(last);
        let lines = last.and_then(|last| LineRange::lines(side, first.unwrap_or(last), last).ok());
        out.position = match (path, lines) {
            (Some(path), Some(lines)) => {
                let old_path =
                    position.old_path.and_then(|old| FilePath::new(old).ok()).filter(|old| *old != path);
                CommentPosition::Lines { path, old_path, lines }
            }
            (Some(path), None) if position.position_type.as_deref() == Some("file") => {
                CommentPosition::File { path }
            }
            _ => CommentPosition::General,
        };
    }
    Ok(out)
}

/// State of a pipeline, job or status.
pub(crate) fn check_state(status: &str) -> CheckState {
    match status {
        "created"
        | "waiting_for_resource"
        | "preparing"
        | "waiting_for_callback"
        | "pending"
        | "scheduled" => CheckState::Pending,
        // Still at work, although its end is known.
        "running" | "canceling" => CheckState::Running,
        "success" => CheckState::Success,
        "failed" => CheckState::Failed,
        "canceled" => CheckState::Cancelled,
        "skipped" => CheckState::Skipped,
        "manual" => CheckState::Manual,
        other => CheckState::Unknown(other.to_owned()),
    }
}

/// The word by which a state is published; `None` for what only GitLab's own CI can be in.
pub(crate) fn publishable(state: &CheckState) -> Option<&'static str> {
    Some(match state {
        CheckState::Pending => "pending",
        CheckState::Running => "running",
        CheckState::Success => "success",
        CheckState::Failed => "failed",
        CheckState::Cancelled => "canceled",
        // Since 18.x; older versions refuse it by name.
        CheckState::Skipped => "skipped",
        _ => return None,
    })
}

pub(crate) fn pipeline(wire: WirePipeline) -> Result<Pipeline> {
    let mut out = Pipeline::new(PipelineId::new(wire.id.to_string())?, check_state(&wire.status));
    out.sha = lenient(wire.sha);
    out.reference = wire.reference;
    out.source = wire.source;
    out.web_url = lenient(wire.web_url);
    out.created_at = lenient(wire.created_at);
    out.updated_at = lenient(wire.updated_at);
    Ok(out)
}

pub(crate) fn job(wire: WireJob) -> Result<Job> {
    let mut out = Job::new(JobId::new(wire.id.to_string())?, wire.name, check_state(&wire.status));
    out.stage = wire.stage;
    out.allow_failure = wire.allow_failure.unwrap_or(false);
    out.failure_reason = wire.failure_reason;
    out.web_url = lenient(wire.web_url);
    out.started_at = lenient(wire.started_at);
    out.finished_at = lenient(wire.finished_at);
    Ok(out)
}

/// A job as a check.
pub(crate) fn job_check(job: Job, sha: Option<Sha>) -> Result<Check> {
    let mut out = Check::new(CheckId::new(job.id.as_str())?, job.name, job.state);
    out.description = job.failure_reason;
    out.url = job.web_url;
    out.sha = sha;
    out.allow_failure = job.allow_failure;
    out.job = Some(job.id);
    Ok(out)
}

pub(crate) fn status_check(wire: WireStatus) -> Result<Check> {
    let id = wire.id.to_string();
    let mut out = Check::new(
        CheckId::new(id)?,
        wire.name.unwrap_or_else(|| "default".to_owned()),
        check_state(&wire.status),
    );
    out.description = wire.description;
    out.url = lenient(wire.target_url);
    out.sha = lenient(wire.sha);
    out.allow_failure = wire.allow_failure.unwrap_or(false);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draft_prefixes_come_and_go() {
        for title in ["Draft: Fix", "[Draft] Fix", "(draft) Fix", "Draft: draft: Fix", "Fix"] {
            assert_eq!(without_draft_prefix(title), "Fix", "{title}");
            assert_eq!(with_draft_prefix(title, true), "Draft: Fix");
            assert_eq!(with_draft_prefix(title, false), "Fix");
        }
        assert_eq!(without_draft_prefix("Drafting: ä"), "Drafting: ä");
    }

    #[test]
    fn access_levels_give_roles_also_unknown_ones() {
        for (level, expected) in [
            (0, Role::None),
            (5, Role::None),
            (10, Role::Guest),
            (15, Role::Guest),
            (20, Role::Read),
            (25, Role::Read),
            (30, Role::Write),
            (40, Role::Maintain),
            (50, Role::Own),
            (60, Role::Own),
        ] {
            assert_eq!(role(level), expected, "{level}");
        }
    }

    #[test]
    fn every_known_merge_status_has_a_reason() {
        let blocked = |status: &str| {
            let answer = mergeability(Some(status), None);
            answer.blockers.first().map(|blocker| blocker.reason.clone())
        };
        assert_eq!(mergeability(Some("mergeable"), None).readiness, Readiness::Ready);
        for status in ["preparing", "checking", "unchecked", "approvals_syncing"] {
            assert_eq!(mergeability(Some(status), None).readiness, Readiness::Checking, "{status}");
        }
        for status in [
            "commits_status",
            "ci_must_pass",
            "ci_still_running",
            "discussions_not_resolved",
            "draft_status",
            "not_open",
            "not_approved",
            "merge_request_blocked",
            "status_checks_must_pass",
            "jira_association_missing",
            "conflict",
            "need_rebase",
            "locked_paths",
            "locked_lfs_files",
            "merge_time",
            "security_policy_violations",
            "requested_changes",
        ] {
            let reason = blocked(status).unwrap();
            assert!(!matches!(reason, MergeReason::Unknown(_)), "{status}");
        }
        assert_eq!(blocked("brand_new"), Some(MergeReason::Unknown("brand_new".to_owned())));
    }

    #[test]
    fn a_bot_is_named_only_when_the_server_says_so() {
        let kind = |name: &str, bot| {
            let mut owner = Identity::new(UserName::new(name).unwrap());
            owner.bot = bot;
            token_kind(&owner)
        };
        assert_eq!(kind("group_7_bot_abc", Some(true)), Some(TokenKind::Group));
        assert_eq!(kind("project_12_bot1", Some(true)), Some(TokenKind::Project));
        assert_eq!(kind("renovate", Some(true)), Some(TokenKind::ServiceAccount));
        assert_eq!(kind("group_7_bot_abc", Some(false)), Some(TokenKind::Personal));
        assert_eq!(kind("group_7_bot_abc", None), None);
    }
}
