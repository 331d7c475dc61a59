//! Wire → model.

use scm_core::pipeline::{lenient, told};
use scm_core::{
    Approvals, Branch, BranchName, BranchProtection, Check, CheckId, CheckState, Comment, CommentId,
    CommentPosition, Commit, DiffSide, EntryKind, FileMode, FilePath, Identity, LineRange, MergeBlocker,
    MergeReason, Mergeability, Namespace, NamespaceKind, Person, PullRequest, PullRequestId,
    PullRequestState, Readiness, RepoId, Repository, Result, Role, Sha, Tag, ThreadId, Timestamp, TreeEntry,
    UserName, Visibility,
};

use crate::wire::{
    WireAnchor, WireBranch, WireBuild, WireComment, WireCommit, WireEntry, WireMergeability, WireParticipant,
    WirePerson, WireProject, WirePullRequest, WireRepository, WireRestriction, WireTag, WireTime, WireUser,
};

/// The permission on repositories that gives a role; `None` for a role that Bitbucket gives nobody.
pub(crate) fn repository_permission(role: Role) -> Option<&'static str> {
    match role {
        Role::None | Role::Guest | Role::Read => Some("REPO_READ"),
        Role::Write => Some("REPO_WRITE"),
        Role::Maintain => Some("REPO_ADMIN"),
        _ => None,
    }
}

/// The permission on projects that gives a role.
pub(crate) fn project_permission(role: Role) -> &'static str {
    match role {
        Role::None | Role::Guest | Role::Read => "PROJECT_READ",
        Role::Write => "PROJECT_WRITE",
        _ => "PROJECT_ADMIN",
    }
}

fn time(wire: Option<WireTime>) -> Option<Timestamp> {
    wire.and_then(|time| time.read())
}

/// The name that this SDK gives a repository: project key and slug.
pub(crate) fn repository_id(wire: &WireRepository) -> Result<RepoId> {
    told("slug", format!("{}/{}", wire.project.key, wire.slug))
}

pub(crate) fn repository(wire: WireRepository) -> Result<Repository> {
    let id = repository_id(&wire)?;
    let mut out = Repository::new(id.clone(), id, wire.name.unwrap_or(wire.slug));
    out.description = wire.description.filter(|text| !text.is_empty());
    out.namespace = lenient(Some(wire.project.key));
    out.archived = wire.archived;
    out.visibility = wire.public.map(|public| if public { Visibility::Public } else { Visibility::Private });
    out.forked_from = wire.origin.and_then(|origin| repository_id(&origin).ok());
    let links = wire.links.unwrap_or_default();
    out.clone_url = links.clone_url().and_then(|url| url.parse().ok());
    out.web_url = lenient(links.page());
    Ok(out)
}

pub(crate) fn namespace(wire: WireProject) -> Result<Namespace> {
    let kind = match wire.kind.as_deref() {
        Some("PERSONAL") => NamespaceKind::User,
        _ => NamespaceKind::Group,
    };
    let id: scm_core::NamespaceId = told("key", wire.key.clone())?;
    let mut out = Namespace::new(id.clone(), id, wire.name.unwrap_or(wire.key), kind);
    out.web_url = lenient(wire.links.and_then(|links| links.page()));
    Ok(out)
}

pub(crate) fn identity(wire: WireUser) -> Result<Identity> {
    let mut out = Identity::new(told("name", wire.name)?);
    out.id = wire.id.map(|id| id.to_string());
    out.name = wire.display_name;
    out.email = wire.email_address.filter(|text| !text.is_empty());
    out.bot = wire.kind.map(|kind| kind == "SERVICE");
    out.active = wire.active;
    Ok(out)
}

/// The short name of a branch.
pub(crate) fn short(id: &str) -> &str {
    id.strip_prefix("refs/heads/").unwrap_or(id)
}

pub(crate) fn branch(wire: WireBranch) -> Result<Branch> {
    let mut out = Branch::new(
        told("id", short(&wire.id))?,
        told("latestCommit", wire.latest_commit.unwrap_or_default())?,
    );
    out.default = wire.is_default;
    Ok(out)
}

pub(crate) fn tag(wire: WireTag) -> Result<Tag> {
    let name = wire.id.strip_prefix("refs/tags/").unwrap_or(&wire.id);
    Ok(Tag::new(told("id", name)?, told("latestCommit", wire.latest_commit.unwrap_or_default())?))
}

