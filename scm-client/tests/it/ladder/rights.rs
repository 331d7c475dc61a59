//! Credential, scopes, role and repositories, by the simulators.

use scm_client::core::{CheckOptions, Code, Outcome, RepoId};
use scm_testkit::fault::Fault;
use scm_testkit::sim::bitbucket_dc::{self as bitbucket, BitbucketDcSim};
use scm_testkit::sim::gitlab::{GitLabSim, Role, TokenKind, TokenSpec};

use super::{Connection, Section};

fn naming(name: &str) -> CheckOptions {
    CheckOptions::default().with_repositories([RepoId::new(name).unwrap()])
}

#[tokio::test]
async fn each_fault_has_its_code() {
    let mut section = Section::new("credential, scopes, role, repositories");
    gitlab(&mut section).await;
    bitbucket(&mut section).await;
    section.assert_on_page();
}

async fn gitlab(section: &mut Section) {
    let sim = GitLabSim::builder().seed_demo().start().await.unwrap();
    let issue = |spec: TokenSpec| sim.issue_token(&spec).unwrap().token;
    let service =
        |user: &str| TokenSpec::new(TokenKind::ServiceAccount, user).on("demo").role(Role::Developer);
    let to = |token: String| Connection::to("gitlab", sim.url()).token(token);
    let day = |days| sim.clock().date_in_days(days);
    section.stable(day(-1), "2031-02-02");
    section.stable(day(10), "2031-02-13");

    let unknown = to("glpat-unknown".to_owned());
    section.found(Code::AuthInvalid, "GitLab: a token that was never there", &unknown.check().await);
    let expired = to(issue(service("old").expires_at(day(-1))));
    section.found(Code::AuthExpired, "GitLab: a token that ended yesterday", &expired.check().await);
    let revoked = to(issue(service("gone").revoked()));
    section.found(Code::AuthRevoked, "GitLab: a revoked token", &revoked.check().await);
    let blocked = to(issue(service("blocked")));
    sim.block_user("blocked").unwrap();
    section.found(Code::AuthBlocked, "GitLab: the user is blocked", &blocked.check().await);
    let soon = to(issue(service("soon").expires_at(day(10))));
    section.found(Code::AuthExpiresSoon, "GitLab: a token that ends in ten days", &soon.check().await);
    let person = to(issue(TokenSpec::new(TokenKind::Personal, "jane").on("demo").role(Role::Developer)));
    section.found(Code::AuthPersonalToken, "GitLab: a person's token", &person.check().await);
    let reads = to(issue(service("reads").scopes(["read_api", "read_repository"])));
    section.found(Code::ScopeMissing, "GitLab: without the scope `api`", &reads.check().await);
    let guest = to(issue(TokenSpec::new(TokenKind::Group, "guest").on("demo").role(Role::Guest)));
    section.found(Code::RoleInsufficient, "GitLab: a guest", &guest.check().await);
    let member_of_nothing = to(issue(TokenSpec::new(TokenKind::ServiceAccount, "nobody")));
    section.found(Code::RepositoriesNone, "GitLab: a member of nothing", &member_of_nothing.check().await);

    let some = issue(service("some"));
    for place in ["demo/legacy"] {
        let report = to(some.clone()).check_for(&naming(place)).await;
        section.found(Code::RepositoryWriteDenied, "GitLab: an archived repository", &report);
    }
    let report = to(some).check_for(&naming("demo/nowhere")).await;
    section.found(Code::RepositoryNotVisible, "GitLab: a repository that is not there", &report);
}

