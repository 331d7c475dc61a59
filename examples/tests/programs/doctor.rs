use std::time::Duration;

use scm_testkit::sim::gitlab::{GitLabSim, Role, TokenKind, TokenSpec};

use super::{Setup, json, run, text};

pub(crate) const DOCTOR: &str = env!("CARGO_BIN_EXE_doctor");

/// What doctor finds with one token: exit code and codes.
async fn codes(sim: &GitLabSim, token: usize, more: &[&str]) -> (Option<i32>, Vec<String>) {
    let setup = Setup::new(&sim.url(), &sim.tokens()[token].token);
    let mut args = vec!["--json", "--config", text(&setup.config)];
    args.extend_from_slice(more);
    let output = run(DOCTOR, &args).await;
    let shown =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!shown.contains(&sim.tokens()[token].token), "{shown}");
    let (exit, report) = json(&output);
    let codes = report["connections"][0]["codes"].as_array().unwrap();
    (exit, codes.iter().map(|code| code.as_str().unwrap().to_owned()).collect())
}

fn spec(user: &str, scopes: &[&str], role: Role) -> TokenSpec {
    TokenSpec::new(TokenKind::Group, user).scopes(scopes.iter().copied()).role(role).expires_at("2099-01-01")
}

#[tokio::test(flavor = "multi_thread")]
async fn each_token_gets_its_code() {
    let sim = GitLabSim::builder()
        .context_path("/gitlab")
        .seed_demo()
        .token(spec("full", &["api", "read_repository", "write_repository"], Role::Developer))
        .token(spec("api-only", &["api"], Role::Developer))
        .token(spec("expired", &["api"], Role::Developer).expires_at("2020-01-01"))
        .token(spec("readonly", &["read_api", "read_repository"], Role::Developer))
        .token(TokenSpec::new(TokenKind::Group, "foreign").scopes(["api"]))
        .token(spec("revoked", &["api"], Role::Developer).revoked())
        .token(spec("guest", &["api"], Role::Guest))
        .token(
            TokenSpec::new(TokenKind::Personal, "jane")
                .scopes(["api"])
                .role(Role::Developer)
                .expires_at("2099-01-01"),
        )
        .token(TokenSpec::new(TokenKind::ServiceAccount, "svc").scopes(["api"]).role(Role::Maintainer))
        .start()
        .await
        .unwrap();
    // On one of the demonstration's repositories everybody is only a reporter.
    assert_eq!(codes(&sim, 0, &[]).await, (Some(0), vec!["role.partial".to_owned()]));
    assert_eq!(codes(&sim, 1, &[]).await.0, Some(0), "api alone is enough");
    assert_eq!(codes(&sim, 2, &[]).await, (Some(1), vec!["auth.expired".to_owned()]));
    assert_eq!(codes(&sim, 3, &[]).await, (Some(1), vec!["scope.missing".to_owned()]));
    assert_eq!(codes(&sim, 3, &["--read-only"]).await.0, Some(0));
    assert_eq!(codes(&sim, 4, &[]).await, (Some(1), vec!["repositories.none".to_owned()]));
    assert_eq!(codes(&sim, 5, &[]).await, (Some(1), vec!["auth.revoked".to_owned()]));
    assert_eq!(codes(&sim, 6, &[]).await, (Some(1), vec!["role.insufficient".to_owned()]));
    assert_eq!(
        codes(&sim, 7, &[]).await,
        (Some(0), vec!["auth.personal_token".to_owned(), "role.partial".to_owned()])
    );
    assert_eq!(codes(&sim, 8, &[]).await.0, Some(0));
    let named = ["--repository", "demo/web", "--repository", "demo/nowhere", "--repository", "demo/legacy"];
    assert_eq!(
        codes(&sim, 0, &named).await,
        (
            Some(1),
            ["role.partial", "repository.not_visible", "repository.write_denied"].map(str::to_owned).to_vec()
        )
    );
    sim.clock().advance(Duration::from_secs(1));
    sim.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let refused = listener.local_addr().unwrap();
    drop(listener);
    let setup = Setup::new(&format!("http://{refused}"), "glpat-any");
    let (exit, report) = json(&run(DOCTOR, &["--json", "--config", text(&setup.config)]).await);
    assert_eq!((exit, report["connections"][0]["codes"][0].as_str()), (Some(1), Some("tcp.refused")));

    let output = run(DOCTOR, &["--config", text(&setup.config)]).await;
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("FAIL") && shown.contains("→ ") && !shown.contains('\u{1b}'), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_usage_and_configuration_exit_with_2() {
    let setup = Setup::new("https://gitlab.com/group/project", "glpat-any");
    for args in [
        vec!["--config", text(&setup.config)],
        vec!["--config", "/nonexistent/connections.toml"],
        vec!["--config", text(&setup.config), "--connection", "other"],
        vec!["--repository", "https://gitlab.com/group/project"],
        vec!["--no-such-flag"],
    ] {
        let output = run(DOCTOR, &args).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {said}");
        assert!(!said.is_empty() && output.stdout.is_empty());
    }
}