/// What the rules that cover a branch say together: each forbids what it names.
pub(crate) fn branch_protection(rules: &[WireRestriction]) -> BranchProtection {
    let mut out = BranchProtection::default();
    if rules.is_empty() {
        return out;
    }
    let has = |kinds: &[&str]| rules.iter().any(|rule| kinds.contains(&rule.kind.as_str()));
    out.protected = true;
    out.allow_force_push = Some(!has(&["read-only", "fast-forward-only", "pull-request-only"]));
    out.allow_delete = Some(!has(&["read-only", "no-deletes"]));
    out.pull_request_only = Some(has(&["pull-request-only"]));
    for rule in rules {
        let name = rule.matcher.display_id.as_deref().unwrap_or(&rule.matcher.id);
        if !out.patterns.iter().any(|pattern| pattern == name) {
            out.patterns.push(name.to_owned());
        }
    }
    out
}

fn person(wire: Option<WirePerson>) -> Option<Person> {
    let wire = wire?;
    // A commit of a known user shows the user, whose `name` is that for signing in.
    let name = wire.display_name.or(wire.name)?;
    Some(Person::as_told(name, wire.email_address.unwrap_or_default()))
}

pub(crate) fn commit(wire: WireCommit) -> Result<Commit> {
    let mut out = Commit::new(told("id", wire.id)?, wire.message.unwrap_or_default());
    out.author = person(wire.author);
    out.authored_at = time(wire.author_timestamp);
    out.committer = person(wire.committer);
    out.committed_at = time(wire.committer_timestamp);
    out.parents =
        wire.parents.into_iter().map(|parent| told("parents.id", parent.id)).collect::<Result<_>>()?;
    Ok(out)
}

/// An entry of the directory `within`.
pub(crate) fn tree_entry(within: Option<&FilePath>, wire: WireEntry) -> Result<TreeEntry> {
    let kind = match wire.kind.as_str() {
        "FILE" => EntryKind::File,
        "DIRECTORY" => EntryKind::Directory,
        "SUBMODULE" => EntryKind::Submodule,
        _ => EntryKind::Unknown(wire.kind),
    };
    let mut out = TreeEntry::new(below(within, wire.path.into_text())?, kind);
    out.mode = match out.kind {
        EntryKind::Directory => Some(FileMode::Directory),
        EntryKind::Submodule => Some(FileMode::Submodule),
        _ => None,
    };
    out.id = wire.content_id.or(wire.node);
    Ok(out)
}

/// A file below `within`, which is all that a recursive list tells.
pub(crate) fn file_entry(within: Option<&FilePath>, path: String) -> Result<TreeEntry> {
    Ok(TreeEntry::new(below(within, path)?, EntryKind::File))
}

fn below(within: Option<&FilePath>, path: String) -> Result<FilePath> {
    told("path", within.map_or(path.clone(), |within| format!("{within}/{path}")))
}

fn users(wire: impl IntoIterator<Item = WireUser>) -> Vec<UserName> {
    wire.into_iter().filter_map(|user| UserName::new(user.name).ok()).collect()
}

pub(crate) fn pull_request(wire: WirePullRequest) -> Result<PullRequest> {
    let mut out = PullRequest::new(
        PullRequestId::new(wire.id),
        wire.title,
        told("fromRef.id", short(&wire.from_ref.id))?,
        told("toRef.id", short(&wire.to_ref.id))?,
    );
    out.description = wire.description.unwrap_or_default();
    out.state = match wire.state.as_str() {
        "OPEN" => PullRequestState::Open,
        "MERGED" => PullRequestState::Merged,
        "DECLINED" => PullRequestState::Closed,
        _ => PullRequestState::Unknown(wire.state),
    };
    out.draft = wire.draft;
    out.source_repository =
        wire.from_ref.repository.as_ref().and_then(|repository| repository_id(repository).ok());
    out.head = lenient(wire.from_ref.latest_commit);
    out.merge_commit = lenient(wire.properties.and_then(|given| given.merge_commit).map(|commit| commit.id));
    out.author = wire.author.and_then(|author| UserName::new(author.user.name).ok());
    out.reviewers = users(wire.reviewers.into_iter().map(|reviewer| reviewer.user));
    out.web_url = lenient(wire.links.and_then(|links| links.page()));
    out.created_at = time(wire.created_date);
    out.updated_at = time(wire.updated_date);
    let closed = time(wire.closed_date);
    out.merged_at = closed.filter(|_| out.state == PullRequestState::Merged);
    Ok(out)
}

/// What approvals say, and the checks that ask for them are told by [`mergeability`].
pub(crate) fn approvals(wire: WirePullRequest) -> Approvals {
    let has = |participant: &WireParticipant, status: &str| {
        participant.status.as_deref() == Some(status)
            || (status == "APPROVED" && participant.status.is_none() && participant.approved == Some(true))
    };
    let mut out = Approvals::default();
    for participant in wire.reviewers.into_iter().chain(wire.participants) {
        let list = if has(&participant, "APPROVED") {
            &mut out.approved_by
        } else if has(&participant, "NEEDS_WORK") {
            &mut out.changes_requested_by
        } else {
            continue;
        };
        list.extend(UserName::new(participant.user.name).ok());
    }
    out
}

