//! Test Connection: each fault made for real, its code and what the remedy tells to do.

use std::sync::Arc;

use scm_bitbucket_dc::{BitbucketDc, BitbucketDcConfig};
use scm_core::pipeline::{PipelineSettings, RetryPolicy};
use scm_core::{
    CheckOptions, CheckReport, Code, Credential, Finding, Outcome, Purpose, RepoId, Rung, Scm as _,
    StaticCredential, Transport,
};
use scm_testkit::fault::Fault;
use scm_testkit::sim::bitbucket_dc::{
    BitbucketDcSim, BitbucketDcSimBuilder, Permission, RepositorySpec, Role, TokenKind, TokenSpec,
};
use scm_transport::{DirectTransport, Network};
use serde_json::json;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

const TOKEN: &str = "BBDC-canary-0123456789";

fn config(url: &str, credential: Credential) -> BitbucketDcConfig {
    BitbucketDcConfig::new(url, Arc::new(StaticCredential::new(credential)))
        .unwrap()
        .with_pipeline(PipelineSettings::default().with_retry(RetryPolicy::never()))
}

async fn check(config: BitbucketDcConfig, opts: &CheckOptions) -> CheckReport {
    let transport = Transport::new(DirectTransport::new(&Network::new()).unwrap());
    BitbucketDc::new(config, transport).unwrap().connection().check(opts).await
}

/// The one finding of a code, with how it ended.
fn found(report: &CheckReport, code: Code, outcome: Outcome) -> Finding {
    let all: Vec<_> = report.findings().filter(|finding| finding.code == code).collect();
    assert_eq!(all.len(), 1, "{code} in {report}");
    assert_eq!(all[0].outcome, outcome, "{report}");
    all[0].clone()
}

/// What failed, which must be this alone; every rung above it is skipped.
fn failed(report: &CheckReport, code: Code) -> Finding {
    let failures = report.findings().filter(|finding| finding.outcome == Outcome::Failed);
    assert_eq!(failures.map(|finding| finding.code).collect::<Vec<_>>(), [code], "{report}");
    for rung in report.rungs.iter().filter(|rung| rung.rung > code.rung().max(Rung::Product)) {
        assert_eq!(rung.outcome, Outcome::Skipped, "{report}");
    }
    found(report, code, Outcome::Failed)
}

fn codes(report: &CheckReport) -> Vec<Code> {
    report.findings().map(|finding| finding.code).collect()
}

fn reading() -> CheckOptions {
    CheckOptions::default().with_purpose(Purpose::Read)
}

fn naming(names: &[&str]) -> CheckOptions {
    CheckOptions::default().with_repositories(names.iter().map(|name| RepoId::new(*name).unwrap()))
}

/// A server with the repositories `PROJ/web`, `PROJ/api` and `OTHER/web`.
struct World {
    sim: BitbucketDcSim,
}

impl World {
    async fn new() -> Self {
        Self::with(BitbucketDcSim::builder()).await
    }

    async fn with(builder: BitbucketDcSimBuilder) -> Self {
        let world = Self { sim: builder.start().await.unwrap() };
        for name in ["PROJ/web", "PROJ/api", "OTHER/web"] {
            world.sim.create_repository(name, &RepositorySpec::new().empty()).unwrap();
        }
        world
    }

    /// A connection by the token of a user who has these roles.
    fn user(&self, name: &str, roles: &[(&str, Role)]) -> BitbucketDcConfig {
        for (place, role) in roles {
            self.sim.add_member(place, name, *role).unwrap();
        }
        self.token(&TokenSpec::new(TokenKind::User, name))
    }

    fn token(&self, spec: &TokenSpec) -> BitbucketDcConfig {
        let secret = self.sim.issue_token(spec).unwrap().token;
        config(&self.sim.url(), Credential::Token(secret.into()))
    }

    /// A connection limited to a project.
    fn within(&self, key: &str, roles: &[(&str, Role)]) -> BitbucketDcConfig {
        self.user("svc", roles).with_project_key(key.parse().unwrap()).unwrap()
    }
}

