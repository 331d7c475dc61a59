//! squid and tinyproxy as they are installed: what they really say.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::{Duration, Instant};

use scm_core::{Code, Delivery, ErrorKind, HttpTransport as _, Outcome, Rung};
use scm_transport::{Proxies, ProxyTransport};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::environment::task;
use crate::proxy::through;
use crate::support::*;

/// A proxy in a process of its own, on a port of its own. Dropping it ends it.
pub(crate) struct RealProxy {
    address: SocketAddr,
    child: Child,
    _dir: tempfile::TempDir,
}

impl RealProxy {
    /// `None`, said aloud, where it is not installed; in CI that is a failure.
    pub(crate) async fn squid(rules: &str) -> Option<Self> {
        Self::start("squid", |port| vec!["-N".to_owned(), "-n".to_owned(), format!("scm{port}"), "-f".to_owned()], |port, dir| {
            format!(
                "http_port 127.0.0.1:{port}\npid_filename none\ncache deny all\naccess_log none\ncache_log /dev/null\n\
                 coredump_dir {dir}\nvisible_hostname squid.test\nnetdb_filename none\npinger_enable off\n\
                 shutdown_lifetime 0 seconds\nquick_abort_min 0 KB\nquick_abort_max 0 KB\n\
                 auth_param basic program /bin/sh {dir}/auth.sh\nauth_param basic children 1\n{rules}"
            )
        })
        .await
    }

    /// See [`squid`](Self::squid).
    pub(crate) async fn tinyproxy(rules: &str) -> Option<Self> {
        Self::start("tinyproxy", |_| vec!["-d".to_owned(), "-c".to_owned()], |port, dir| {
            format!(
                "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nLogLevel Critical\nLogFile \"{dir}/log\"\n{}",
                rules.replace("DIR", dir)
            )
        })
        .await
    }

