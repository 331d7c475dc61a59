//! The simulator of Bitbucket Data Center.

mod access;
mod branches;
mod builds;
mod comments;
mod contents;
mod git;
mod lists;
mod merging;
mod pull_requests;
mod repositories;
mod strict;
mod versions;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use scm_testkit::sim::bitbucket_dc::{BitbucketDcSim, RepositorySpec, Role, TokenKind, TokenSpec};
use serde_json::Value;

use crate::client::{Answer, Client};

/// Below which most paths of most tests are.
const REPO: &str = "/api/latest/projects/DEMO/repos/web";

pub(crate) fn anonymous(sim: &BitbucketDcSim) -> Client {
    Client::below(&sim.url(), "/rest")
}

pub(crate) fn bearer(sim: &BitbucketDcSim, token: &str) -> Client {
    anonymous(sim).with_header("Authorization", &format!("Bearer {token}"))
}

pub(crate) fn basic(sim: &BitbucketDcSim, user: &str, password: &str) -> Client {
    let text = STANDARD.encode(format!("{user}:{password}"));
    anonymous(sim).with_header("Authorization", &format!("Basic {text}"))
}

/// A client with the first token, which may do everything.
pub(crate) fn client(sim: &BitbucketDcSim) -> Client {
    bearer(sim, &sim.tokens()[0].token)
}

/// A client of a user who is granted a role in one place.
pub(crate) fn member(sim: &BitbucketDcSim, name: &str, place: &str, role: Role) -> Client {
    let spec = TokenSpec::new(TokenKind::User, name).on(place).role(role);
    bearer(sim, &sim.issue_token(&spec).unwrap().token)
}

/// One private repository `DEMO/web` with three files.
pub(crate) async fn started() -> BitbucketDcSim {
    let sim = BitbucketDcSim::builder().start().await.unwrap();
    fill(&sim);
    sim
}

pub(crate) fn fill(sim: &BitbucketDcSim) {
    let spec = RepositorySpec::new()
        .file("README.md", "# web\n")
        .file("src/a.txt", "one\ntwo\nthree\n")
        .file("src/deep/b.txt", "b\n");
    sim.create_repository("DEMO/web", &spec).unwrap();
    sim.add_member("DEMO", "scm", Role::Admin).unwrap();
}

/// The status and the simple name of the first exception.
pub(crate) fn refusal(answer: &Answer) -> (u16, String) {
    let body = answer.json();
    let name = body["errors"][0]["exceptionName"].as_str().unwrap_or_default().to_owned();
    (answer.status, name.rsplit('.').next().unwrap_or_default().to_owned())
}

/// One member of every value of a page.
pub(crate) fn column(page: &Value, pointer: &str) -> Vec<String> {
    let text = |value: &Value| {
        let found = value.pointer(pointer).unwrap_or_else(|| panic!("no {pointer} in {value}"));
        found.as_str().map_or_else(|| found.to_string(), str::to_owned)
    };
    page["values"].as_array().unwrap_or_else(|| panic!("no page: {page}")).iter().map(text).collect()
}