#[tokio::test]
async fn a_projects_token_passes_and_only_its_permissions_stay_unknown() {
    let world = World::new().await;
    let token = TokenSpec::new(TokenKind::Project, "ci").on("PROJ").permissions([Permission::ProjectWrite]);
    let report = check(world.token(&token), &naming(&["PROJ/web", "PROJ/api"])).await;
    assert!(report.is_ok(), "{report}");
    assert_eq!(codes(&report), [Code::ScopeUnknown], "{report}");
    let unknown = found(&report, Code::ScopeUnknown, Outcome::Warning);
    assert!(unknown.remedy.contains("HTTP access tokens") && unknown.remedy.contains("Repository write"));
    let seen: Vec<_> = report.rungs.iter().map(|rung| (rung.rung, rung.seen.as_str())).collect();
    assert!(seen.contains(&(Rung::Product, "Bitbucket 9.4.1")), "{seen:?}");
    assert!(seen.contains(&(Rung::Role, "at least Write on 2 of 2 repositories looked at")), "{seen:?}");
    assert!(seen.contains(&(Rung::Repositories, "2 repositories")), "{seen:?}");
}

#[tokio::test]
async fn pages_with_hidden_rows_are_read_to_the_first_that_is_seen() {
    let world = World::with(BitbucketDcSim::builder().hidden_rows()).await;
    let config = world.user("svc", &[("PROJ/web", Role::Write), ("PROJ/api", Role::Read)]);
    let report = check(config, &naming(&["PROJ/web"])).await;
    assert!(report.is_ok(), "{report}");
    assert_eq!(found(&report, Code::RolePartial, Outcome::Warning).seen, "less than Write on PROJ/api");
}

#[tokio::test]
async fn the_root_is_found_above_a_wrong_path() {
    let sim = BitbucketDcSim::builder().context_path("/bitbucket").start().await.unwrap();
    // Answered by a redirect to the login page.
    let url = format!("{}/proj/web", sim.url());
    let report =
        check(config(&url, Credential::Token(sim.tokens()[0].token.clone().into())), &reading()).await;
    let finding = failed(&report, Code::UrlNotRoot);
    assert_eq!(finding.remedy, format!("Set the server URL to its root, `url = \"{}/\"`.", sim.url()));
}

#[tokio::test]
async fn what_answers_in_place_of_bitbucket_is_named() {
    let html = |status, body: &str| ResponseTemplate::new(status).set_body_raw(body.to_owned(), "text/html");
    let json = |body| ResponseTemplate::new(200).set_body_json(body);
    let login = "<html><form action='/sso'><input type=\"password\"></form>";
    for (given, code, words) in [
        (html(404, "<html><title>404</title>"), Code::ProductNotFound, "Nothing answers at /rest/api"),
        (html(200, login), Code::ProductLoginPage, "Let /rest/api pass without it"),
        (html(200, "<html><title>Welcome to nginx!</title>"), Code::ProductOther, "Check host, port"),
        (json(json!({"name": "another"})), Code::ProductOther, "Check host, port"),
        (
            json(json!({"version": "9.4.1", "displayName": "Another of the family"})),
            Code::ProductOther,
            "Check host, port",
        ),
        (html(502, "<html><title>502 Bad Gateway</title>"), Code::ServerUnavailable, "Try again"),
        (html(503, "<html><title>Starting up</title>"), Code::ServerUnavailable, "Try again"),
    ] {
        let server = MockServer::start().await;
        Mock::given(method("GET")).respond_with(given).mount(&server).await;
        let config = config(&server.uri(), Credential::Token(TOKEN.into()));
        let report = check(config, &CheckOptions::default()).await;
        let finding = failed(&report, code);
        assert!(finding.remedy.contains(words), "{report}");
        assert!(!report.to_string().contains(TOKEN));
    }
}

#[tokio::test]
async fn an_old_version_is_warned_of_and_the_climb_goes_on() {
    let world = World::with(BitbucketDcSim::builder().version("7.21.3")).await;
    let report = check(world.user("svc", &[("PROJ/web", Role::Write)]), &CheckOptions::default()).await;
    let finding = found(&report, Code::ServerTooOld, Outcome::Warning);
    assert_eq!(finding.seen, "Bitbucket 7.21.3");
    assert!(finding.remedy.contains("Upgrade the server to 8.0.0 or newer"), "{report}");
    assert!(report.is_ok() && report.rungs.last().unwrap().outcome == Outcome::Passed, "{report}");
}