    #[expect(clippy::print_stderr, reason = "a skipped test says why")]
    async fn start(
        program: &str,
        args: impl Fn(u16) -> Vec<String>,
        config: impl Fn(u16, &str) -> String,
    ) -> Option<Self> {
        let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin"];
        let found = found
            .iter()
            .map(|dir| format!("{dir}/{program}"))
            .find(|path| std::path::Path::new(path).exists());
        let Some(path) = found else {
            assert_ne!(task("CI").as_deref(), Some("true"), "{program} is not installed");
            eprintln!("skipped: {program} is not installed");
            return None;
        };
        let dir = tempfile::tempdir().unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            // squid's helpers run as another user.
            std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let shown = dir.path().to_str().unwrap();
        // squid encodes some characters.
        let auth = "while read user password; do case \"$user $password\" in 'svc p%40ss'|'svc p@ss') echo OK;; *) echo ERR;; esac; done";
        std::fs::write(dir.path().join("auth.sh"), auth).unwrap();
        std::fs::write(dir.path().join("filter"), "^bad\\.test$\n").unwrap();
        let address = closed_port().await;
        let file = dir.path().join("conf");
        std::fs::write(&file, config(address.port(), shown)).unwrap();
        let mut child = Command::new(path)
            .args(args(address.port()))
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let ready = async {
            while TcpStream::connect(address).await.is_err() {
                assert!(child.try_wait().unwrap().is_none(), "{program} ended at once");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.unwrap();
        Some(Self { address, child, _dir: dir })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn url_with(&self, userinfo: &str) -> String {
        format!("http://{userinfo}@{}", self.address)
    }
}

impl Drop for RealProxy {
    /// Asks it to end, so that it takes its shared memory with it; what does not end is killed.
    fn drop(&mut self) {
        let Some(id) = self.child.id() else { return };
        let asked = std::process::Command::new("kill").arg(id.to_string()).status();
        let end = Instant::now() + Duration::from_secs(2);
        while asked.is_ok() && Instant::now() < end && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// The same fault by a request and by the probe.
async fn assert_fault(transport: &ProxyTransport, url: &str, code: Code, delivery: Delivery, words: &str) {
    let error = tokio::time::timeout(PATIENCE, transport.send(get(url))).await.unwrap().unwrap_err();
    assert_eq!(
        (error.kind(), error.code()),
        (ErrorKind::Proxy, Some(code)),
        "{url}: {error} {:?}",
        error.details()
    );
    assert_eq!(error.delivery(), delivery, "{url}: {error}");
    assert!(error.to_string().contains(words), "{words} in {error}");
    let rungs = tokio::time::timeout(PATIENCE, transport.probe(&url.parse().unwrap())).await.unwrap();
    let rung = rungs.iter().find(|rung| rung.rung == Rung::Proxy).unwrap();
    assert_eq!((rung.outcome, rung.findings.len()), (Outcome::Failed, 1), "{rung:?}");
    assert_eq!(rung.findings[0].code, code, "{rung:?}");
}

async fn assert_passes(transport: &ProxyTransport, url: &str) {
    let response = tokio::time::timeout(PATIENCE, transport.send(get(url))).await.unwrap().unwrap();
    assert_eq!(text(response).await, "hello");
    for rung in transport.probe(&url.parse().unwrap()).await {
        assert!(matches!(rung.outcome, Outcome::Passed | Outcome::Skipped), "{rung:?}");
    }
}

/// A plain server and one with TLS, both saying hello.
async fn servers(pki: &Pki) -> [String; 2] {
    let plain = serve(|mut stream| async move {
        while !head(&mut stream).await.is_empty() {
            answer(&mut stream, "hello").await;
        }
    });
    let tls = hello_tls(pki.loopback().server());
    [format!("http://{}/", plain.await), format!("https://{}/", tls.await)]
}

#[tokio::test]
async fn squid_says_what_is_wrong() {
    let rules = "acl bad dstdomain bad.test\nhttp_access deny bad\nhttp_access allow all\n";
    let Some(squid) = RealProxy::squid(rules).await else { return };
    let pki = Pki::new("CA");
    let transport = through(&squid.url(), network().with_roots_only(pki.roots()));
    for url in servers(&pki).await {
        assert_passes(&transport, &url).await;
    }
    let closed = closed_port().await;
    let (gateway, refused) = (Code::ProxyBadGateway, "503 Service Unavailable (ERR_CONNECT_FAIL 111)");
    assert_fault(&transport, &format!("https://{closed}/"), gateway, Delivery::NotSent, refused).await;
    assert_fault(&transport, &format!("http://{closed}/"), gateway, Delivery::NotSent, refused).await;
    let (forbidden, denied) = (Code::ProxyForbidden, "403 Forbidden (ERR_ACCESS_DENIED 0)");
    assert_fault(&transport, "https://bad.test/", forbidden, Delivery::NotSent, denied).await;
    // It might also be the answer that may not pass.
    assert_fault(&transport, "http://bad.test/", forbidden, Delivery::Unknown, denied).await;
}

#[tokio::test]
async fn squid_wants_a_password() {
    let rules = "acl known proxy_auth REQUIRED\nhttp_access allow known\nhttp_access deny all\n";
    let Some(squid) = RealProxy::squid(rules).await else { return };
    assert_wants_a_password(&squid, "p%40ss").await;
}

#[tokio::test]
async fn tinyproxy_says_what_is_wrong() {
    let Some(tinyproxy) = RealProxy::tinyproxy("Filter \"DIR/filter\"\n").await else { return };
    let pki = Pki::new("CA");
    let transport = through(&tinyproxy.url(), network().with_roots_only(pki.roots()));
    for url in servers(&pki).await {
        assert_passes(&transport, &url).await;
    }
    let closed = closed_port().await;
    let (gateway, refused) = (Code::ProxyBadGateway, "Bad Gateway: the proxy ");
    assert_fault(&transport, &format!("https://{closed}/"), gateway, Delivery::NotSent, refused).await;
    assert_fault(&transport, &format!("http://{closed}/"), gateway, Delivery::NotSent, refused).await;
    let (forbidden, denied) = (Code::ProxyForbidden, " forbids bad.test:");
    assert_fault(&transport, "https://bad.test/", forbidden, Delivery::NotSent, denied).await;
    assert_fault(&transport, "http://bad.test/", forbidden, Delivery::Unknown, denied).await;
}

#[tokio::test]
async fn tinyproxy_wants_a_password() {
    let Some(tinyproxy) = RealProxy::tinyproxy("BasicAuth svc pass\n").await else { return };
    assert_wants_a_password(&tinyproxy, "p%61ss").await;
}

async fn assert_wants_a_password(proxy: &RealProxy, password: &str) {
    let pki = Pki::new("CA");
    let network = network().with_roots_only(pki.roots());
    for url in servers(&pki).await {
        for (at, words) in [
            (proxy.url(), "wants a user name and password: 40"),
            (proxy.url_with("svc:wrong"), "does not accept the user name and password: 40"),
        ] {
            let transport = through(&at, network.clone());
            assert_fault(&transport, &url, Code::ProxyAuthRequired, Delivery::NotSent, words).await;
        }
        assert_passes(&through(&proxy.url_with(&format!("svc:{password}")), network.clone()), &url).await;
        // Past the proxy nobody asks.
        let proxies = Proxies::new().with_http_proxy(&proxy.url().as_str().into()).unwrap();
        let proxies = proxies.with_proxied_loopback().with_no_proxy("127.0.0.1");
        assert_passes(&ProxyTransport::new(&network.clone().with_proxies(proxies)).unwrap(), &url).await;
    }
}
