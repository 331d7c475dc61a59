//! Secrets in a configuration, right or wrong, must not come out of what is said about it.

use scm_client::core::ErrorKind;
use scm_client::{Config, connect};
use scm_testkit::canary::Canary;
use scm_testkit::fault::socket::{Script, ScriptedServer};

/// A connection with these lines, and a variable that holds two lines.
fn open(canary: &Canary, lines: &str) -> scm_client::core::Result<()> {
    let text = format!("[[connection]]\nname = \"acme\"\nprovider = \"gitlab\"\n{lines}\n");
    let config = Config::from_toml(&text, "/nonexistent")?;
    canary.assert_debug_is_silent(lines, &config);
    let token = canary.token;
    let scm =
        connect(&config.connections[0], &|name| (name == "LINES").then(|| format!("{token}\n{token}")))?;
    canary.assert_debug_is_silent(lines, &scm);
    Ok(())
}

#[test]
fn no_mistake_in_a_configuration_shows_what_stands_in_it() {
    let canary = Canary::new();
    let Canary { token, proxy_userinfo: proxy, file, .. } = canary;
    let good = format!("token = {{ value = \"{token}\" }}");
    for lines in [
        // Not TOML, or cut off.
        format!("token = {{ value = \"{token}\""),
        format!("token = {token}"),
        format!("{good}\n{token}"),
        format!("{good}\n= \"{token}\""),
        format!("token = {{ value = \"{token}\\q\" }}"),
        // Another shape.
        format!("token = \"{token}\""),
        format!("token = [\"{token}\"]"),
        format!("token = {{ value = [\"{token}\"] }}"),
        format!("token = {{ secret = \"{token}\" }}"),
        format!("token = {{ value = \"{token}\", env = \"{token}\" }}"),
        format!("{good}\nnetwork = \"{token}\""),
        format!("{good}\nnetwork = {{ proxy_loopback = \"{token}\" }}"),
        format!("{good}\nagent = {{ hub = \"h\", name = \"n\", key = 5, x = \"{token}\" }}"),
        format!("{good}\nusername = [\"{token}\"]"),
        // What cannot be used.
        format!("{good}\nnetwork = {{ http_proxy = \"http://{proxy}@proxy.example:3128\" }}"),
        format!("{good}\nroute = \"proxy\"\nnetwork = {{ https_proxy = {{ value = \"{proxy}@p:1\" }} }}"),
        format!("{good}\nroute = \"proxy\"\nnetwork = {{ https_proxy = \"http://{proxy}@{proxy}@p:1\" }}"),
        format!("{good}\nroute = \"proxy\"\nnetwork = {{ https_proxy = \"socks5://{proxy}@p:1\" }}"),
        format!(
            "{good}\nroute = \"proxy\"\nnetwork = {{ https_proxy = \"http://p:1\", http_proxy = \"http://{proxy}%@\" }}"
        ),
        format!(
            "{good}\nroute = \"agent\"\nagent = {{ hub = \"http://h\", name = \"n\", key = {{ value = \"{token}\" }} }}"
        ),
        format!("{good}\nnetwork = {{ ca = {{ value = \"{file}\" }} }}"),
        format!(
            "{good}\nnetwork = {{ ca = {{ value = \"-----BEGIN CERTIFICATE-----\\n{file}\\n-----END CERTIFICATE-----\" }} }}"
        ),
        format!("{good}\nnetwork = {{ client_key = {{ value = \"{file}\" }} }}"),
        format!(
            "{good}\nnetwork = {{ client_cert = {{ value = \"{file}\" }}, client_key = {{ value = \"{file}\" }} }}"
        ),
        format!(
            "{good}\nnetwork = {{ client_cert = {{ value = \"x\" }}, client_key = {{ value = \"-----BEGIN PRIVATE KEY-----\\n{file}\\n-----END PRIVATE KEY-----\" }} }}"
        ),
        format!("{good}\nurl = \"https://{proxy}@gitlab.example\""),
        format!("{good}\nurl = \"https://gitlab.example/?private_token={token}\""),
        format!("{good}\nurl = \"https://gitlab.example/#{token}\""),
        format!("{good}\nurl = \"ftp://{proxy}@gitlab.example/{token}\""),
        format!("{good}\nurl = \"{token}\""),
        format!("{good}\nurl = \"https://git lab/{token}\""),
        format!("{good}\nurl = \"https://gitlab.example/-/{token}\""),
    ] {
        let error = open(&canary, &lines).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Config, "{lines}");
        canary.assert_error_is_silent(&lines, &error);
    }
    open(&canary, &good).unwrap();
    let proxied =
        format!("network = {{ https_proxy = \"http://{proxy}@p:1\", no_proxy = \"http://{proxy}@p:1\" }}");
    open(&canary, &format!("{good}\nroute = \"proxy\"\n{proxied}")).unwrap();
    canary.assert_logs_are_silent("an entry of no_proxy that is a URL");
}

#[test]
fn no_secret_file_shows_what_stands_in_it() {
    let canary = Canary::new();
    let dir = tempfile::tempdir().unwrap();
    let token = canary.token;
    let toml = "[[connection]]\nname = \"acme\"\nprovider = \"gitlab\"\ntoken = { file = \"token\" }\n";
    std::fs::write(dir.path().join("connections.toml"), toml).unwrap();
    for (text, works) in [
        (format!("{token}\n"), true),
        (format!("{token}\n{token}"), false),
        (format!("{token} {token}"), false),
        (format!("\u{feff}{token}\u{7}"), false),
    ] {
        std::fs::write(dir.path().join("token"), text).unwrap();
        let config = Config::load(dir.path().join("connections.toml")).unwrap();
        canary.assert_debug_is_silent("a file", &config);
        match connect(&config.connections[0], &|_| None) {
            Ok(scm) => {
                assert!(works);
                canary.assert_debug_is_silent("a file", &scm);
            }
            Err(error) => {
                assert!(!works, "{}", error.report());
                canary.assert_error_is_silent("a file", &error);
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_echoes_the_token_is_not_believed() {
    let canary = Canary::new();
    let token = canary.token;
    let body = format!("{{\"message\":\"no such token: {token}\",\"error\":\"{token}\"}}");
    let refusal = Script::new().request().answer(
        401,
        &[("Content-Type", "application/json"), ("X-Request-Id", token)],
        &body,
    );
    let server = ScriptedServer::start([refusal]).await.unwrap();
    // One that no header can carry is found before anything is sent.
    for (value, kind) in
        [(token.to_owned(), ErrorKind::Unauthenticated), (format!("{token}\\u0007"), ErrorKind::Config)]
    {
        let url = server.url();
        let text = format!(
            "[[connection]]\nname = \"acme\"\nprovider = \"gitlab\"\nurl = \"{url}\"\ntoken = {{ value = \"{value}\" }}\n"
        );
        let config = Config::from_toml(&text, "").unwrap();
        let scm = connect(&config.connections[0], &|_| None).unwrap();
        let error = scm.connection().identity().await.unwrap_err();
        assert_eq!(error.kind(), kind);
        canary.assert_error_is_silent("an echo", &error);
        canary.assert_logs_are_silent("an echo");
    }
    assert_eq!(server.requests().len(), 1);
}