pub(crate) fn mergeability(wire: WireMergeability) -> Mergeability {
    let mut blockers = Vec::new();
    let conflicted = wire.conflicted == Some(true) || wire.outcome.as_deref() == Some("CONFLICTED");
    if conflicted {
        blockers.push(MergeBlocker::new(MergeReason::Conflict, "the pull request has conflicts"));
    }
    for veto in wire.vetoes {
        let summary = veto.summary_message.unwrap_or_default();
        let reason = merge_reason(&summary);
        let texts = [Some(summary), veto.detailed_message];
        let texts: Vec<_> = texts.into_iter().flatten().filter(|text| !text.is_empty()).collect();
        blockers.push(MergeBlocker::new(reason, texts.join(": ")));
    }
    let readiness = match (blockers.is_empty(), wire.can_merge, wire.outcome.as_deref()) {
        (false, ..) => Readiness::Blocked,
        (true, Some(true), _) | (true, None, Some("CLEAN")) => Readiness::Ready,
        // Nobody has worked it out yet.
        (true, _, Some("UNKNOWN") | None) => Readiness::Checking,
        (true, ..) => {
            let silent = "the server says that it cannot be merged, and not why: most often the right to merge is missing";
            blockers.push(MergeBlocker::new(MergeReason::NotPermitted, silent));
            Readiness::Blocked
        }
    };
    let mut out = Mergeability::new(readiness);
    out.blockers = blockers;
    out
}

/// Vetoes are words for people, in the language of the server, and plugins have their own. What is not known is policy.
fn merge_reason(summary: &str) -> MergeReason {
    let text = summary.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if has(&["in progress", "still running"]) {
        MergeReason::ChecksRunning
    } else if has(&["build", "code insights", "quality report"]) {
        MergeReason::ChecksFailed
    } else if has(&["needs work", "changes requested"]) {
        MergeReason::ChangesRequested
    } else if has(&["approv", "reviewer"]) {
        MergeReason::NotApproved
    } else if has(&["task"]) {
        MergeReason::UnresolvedThreads
    } else if has(&["draft"]) {
        MergeReason::Draft
    } else if has(&["permission", "not permitted"]) {
        MergeReason::NotPermitted
    } else {
        MergeReason::Policy
    }
}

/// A comment and its replies, each before its own.
pub(crate) fn thread(mut wire: WireComment, anchor: Option<WireAnchor>) -> Result<Vec<Comment>> {
    let anchor = wire.anchor.take().or(anchor);
    let root = ThreadId::new(wire.id.to_string())?;
    let place = anchor.map(position).unwrap_or_default();
    let resolved = wire.thread_resolved;
    let mut out = Vec::new();
    let mut rest = vec![wire];
    while let Some(mut next) = rest.pop() {
        rest.extend(std::mem::take(&mut next.comments).into_iter().rev());
        let mut made = comment(next, &root)?;
        made.position.clone_from(&place);
        made.resolved = made.resolved.or(resolved);
        out.push(made);
    }
    Ok(out)
}

/// One comment of the thread `root`.
pub(crate) fn comment(wire: WireComment, root: &ThreadId) -> Result<Comment> {
    let mut out = Comment::new(CommentId::new(wire.id.to_string())?, wire.text);
    out.thread = Some(root.clone());
    out.author = wire.author.and_then(|user| UserName::new(user.name).ok());
    out.task = wire.severity.as_deref() == Some("BLOCKER");
    out.resolved = match wire.state.as_deref() {
        Some(state) if out.task => Some(state == "RESOLVED"),
        _ => wire.thread_resolved,
    };
    out.created_at = time(wire.created_date);
    out.updated_at = time(wire.updated_date);
    out.position = wire.anchor.map(position).unwrap_or_default();
    Ok(out)
}

fn position(wire: WireAnchor) -> CommentPosition {
    let Ok(path) = FilePath::new(wire.path.into_text()) else { return CommentPosition::General };
    let Some(end) = wire.line else { return CommentPosition::File { path } };
    let removed = wire.line_type.as_deref() == Some("REMOVED");
    let old = wire.file_type.as_deref().map_or(removed, |side| side == "FROM");
    let side = if old { DiffSide::Old } else { DiffSide::New };
    let start = wire.multiline_marker.map_or(end, |marker| marker.start_line);
    let old_path = wire.src_path.and_then(|path| FilePath::new(path.into_text()).ok());
    match LineRange::lines(side, start.min(end), end) {
        Ok(lines) => {
            let old_path = old_path.filter(|old| *old != path);
            CommentPosition::Lines { path, old_path, lines }
        }
        Err(_) => CommentPosition::File { path },
    }
}

