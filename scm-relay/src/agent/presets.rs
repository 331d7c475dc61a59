//! What the presets let through: what this crate family asks of each product, and nothing else.

use http::Method;

use super::policy::{Grant, Preset, Segment};

/// Who may use a rule, its methods, and its path below the server's root: `*` is one segment, `{}` one that is a name of
/// anything, `**` at the end one or more of those. Only names may look as if they were encoded twice.
type Rule = (Grant, &'static [Method], &'static str);

const READ: &[Method] = &[Method::GET, Method::HEAD];
const POST: &[Method] = &[Method::POST];
const PUT: &[Method] = &[Method::PUT];
const DELETE: &[Method] = &[Method::DELETE];
const POST_DELETE: &[Method] = &[Method::POST, Method::DELETE];
const PUT_DELETE: &[Method] = &[Method::PUT, Method::DELETE];

const GITLAB: &[Rule] = &[
    (Grant::Read, READ, "api/v4/metadata"),
    (Grant::Read, READ, "api/v4/version"),
    (Grant::Read, READ, "api/v4/user"),
    (Grant::Read, READ, "api/v4/users"),
    (Grant::Read, READ, "api/v4/personal_access_tokens/self"),
    (Grant::Read, READ, "api/v4/groups"),
    (Grant::Read, READ, "api/v4/groups/*"),
    (Grant::Read, READ, "api/v4/groups/*/descendant_groups"),
    (Grant::Read, READ, "api/v4/groups/*/projects"),
    (Grant::Read, READ, "api/v4/projects"),
    (Grant::Read, READ, "api/v4/projects/*"),
    (Grant::Read, READ, "api/v4/projects/*/repository/**"),
    (Grant::Read, READ, "api/v4/projects/*/protected_branches"),
    (Grant::Read, READ, "api/v4/projects/*/protected_branches/{}"),
    (Grant::Read, READ, "api/v4/projects/*/merge_requests"),
    (Grant::Read, READ, "api/v4/projects/*/merge_requests/**"),
    (Grant::Read, READ, "api/v4/projects/*/pipelines"),
    (Grant::Read, READ, "api/v4/projects/*/pipelines/*"),
    (Grant::Read, READ, "api/v4/projects/*/pipelines/*/jobs"),
    (Grant::Read, READ, "api/v4/projects/*/jobs/*"),
    (Grant::Read, READ, "api/v4/projects/*/jobs/*/trace"),
    (Grant::Write, POST, "api/v4/projects/*/repository/branches"),
    (Grant::Write, DELETE, "api/v4/projects/*/repository/branches/{}"),
    (Grant::Write, POST, "api/v4/projects/*/repository/commits"),
    (Grant::Write, POST, "api/v4/projects/*/repository/tags"),
    (Grant::Write, POST, "api/v4/projects/*/statuses/*"),
    (Grant::Write, POST, "api/v4/projects/*/pipelines/*/cancel"),
    (Grant::Write, POST, "api/v4/projects/*/pipelines/*/retry"),
    (Grant::Write, POST, "api/v4/projects/*/jobs/*/cancel"),
    (Grant::Write, POST, "api/v4/projects/*/jobs/*/play"),
    (Grant::Write, POST, "api/v4/projects/*/jobs/*/retry"),
    (Grant::Write, POST, "api/v4/projects/*/merge_requests"),
    (Grant::Write, PUT, "api/v4/projects/*/merge_requests/*"),
    (Grant::Write, PUT, "api/v4/projects/*/merge_requests/*/merge"),
    (Grant::Write, PUT, "api/v4/projects/*/merge_requests/*/rebase"),
    (Grant::Write, POST, "api/v4/projects/*/merge_requests/*/approve"),
    (Grant::Write, POST, "api/v4/projects/*/merge_requests/*/unapprove"),
    (Grant::Write, POST, "api/v4/projects/*/merge_requests/*/cancel_merge_when_pipeline_succeeds"),
    (Grant::Write, POST, "api/v4/projects/*/merge_requests/*/notes"),
    (Grant::Write, PUT_DELETE, "api/v4/projects/*/merge_requests/*/notes/*"),
    (Grant::Write, POST, "api/v4/projects/*/merge_requests/*/discussions"),
    (Grant::Write, PUT, "api/v4/projects/*/merge_requests/*/discussions/*"),
    (Grant::Write, POST, "api/v4/projects/*/merge_requests/*/discussions/*/notes"),
];