#[tokio::test]
async fn every_token_that_is_not_taken_is_invalid() {
    for anonymous in [false, true] {
        let mut builder = BitbucketDcSim::builder();
        if anonymous {
            builder = builder.bad_tokens_are_anonymous();
        }
        let world = World::with(builder).await;
        world.sim.set_public("PROJ/web", true).unwrap();
        let user = || TokenSpec::new(TokenKind::User, "svc").on("PROJ").role(Role::Admin);
        let blocked = TokenSpec::new(TokenKind::User, "gone").on("PROJ").role(Role::Admin);
        let configs = [
            config(&world.sim.url(), Credential::Token(TOKEN.into())),
            world.token(&user().expires_at(world.sim.clock().date_in_days(-1))),
            world.token(&user().revoked()),
            world.token(&blocked),
        ];
        world.sim.deactivate_user("gone").unwrap();
        for config in configs {
            let report = check(config, &reading()).await;
            let finding = failed(&report, Code::AuthInvalid);
            assert!(finding.remedy.contains("wrong, expired or revoked"), "{report}");
            assert!(finding.remedy.contains("blocked user"), "{report}");
        }
    }
}

#[tokio::test]
async fn nobody_at_all_is_invalid() {
    let world = World::new().await;
    world.sim.set_public("PROJ/web", true).unwrap();
    let report = check(config(&world.sim.url(), Credential::Anonymous), &reading()).await;
    failed(&report, Code::AuthInvalid);
}

#[tokio::test]
async fn a_captcha_is_named() {
    let world = World::new().await;
    world.sim.add_member("PROJ", "svc", Role::Write).unwrap();
    world.sim.set_locked("svc", true).unwrap();
    let password = Credential::Basic { username: "svc".to_owned(), password: "svc".into() };
    let report = check(config(&world.sim.url(), password), &reading()).await;
    let finding = failed(&report, Code::AuthCaptcha);
    assert!(finding.seen.contains(&format!("{}/login", world.sim.url())), "{report}");
    assert!(finding.remedy.contains("Stop whatever goes on trying"), "{report}");
    assert!(finding.remedy.contains("log in once to Bitbucket in a browser"), "{report}");
}

#[tokio::test]
async fn a_captcha_is_known_by_its_header_too() {
    let world = World::new().await;
    let reason = "CAPTCHA_CHALLENGE; login-url=https://git.example.com/login";
    let fault = Fault::anywhere().html(403, "<html><title>Forbidden</title>");
    world.sim.faults().add(fault.header("X-Authentication-Denied-Reason", reason));
    failed(&check(world.user("svc", &[]), &reading()).await, Code::AuthCaptcha);
}

#[tokio::test]
async fn another_user_than_configured_is_named() {
    let world = World::new().await;
    let roles = [("PROJ", Role::Write)];
    let config = world.user("svc-scm", &roles).with_username("svc-other".parse().unwrap());
    let finding = failed(&check(config, &reading()).await, Code::AuthUsernameMismatch);
    assert_eq!(finding.seen, "the token belongs to 'svc-scm', not to 'svc-other'");
    assert_eq!(finding.remedy, "Set `username = \"svc-scm\"`, or give a token that 'svc-other' has made.");

    let config = world.user("svc-scm", &roles).with_username("SVC-SCM".parse().unwrap());
    let report = check(config, &reading()).await;
    assert!(report.is_ok(), "case does not count: {report}");
    let token = TokenSpec::new(TokenKind::Project, "ci").on("PROJ");
    let config = world.token(&token).with_username("svc-scm".parse().unwrap());
    let report = check(config, &reading()).await;
    assert!(report.is_ok(), "a project's token has no user: {report}");
}

#[tokio::test]
async fn the_token_of_an_account_is_warned_of() {
    let world = World::new().await;
    let report = check(world.user("ann", &[("PROJ", Role::Write)]), &CheckOptions::default()).await;
    let finding = found(&report, Code::AuthPersonalToken, Outcome::Warning);
    assert!(finding.remedy.contains("HTTP access token of the project"), "{report}");
    assert!(report.is_ok(), "{report}");
}