async fn bitbucket(section: &mut Section) {
    use bitbucket::{RepositorySpec, Role, TokenKind, TokenSpec};

    let sim = BitbucketDcSim::builder().start().await.unwrap();
    for name in ["PROJ/web", "PROJ/api", "OTHER/web"] {
        sim.create_repository(name, &RepositorySpec::new().empty()).unwrap();
    }
    section.stable(sim.url(), "https://bitbucket.company.com");
    let token = |user: &str, roles: &[(&str, Role)]| {
        for (place, role) in roles {
            sim.add_member(place, user, *role).unwrap();
        }
        sim.issue_token(&TokenSpec::new(TokenKind::User, user)).unwrap().token
    };
    let to = |token: &str| Connection::to("bitbucket-dc", sim.url()).token(token);
    let project = |token: &str, key: &str| to(token).with(format!("project_key = \"{key}\""));
    let svc = token("svc", &[("PROJ", Role::Write)]);

    section.found(Code::AuthInvalid, "Bitbucket: a token that is not taken", &to("unknown").check().await);
    let reason = "CAPTCHA_CHALLENGE; login-url=https://bitbucket.company.com/login";
    let denied = Fault::anywhere().html(403, "<html><title>Forbidden</title>");
    sim.faults().add(denied.header("X-Authentication-Denied-Reason", reason));
    section.found(Code::AuthCaptcha, "Bitbucket: locked after wrong passwords", &to(&svc).check().await);
    sim.faults().clear();
    let other = to(&svc).with("username = \"svc-other\"");
    section.found(
        Code::AuthUsernameMismatch,
        "Bitbucket: another user name than configured",
        &other.check().await,
    );
    let report = to(&svc).check().await;
    section.found(Code::AuthPersonalToken, "Bitbucket: a user's token", &report);
    section.found(Code::ScopeUnknown, "Bitbucket: every token", &report);
    let reads = token("reads", &[("PROJ", Role::Read)]);
    section.found(Code::RoleInsufficient, "Bitbucket: may only read", &to(&reads).check().await);
    let some = token("some", &[("PROJ/web", Role::Write), ("PROJ/api", Role::Read)]);
    section.found(Code::RolePartial, "Bitbucket: may only read one of two", &to(&some).check().await);
    let nobody = token("nobody", &[]);
    section.found(Code::RepositoriesNone, "Bitbucket: no permission anywhere", &to(&nobody).check().await);
    let wrong = project(&svc, "NOPE").check().await;
    section.found(Code::NamespaceNotFound, "Bitbucket: a wrong project key", &wrong);
    let report = to(&svc).check_for(&naming("PROJ/nope")).await;
    section.found(Code::RepositoryNotVisible, "Bitbucket: a repository that is not there", &report);
    let report = project(&svc, "PROJ").check_for(&naming("OTHER/web")).await;
    section.found(Code::RepositoryOutsideNamespace, "Bitbucket: a repository of another project", &report);
    let report = to(&some).check_for(&naming("PROJ/api")).await;
    section.found(Code::RepositoryWriteDenied, "Bitbucket: a repository that may only be read", &report);
}

#[tokio::test]
async fn an_outage_is_not_taken_for_a_missing_right() {
    use bitbucket::{RepositorySpec, Role, TokenKind, TokenSpec};

    let sim = BitbucketDcSim::builder().start().await.unwrap();
    sim.create_repository("PROJ/web", &RepositorySpec::new().empty()).unwrap();
    sim.add_member("PROJ", "svc", Role::Write).unwrap();
    let token = sim.issue_token(&TokenSpec::new(TokenKind::User, "svc")).unwrap().token;
    // After the two lists of the rung below comes the question for this one.
    sim.faults().add(Fault::on("GET", "/api/repos").after(2).html(503, "<html><title>Down</title>"));
    let report = Connection::to("bitbucket-dc", sim.url()).token(token).check_for(&naming("PROJ/web")).await;
    let failed: Vec<_> = report.findings().filter(|finding| finding.outcome == Outcome::Failed).collect();
    assert_eq!(failed.len(), 1, "{report}");
    assert_eq!(failed[0].code, Code::ServerUnavailable, "{report}");
    assert!(failed[0].seen.contains("'PROJ/web'"), "{report}");
}