pub(crate) fn check(sha: &Sha, wire: WireBuild) -> Result<Check> {
    let state = match wire.state.as_str() {
        "SUCCESSFUL" => CheckState::Success,
        "FAILED" => CheckState::Failed,
        "INPROGRESS" => CheckState::Running,
        "CANCELLED" => CheckState::Cancelled,
        _ => CheckState::Unknown(wire.state),
    };
    let name = wire.name.filter(|name| !name.is_empty()).unwrap_or_else(|| wire.key.clone());
    let mut out = Check::new(check_id(&wire.key)?, name, state);
    out.url = lenient(wire.url);
    out.description = wire.description.filter(|text| !text.is_empty());
    out.sha = Some(sha.clone());
    Ok(out)
}

/// Keys of builds may hold blanks.
pub(crate) fn check_id(key: &str) -> Result<CheckId> {
    told("key", key.split_whitespace().collect::<Vec<_>>().join("_"))
}

/// A state as it is published.
pub(crate) fn publishable(state: &CheckState) -> Option<&'static str> {
    Some(match state {
        CheckState::Pending | CheckState::Running => "INPROGRESS",
        CheckState::Success => "SUCCESSFUL",
        CheckState::Failed => "FAILED",
        CheckState::Cancelled => "CANCELLED",
        _ => return None,
    })
}

/// The full name of a branch.
pub(crate) fn full(name: &BranchName) -> String {
    format!("refs/heads/{name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(json: &str) -> Mergeability {
        mergeability(serde_json::from_str(json).unwrap())
    }

    #[test]
    fn mergeability_says_why() {
        for (json, readiness, reasons) in [
            (r#"{"canMerge":true,"conflicted":false,"outcome":"CLEAN"}"#, Readiness::Ready, vec![]),
            (r#"{"conflicted":false,"outcome":"CLEAN","vetoes":[]}"#, Readiness::Ready, vec![]),
            (r#"{"canMerge":false,"outcome":"UNKNOWN"}"#, Readiness::Checking, vec![]),
            (r#"{"canMerge":false,"outcome":"CLEAN"}"#, Readiness::Blocked, vec![MergeReason::NotPermitted]),
            (
                r#"{"canMerge":false,"conflicted":true,"outcome":"CONFLICTED"}"#,
                Readiness::Blocked,
                vec![MergeReason::Conflict],
            ),
            (
                r#"{"canMerge":false,"outcome":"CLEAN","vetoes":[
                    {"summaryMessage":"Not all required builds are successful yet","detailedMessage":"1 more"},
                    {"summaryMessage":"Requires approvals"},
                    {"summaryMessage":"Requires all tasks to be resolved"},
                    {"summaryMessage":"Lizenz fehlt"}]}"#,
                Readiness::Blocked,
                vec![
                    MergeReason::ChecksFailed,
                    MergeReason::NotApproved,
                    MergeReason::UnresolvedThreads,
                    MergeReason::Policy,
                ],
            ),
        ] {
            let out = merge(json);
            let seen: Vec<_> = out.blockers.iter().map(|blocker| blocker.reason.clone()).collect();
            assert_eq!((out.readiness, seen), (readiness, reasons), "{json}");
        }
        let told = merge(r#"{"vetoes":[{"summaryMessage":"A","detailedMessage":"b"}]}"#);
        assert_eq!(told.blockers[0].message, "A: b");
    }

    #[test]
    fn times_come_in_two_forms() {
        for text in ["1359075920000", r#""2013-01-25T01:05:20Z""#, r#""2013-01-25T11:05:20.000+1000""#] {
            let wire: WireTime = serde_json::from_str(text).unwrap();
            assert_eq!(wire.read().unwrap().to_string(), "2013-01-25T01:05:20Z", "{text}");
        }
    }

    #[test]
    fn replies_follow_what_they_answer() {
        let wire = r#"{"id":1,"version":0,"text":"a","comments":[
            {"id":2,"version":0,"text":"b","comments":[{"id":4,"version":0,"text":"c"}]},
            {"id":3,"version":0,"text":"d"}]}"#;
        let all = thread(serde_json::from_str(wire).unwrap(), None).unwrap();
        let texts: Vec<_> = all.iter().map(|comment| comment.body.as_str()).collect();
        assert_eq!(texts, ["a", "b", "c", "d"]);
        assert!(all.iter().all(|comment| comment.thread.as_ref().unwrap().as_str() == "1"));
    }
}
