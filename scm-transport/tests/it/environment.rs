//! What the environment may not change, and a machine without a trust store. Both need a process of their own.

use scm_core::{Code, HttpTransport as _};
use scm_transport::CaCertificates;
use tokio::process::Command;

use crate::support::*;

/// Reads a variable that a parent test, or CI, set. Only tests do this.
#[expect(clippy::disallowed_methods, reason = "a process gets its task from its parent")]
pub(crate) fn task(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture"]);
    command
}

async fn assert_passes(mut command: Command) {
    let output = tokio::time::timeout(PATIENCE, command.output()).await.unwrap().unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && shown.contains("1 passed"), "{shown}");
}

#[tokio::test]
async fn proxies_of_the_environment_are_not_used() {
    let address = serve(|mut stream| async move {
        head(&mut stream).await;
        answer(&mut stream, "direct").await;
    })
    .await;
    let dead = format!("http://{}", closed_port().await);
    let mut command = child("environment::child_goes_direct");
    command.env("SCM_TEST_URL", format!("http://{address}/"));
    for name in ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"] {
        command.env(name, &dead);
    }
    for name in ["NO_PROXY", "no_proxy", "REQUEST_METHOD"] {
        command.env_remove(name);
    }
    assert_passes(command).await;
}

#[tokio::test]
async fn child_goes_direct() {
    let Some(url) = task("SCM_TEST_URL") else { return };
    assert_eq!(text(send(&network(), get(url)).await.unwrap()).await, "direct");
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_machine_without_a_trust_store_needs_a_ca_only() {
    let pki = Pki::new("Acme Internal CA");
    let address = hello_tls(pki.loopback().server()).await;
    let mut command = child("environment::child_has_no_trust_store");
    command.env("SCM_TEST_TLS_URL", format!("https://{address}/")).env("SCM_TEST_CA", &pki.ca);
    command.env("SSL_CERT_FILE", "/nonexistent/file").env("SSL_CERT_DIR", "/nonexistent/directory");
    assert_passes(command).await;
}

#[tokio::test]
async fn child_has_no_trust_store() {
    let (Some(url), Some(ca)) = (task("SCM_TEST_TLS_URL"), task("SCM_TEST_CA")) else { return };
    let roots = CaCertificates::parse(ca).unwrap();
    for network in [network().with_extra_roots(roots.clone()), network().with_roots_only(roots)] {
        assert_eq!(text(send(&network, get(&url)).await.unwrap()).await, "hello");
    }
    let error = send(&network(), get(&url)).await.unwrap_err();
    assert_eq!(error.code(), Some(Code::TlsUnknownIssuer));
    assert!(error.to_string().contains("this machine has no trust store and no CA was given"), "{error}");
    let rungs = transport(&network()).probe(&url.parse().unwrap()).await;
    assert_eq!(rungs[2].findings[0].code, Code::TlsUnknownIssuer);
}