/// No version is known to tell them; those that do are believed.
#[tokio::test]
async fn permissions_and_expiry_are_looked_at_where_they_are_told() {
    let world = World::new().await;
    let expires = world.sim.clock().date_in_days(10);
    let tell = |permissions: serde_json::Value| {
        let body = json!({"id": "1", "name": "ci", "permissions": permissions,
            "expiryDate": format!("{expires}T12:00:00Z")});
        world.sim.faults().clear();
        world.sim.faults().add(Fault::on("GET", "/access-tokens/users/:userSlug/:tokenId").json(200, &body));
    };
    let roles = [("PROJ", Role::Write)];

    tell(json!(["PROJECT_READ", "REPO_READ"]));
    let report = check(world.user("svc", &roles), &CheckOptions::default()).await;
    let finding = failed(&report, Code::ScopeMissing);
    assert_eq!(
        finding.seen,
        "scopes PROJECT_READ, REPO_READ: none of them allows making branches and commits"
    );
    assert!(finding.remedy.contains("Repository write"), "{report}");
    let finding = found(&report, Code::AuthExpiresSoon, Outcome::Warning);
    assert_eq!(finding.seen, format!("the token expires on {expires}, in 10 days"));
    let report = check(world.user("svc", &roles), &reading().with_warn_days(5)).await;
    assert_eq!(codes(&report), [Code::AuthPersonalToken], "{report}");

    tell(json!([]));
    let report = check(world.user("svc", &roles), &reading()).await;
    assert!(failed(&report, Code::ScopeMissing).remedy.contains("Repository read"), "{report}");

    tell(json!(["REPO_WRITE"]));
    let report = check(world.user("svc", &roles), &CheckOptions::default().with_warn_days(5)).await;
    assert_eq!(codes(&report), [Code::AuthPersonalToken], "{report}");
}

#[tokio::test]
async fn who_may_write_nowhere_is_told_so() {
    let world = World::new().await;
    let read_only = world.user("svc", &[("PROJ", Role::Read)]);
    // The user may write, but not by this token.
    world.sim.add_member("PROJ", "ann", Role::Write).unwrap();
    let weak = TokenSpec::new(TokenKind::User, "ann").permissions([Permission::RepoRead]);
    for config in [read_only, world.token(&weak)] {
        let report = check(config.clone(), &CheckOptions::default()).await;
        let finding = failed(&report, Code::RoleInsufficient);
        assert_eq!(finding.seen, "the token's user has the permission Write nowhere");
        assert!(finding.remedy.contains("Project settings, Project permissions"), "{report}");
        assert!(finding.remedy.contains("the token itself the permission Repository write"), "{report}");
        assert!(check(config, &reading()).await.is_ok());
    }
}

#[tokio::test]
async fn what_can_only_be_read_is_listed() {
    let world = World::with(BitbucketDcSim::builder().public_counts_as_read()).await;
    world.sim.set_public("OTHER/web", true).unwrap();
    let config = world.user("svc", &[("PROJ/api", Role::Read), ("PROJ/web", Role::Write)]);
    let report = check(config.clone(), &CheckOptions::default()).await;
    let finding = found(&report, Code::RolePartial, Outcome::Warning);
    assert_eq!(finding.seen, "less than Write on OTHER/web, PROJ/api");
    assert_eq!(finding.remedy, "Give the permission Write there too, or leave these repositories out.");
    assert!(report.is_ok(), "{report}");
    let report =
        check(config.with_project_key("PROJ".parse().unwrap()).unwrap(), &CheckOptions::default()).await;
    assert_eq!(found(&report, Code::RolePartial, Outcome::Warning).seen, "less than Write on PROJ/api");
}

#[tokio::test]
async fn who_sees_nothing_is_told_where_permissions_are_given() {
    let world = World::new().await;
    let report = check(world.user("svc", &[]), &CheckOptions::default()).await;
    let finding = failed(&report, Code::RepositoriesNone);
    assert_eq!(finding.seen, "the token is a member of no repository");
    assert!(finding.remedy.contains("Repository settings, Repository permissions"), "{report}");

    world.sim.create_project("EMPTY").unwrap();
    let roles = [("EMPTY", Role::Write), ("PROJ", Role::Write)];
    let report = check(world.within("EMPTY", &roles), &CheckOptions::default()).await;
    let finding = failed(&report, Code::RepositoriesNone);
    assert_eq!(finding.seen, "the token is a member of no repository in 'EMPTY'");
}

