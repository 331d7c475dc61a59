//! What answers at the address: the product, or something else that is to be told by what it says.

use http::StatusCode;
use url::Url;

use super::Climber;
use crate::check::code::{Code, Outcome, Rung};
use crate::check::ladder::Words;
use crate::check::report::RungReport;
use crate::error::{Error, ErrorKind};
use crate::model::ServerInfo;
use crate::pipeline::PAGE;
use crate::transport::{Body, Route};

/// What is in the addresses of logins, as a label of the host or a part of the path.
const LOGIN_URLS: &[&str] = &[
    "login",
    "signin",
    "sign_in",
    "sign-in",
    "sso",
    "saml",
    "saml2",
    "auth",
    "oauth",
    "oauth2",
    "adfs",
    "idp",
    "openid",
    "cas",
    "authorize",
    "okta",
    "auth0",
];

impl Climber<'_> {
    /// Is the product there?
    pub(super) async fn product(self) -> (RungReport, ()) {
        let rung = match self.ladder.scm().connection().server().await {
            Ok(server) => self.version(&server),
            Err(error) => self.product_fault(&error).await,
        };
        (rung, ())
    }

    fn version(self, server: &ServerInfo) -> RungReport {
        let Words { product, oldest, too_old, .. } = self.words;
        let seen = format!("{product} {}", server.version_text);
        let rung = RungReport::passed(Rung::Product, &seen).with_detail("version", &server.version_text);
        if server.version >= *oldest {
            return rung;
        }
        match too_old {
            Outcome::Warning => rung.with_warning(
                Code::ServerTooOld,
                seen,
                format!(
                    "Versions before {oldest} are not tested, and what they lack fails. Upgrade the server to {oldest} or \
                     newer."
                ),
            ),
            _ => rung.with_failure(
                Code::ServerTooOld,
                seen,
                format!("Version {oldest} or newer is needed. Upgrade the server."),
            ),
        }
    }

    /// What answers in place of the product's API?
    async fn product_fault(self, error: &Error) -> RungReport {
        let seen = error.to_string();
        let product = self.words.product;
        match error.kind() {
            // The product's own refusals are no web pages, but for those of locked accounts.
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied
                if error.message().starts_with(PAGE) && self.ladder.refusal(error).0 != Code::AuthCaptcha =>
            {
                self.page_refuses(error)
            }
            // The API is there; it wants another credential, which the next rung looks at.
            ErrorKind::Unauthenticated | ErrorKind::PermissionDenied => RungReport::passed(
                Rung::Product,
                format!("{product}'s API answers; it tells its version to valid tokens only"),
            ),
            // Below the root many servers send strangers to their login page, so a page does not say what is wrong.
            kind @ (ErrorKind::NotFound | ErrorKind::Decode) => {
                if let Some(found) = self.find_root().await {
                    let what = format!("no {product} API at this address, but at {found}");
                    return not_root(seen, what, &found);
                }
                match self.led_away().await {
                    Some(rung) => rung,
                    None => self.other(kind, seen).await,
                }
            }
            _ => {
                let (code, remedy) = self.between(error);
                RungReport::passed(Rung::Product, &seen).with_failure(code, seen, remedy)
            }
        }
    }

    /// Something answers at the address, and is not the product.
    async fn other(self, kind: ErrorKind, seen: String) -> RungReport {
        let Words { product, api, root, pages, .. } = self.words;
        if kind == ErrorKind::NotFound {
            let remedy = format!(
                "Nothing answers at {api} under this URL. Give {product}'s root, with its context path (such as {root}) \
                 where it has one, not the page of a {pages}."
            );
            return RungReport::failed(Code::ProductNotFound, seen, remedy);
        }
        if self.looks_like_login().await {
            return self.login("a login page answers in place of the API".to_owned());
        }
        let remedy = "Another service answers at this URL. Check host, port and context path.";
        RungReport::failed(Code::ProductOther, seen, remedy)
    }

    /// Something before the server wants a login, or lets nobody through.
    fn page_refuses(self, error: &Error) -> RungReport {
        let seen = error.to_string();
        match error.status() {
            Some(StatusCode::UNAUTHORIZED) => self.login(seen),
            _ => {
                let (code, remedy) = self.between(error);
                RungReport::failed(code, seen, remedy)
            }
        }
    }

    fn login(self, seen: String) -> RungReport {
        let Words { product, api, .. } = self.words;
        let remedy = format!(
            "Something before {product} (single sign-on, a VPN portal) asks for a login. Let {api} pass without it, or \
             give the address behind it."
        );
        RungReport::failed(Code::ProductLoginPage, seen, remedy)
    }

    /// A fault that says nothing about what was asked for: the server is down, or something between speaks.
    pub(super) fn between(self, error: &Error) -> (Code, String) {
        let product = self.words.product;
        if let Some(found) = self.bad_request(error) {
            return found;
        }
        let known = Code::ALL.iter().find(|code| Some(code.as_str()) == error.server_code()).copied();
        if known == Some(Code::RelayAgentDenied) {
            let remedy = format!(
                "The agent's `allow` has an entry for this server that does not cover what {product} is asked for. Write it as \
                 {}=PRESET, with its context path, the preset of the product, and without grants or with all that are needed.",
                self.ladder.pipeline().base().as_str().trim_end_matches('/')
            );
            return (Code::RelayAgentDenied, remedy);
        }
        let broken = match error.kind() {
            ErrorKind::Unavailable | ErrorKind::RateLimited | ErrorKind::Timeout => {
                let setting = if self.is_by_agent() { "the agent's `proxy.noProxy`" } else { "`no_proxy`" };
                let remedy = match self.ladder.pipeline().base().host_str().filter(|_| self.relayed) {
                    // Most proxies answer so in place of a server that they cannot reach, and do not say who speaks.
                    Some(host) => format!(
                        "If {host} is an internal server, the proxy may be the one that answers (Bad Gateway): add \
                         `{host}` to {setting}. Otherwise {product}, or a gateway before it, is down, overloaded or being \
                         deployed: try again in a few minutes, then ask its administrator."
                    ),
                    None => format!(
                        "{product}, or a gateway before it, is down, overloaded or being deployed. Try again in a few \
                         minutes; if it stays so, ask its administrator."
                    ),
                };
                return (Code::ServerUnavailable, remedy);
            }
            ErrorKind::Tls => Code::TlsHandshake,
            ErrorKind::Proxy => Code::ProxyBadGateway,
            ErrorKind::Relay => Code::RelayAgentOffline,
            ErrorKind::Connect => Code::TcpUnreachable,
            _ => {
                let remedy = format!(
                    "This is not how {product} answers. Look at what stands before it: a proxy or firewall must let its \
                     whole API pass."
                );
                return (known.unwrap_or(Code::ProductOther), remedy);
            }
        };
        let remedy = "The connection failed in the middle of the check. Try again; if it stays so, look at what stands \
                      between.";
        (known.unwrap_or(broken), remedy.to_owned())
    }

    /// The network rungs are the agent's, and so are the settings.
    fn is_by_agent(self) -> bool {
        self.ladder.pipeline().transport().route() == Route::Agent
    }

    /// What web servers say with 400 before the product sees a request.
    fn bad_request(self, error: &Error) -> Option<(Code, String)> {
        let said = Some(error.message()).filter(|_| error.status() == Some(StatusCode::BAD_REQUEST))?;
        // A server that wants a client certificate may finish the handshake without one, and refuse then.
        let (certificate, key) = match self.is_by_agent() {
            true => ("the agent's `clientCert`", "`clientKey`"),
            false => ("`client_cert`", "`client_key`"),
        };
        if said.contains("No required SSL certificate") {
            let remedy = format!(
                "The server asks for a client certificate. Have one issued and put it and its key into {certificate} and {key}."
            );
            return Some((Code::TlsClientCertRequired, remedy));
        }
        if said.contains("SSL certificate error") {
            let remedy = format!(
                "The server does not accept the client certificate. Check that {certificate} holds the whole chain, is not \
                 expired, and comes from an authority that the server trusts."
            );
            return Some((Code::TlsClientCertRequired, remedy));
        }
        let wants_tls = said.contains("HTTPS port") || said.contains("requires TLS");
        let mut url = Some(self.ladder.pipeline().base().clone()).filter(|_| wants_tls)?;
        let port = url.port_or_known_default();
        url.set_scheme("https").and_then(|()| url.set_port(port)).ok()?;
        let remedy = format!("The server speaks TLS on that port. Set `url = \"{url}\"`.");
        Some((Code::UrlInvalid, remedy))
    }

    /// Where the server leads who asks for the API: to a login, or to the address that it goes by now.
    async fn led_away(self) -> Option<RungReport> {
        let pipeline = self.ladder.pipeline();
        let asked = self.ladder.probe().url(pipeline.base()).ok()?;
        // Without the credential, which nobody but the server may see.
        let request = http::Request::get(asked.as_str()).body(Body::empty()).ok()?;
        let answer = pipeline.transport().send(request).await.ok()?;
        let to = asked.join(answer.headers().get(http::header::LOCATION)?.to_str().ok()?).ok()?;
        if !answer.status().is_redirection() || to.origin() == asked.origin() {
            return None;
        }
        let away = to.origin().ascii_serialization();
        if let Some(root) = to.path().strip_suffix(asked.path().strip_prefix(pipeline.base().path())?) {
            let root = Url::parse(&away).ok()?.join(root).ok()?;
            let seen = format!("the server leads to {away}");
            return Some(not_root(seen, format!("the server says that its address is {root}"), &root));
        }
        let (host, path) = (to.host_str()?.to_ascii_lowercase(), to.path().to_ascii_lowercase());
        let mut parts = host.split('.').chain(path.split(['/', '.']));
        let is_login = parts.any(|part| LOGIN_URLS.contains(&part));
        is_login.then(|| self.login(format!("the server leads to a login at {away} in place of the API")))
    }

    /// The root under which the API does answer: one of the parents of the configured path.
    async fn find_root(self) -> Option<Url> {
        let mut root = self.ladder.pipeline().base().clone();
        while root.path() != "/" {
            root.path_segments_mut().ok()?.pop_if_empty().pop().push("");
            let pipeline = self.ladder.pipeline().at(root.clone()).ok()?;
            let is_api = match pipeline.operation("check").send(self.ladder.probe()).await {
                Ok(answer) => self.ladder.is_api(&answer),
                Err(error) => {
                    matches!(error.kind(), ErrorKind::Unauthenticated | ErrorKind::PermissionDenied)
                }
            };
            if is_api {
                return Some(root);
            }
        }
        None
    }

    async fn looks_like_login(self) -> bool {
        let asked = self.ladder.pipeline().operation("check").send(self.ladder.probe()).await;
        let Ok(answer) = asked else { return false };
        let page = String::from_utf8_lossy(answer.bytes()).to_ascii_lowercase();
        ["type=\"password\"", "type='password'", "sign in", "sign_in", "log in", "login", "saml"]
            .iter()
            .any(|mark| page.contains(mark))
    }
}

/// The API is at another address.
fn not_root(seen: String, what: String, root: &Url) -> RungReport {
    let remedy = format!("Set the server URL to its root, `url = \"{root}\"`.");
    RungReport::passed(Rung::Product, seen).with_failure(Code::UrlNotRoot, what, remedy)
}