const BITBUCKET_DC: &[Rule] = &[
    (Grant::Read, READ, "rest/api/latest/application-properties"),
    (Grant::Read, READ, "rest/api/latest/users"),
    (Grant::Read, READ, "rest/api/latest/profile/recent/repos"),
    (Grant::Read, READ, "plugins/servlet/applinks/whoami"),
    (Grant::Read, READ, "rest/access-tokens/latest/users/*/*"),
    (Grant::Read, READ, "rest/api/latest/repos"),
    (Grant::Read, READ, "rest/api/latest/projects"),
    (Grant::Read, READ, "rest/api/latest/projects/*"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/archive"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/branches"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/branches/default"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/browse"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/browse/**"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/changes"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/commits"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/commits/**"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/compare/**"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/default-branch"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/files"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/files/**"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/forks"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/pull-requests"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/pull-requests/**"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/raw/**"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/settings/pull-requests"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/tags"),
    (Grant::Read, READ, "rest/api/latest/projects/*/repos/*/tags/**"),
    (Grant::Read, READ, "rest/branch-permissions/latest/projects/*/repos/*/restrictions"),
    (Grant::Read, READ, "rest/build-status/latest/commits/*"),
    (Grant::Read, READ, "rest/default-reviewers/latest/projects/*/repos/*/reviewers"),
    (Grant::Write, POST, "rest/api/latest/projects/*/repos/*/branches"),
    (Grant::Write, DELETE, "rest/branch-utils/latest/projects/*/repos/*/branches"),
    (Grant::Write, POST, "rest/git/latest/projects/*/repos/*/tags"),
    (Grant::Write, POST, "rest/api/latest/projects/*/repos/*/commits/*/builds"),
    (Grant::Write, PUT, "rest/insights/latest/projects/*/repos/*/commits/*/reports/*"),
    (Grant::Write, POST_DELETE, "rest/insights/latest/projects/*/repos/*/commits/*/reports/*/annotations"),
    (Grant::Write, POST, "rest/api/latest/projects/*/repos/*/pull-requests"),
    (Grant::Write, PUT, "rest/api/latest/projects/*/repos/*/pull-requests/*"),
    (Grant::Write, POST, "rest/api/latest/projects/*/repos/*/pull-requests/*/decline"),
    (Grant::Write, POST, "rest/api/latest/projects/*/repos/*/pull-requests/*/merge"),
    (Grant::Write, POST, "rest/api/latest/projects/*/repos/*/pull-requests/*/reopen"),
    (Grant::Write, POST_DELETE, "rest/api/latest/projects/*/repos/*/pull-requests/*/approve"),
    (Grant::Write, DELETE, "rest/api/latest/projects/*/repos/*/pull-requests/*/auto-merge"),
    (Grant::Write, POST, "rest/api/latest/projects/*/repos/*/pull-requests/*/comments"),
    (Grant::Write, PUT_DELETE, "rest/api/latest/projects/*/repos/*/pull-requests/*/comments/*"),
    (Grant::Write, POST, "rest/git/latest/projects/*/repos/*/pull-requests/*/rebase"),
];

/// The grant and the name of the rule that `method` and the decoded segments of a path fall under.
pub(super) fn matching(
    preset: Preset,
    method: &Method,
    path: &[Segment],
    query: &str,
) -> Option<(Grant, &'static str)> {
    // The first would be answered with the credential that the agent has put on it.
    if [Method::TRACE, Method::CONNECT].contains(method) {
        return None;
    }
    let rules = match preset {
        Preset::Any => return path.iter().all(|segment| !segment.twice).then_some((Grant::Any, "any")),
        Preset::GitLab => GITLAB,
        Preset::BitbucketDc => BITBUCKET_DC,
    };
    if let Some(grant) = git(preset, method, path, query) {
        return Some((grant, grant.as_str()));
    }
    let rule = rules.iter().find(|(_, methods, pattern)| methods.contains(method) && fits(pattern, path))?;
    Some((rule.0, rule.2))
}

fn fits(pattern: &str, path: &[Segment]) -> bool {
    let mut path = path.iter();
    for wanted in pattern.split('/') {
        match (wanted, path.next()) {
            ("**", Some(_)) => return true,
            ("{}", Some(_)) => {}
            ("*", Some(seen)) if !seen.twice => {}
            (wanted, Some(seen)) if wanted == seen.text => {}
            _ => return false,
        }
    }
    path.next().is_none()
}

/// git's smart protocol; the dumb one, which reads any file, is not spoken.
fn git(preset: Preset, method: &Method, path: &[Segment], query: &str) -> Option<Grant> {
    if path.iter().any(|segment| segment.twice) {
        return None;
    }
    let path: Vec<&str> = path.iter().map(|segment| segment.text.as_str()).collect();
    let (repository, service) = match path.as_slice() {
        [before @ .., info, refs] if *info == "info" && *refs == "refs" => {
            let service = match (method, query) {
                (&Method::GET, "service=git-upload-pack") => "git-upload-pack",
                (&Method::GET, "service=git-receive-pack") => "git-receive-pack",
                _ => return None,
            };
            (before, service)
        }
        [before @ .., service] if method == Method::POST && query.is_empty() => (before, *service),
        _ => return None,
    };
    let place = match preset {
        Preset::BitbucketDc => repository.len() == 3 && repository.first() == Some(&"scm"),
        _ => repository.len() >= 2,
    };
    if !place || !repository.last().is_some_and(|name| name.ends_with(".git") && name.len() > 4) {
        return None;
    }
    match service {
        "git-upload-pack" => Some(Grant::Clone),
        "git-receive-pack" => Some(Grant::Push),
        _ => None,
    }
}