#[tokio::test]
async fn a_project_that_cannot_be_seen_is_named() {
    let world = World::new().await;
    for key in ["NOPE", "OTHER"] {
        let report = check(world.within(key, &[("PROJ", Role::Write)]), &CheckOptions::default()).await;
        let finding = failed(&report, Code::NamespaceNotFound);
        assert!(finding.seen.starts_with(&format!("'{key}' cannot be seen (")), "{report}");
        assert!(finding.remedy.contains("Check the key in `project_key`"), "{report}");
        assert!(finding.remedy.contains("upper case as a rule"), "{report}");
    }
}

#[tokio::test]
async fn a_named_repository_that_cannot_be_seen_is_told() {
    let world = World::new().await;
    let config = world.user("svc", &[("PROJ", Role::Write)]);
    for name in ["PROJ/nope", "OTHER/web"] {
        let report = check(config.clone(), &naming(&["PROJ/web", name])).await;
        let finding = failed(&report, Code::RepositoryNotVisible);
        assert!(finding.seen.starts_with(&format!("'{name}' cannot be seen (")), "{report}");
        assert!(
            finding.remedy.starts_with(&format!("Check the path '{name}', which is project key and slug"))
        );
    }
}

#[tokio::test]
async fn a_named_repository_of_another_project_is_told() {
    let world = World::new().await;
    for roles in [&[("PROJ", Role::Write)][..], &[("PROJ", Role::Write), ("OTHER", Role::Write)]] {
        let report = check(world.within("PROJ", roles), &naming(&["web", "OTHER/web"])).await;
        let finding = failed(&report, Code::RepositoryOutsideNamespace);
        assert_eq!(finding.seen, "'OTHER/web' is not in 'PROJ', to which the connection is limited");
        assert!(finding.remedy.contains("a connection of its own"), "{report}");
    }
    // Moved away: the old place leads to it.
    world.sim.move_repository("PROJ/api", "OTHER/api").unwrap();
    let config = world.within("PROJ", &[("PROJ", Role::Write), ("OTHER", Role::Write)]);
    let report = check(config, &naming(&["PROJ/api"])).await;
    assert!(failed(&report, Code::RepositoryOutsideNamespace).seen.starts_with("'OTHER/api'"), "{report}");
}

#[tokio::test]
async fn a_named_repository_that_may_not_be_written_is_told() {
    let world = World::new().await;
    // Its name is not its slug, and another project has one of the same name.
    let named = |name: &str| RepositorySpec::new().empty().name(name);
    world.sim.create_repository("PROJ/the-app", &named("The App")).unwrap();
    world.sim.create_repository("OTHER/the-app", &named("The App")).unwrap();
    let roles = [("PROJ/the-app", Role::Read), ("OTHER/the-app", Role::Write), ("PROJ/web", Role::Write)];
    let config = world.user("svc", &roles);
    let report = check(config.clone(), &naming(&["OTHER/the-app"])).await;
    assert!(report.is_ok(), "{report}");
    let report = check(config.clone(), &naming(&["PROJ/the-app"])).await;
    let finding = failed(&report, Code::RepositoryWriteDenied);
    assert_eq!(finding.seen, "the token's user may not write to 'PROJ/the-app'");
    assert!(finding.remedy.contains("the permission Write on 'PROJ/the-app' or on its project"), "{report}");
    assert!(check(config.clone(), &naming(&["PROJ/the-app"]).with_purpose(Purpose::Read)).await.is_ok());

    world.sim.set_archived("OTHER/the-app", true).unwrap();
    let report = check(config, &naming(&["OTHER/the-app"])).await;
    let finding = failed(&report, Code::RepositoryWriteDenied);
    assert_eq!(finding.seen, "'OTHER/the-app' is archived");
    assert!(finding.remedy.contains("Unarchive"), "{report}");
}
