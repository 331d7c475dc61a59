//! What a server can do beyond the traits, as plain data.

use serde::{Deserialize, Serialize};

/// What this server, version and token can do. Everything is off until a provider says otherwise.
///
/// Names follow one grammar: `noun`, `noun_verb`, `noun_with_option`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Capabilities {
    /// How exactly a commit onto an existing branch is guarded.
    pub commit_guard: CommitGuard,
    /// Commits can be signed by the caller.
    pub commit_with_signature: bool,
    /// A commit can start in another repository.
    pub commit_with_start_repository: bool,
    /// A branch can be deleted only while it points to an expected commit.
    pub branch_delete_with_expected_head: bool,
    /// Branch protection can be read.
    pub branch_protection: bool,
    /// Tags can be listed and made.
    pub tags: bool,
    /// Namespaces can be listed.
    pub namespaces: bool,
    /// Namespaces can be inside of others.
    pub namespace_with_parent: bool,
    /// A repository listing can be of what changed since a time.
    pub repository_list_with_changed_since: bool,
    /// A repository listing can be cut into ranges that are read at the same time.
    pub repository_list_with_partitions: bool,
    /// Archives can be read.
    pub archive: bool,
    /// Two revisions can be compared.
    pub commit_compare: bool,
    /// Pull requests can be drafts.
    pub pull_request_draft: bool,
    /// Pull requests have labels.
    pub pull_request_labels: bool,
    /// Pull requests have assignees.
    pub pull_request_assignees: bool,
    /// Pull requests have reviewers.
    pub pull_request_reviewers: bool,
    /// The source branch can be in a fork.
    pub pull_request_from_fork: bool,
    /// How it will be merged (squash, deleting the source) can be set on a pull request.
    pub pull_request_with_merge_options: bool,
    /// The server can merge once the checks pass.
    pub pull_request_auto_merge: bool,
    /// Approvals can be given and read.
    pub pull_request_approvals: bool,
    /// Changed files and diffs of a pull request can be read.
    pub pull_request_diff: bool,
    /// The source branch can be brought up to date by rebase.
    pub pull_request_align_rebase: bool,
    /// The source branch can be brought up to date by merge.
    pub pull_request_align_merge: bool,
    /// Comments can be answered in threads and threads resolved.
    pub comment_threads: bool,
    /// Comments can be put on files as a whole.
    pub comment_on_file: bool,
    /// Comments can be put on lines.
    pub comment_on_line: bool,
    /// Comments can be put on several lines.
    pub comment_on_lines: bool,
    /// Comments can be tasks.
    pub comment_tasks: bool,
    /// Pipelines and jobs can be read.
    pub pipelines: bool,
    /// Pipelines and jobs can be retried, cancelled and played.
    pub pipeline_control: bool,
    /// Check states can be published.
    pub check_publish: bool,
    /// Reports with notes on lines can be published.
    pub check_report: bool,
    /// Job logs can be read.
    pub ci_log: bool,
    /// Job logs can be read from an offset.
    pub ci_log_offset: bool,
    /// Job logs can be followed until the job ends.
    pub ci_log_follow: bool,
    /// Webhooks can be managed.
    pub webhooks: bool,
    /// The token can rotate itself.
    pub token_rotate: bool,
    /// The server tells scopes and expiry of the token.
    pub token_info: bool,
    /// The server tells why it refuses a token: expired, revoked, of a blocked user.
    pub token_faults: bool,
    /// Most items a page can have.
    pub page_size_max: Option<u32>,
}

/// How exactly a commit onto an existing branch is guarded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CommitGuard {
    /// Not at all.
    #[default]
    None,
    /// Per file, by its last commit: a change of another file in between goes unnoticed. An expected head is
    /// `Unsupported`.
    PerFile,
    /// By the expected head: if the branch has moved, nothing is written.
    Exact,
}
