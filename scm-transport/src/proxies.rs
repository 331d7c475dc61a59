//! Which proxies there are: their URLs, their passwords, and the exceptions.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::HeaderValue;
use percent_encoding::percent_decode_str;
use scm_core::redact::REDACTED;
use scm_core::{Error, Result};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use crate::classify::Target;
use crate::client::target;
use crate::no_proxy::{Decision, NoProxy, Reason};

/// The proxies of one network, one for each scheme of the *target*, and what goes past them.
///
/// A proxy is given as `http://proxy.company.com:3128` or `https://…`, with `user:password@` where it wants that.
/// Characters of user name and password that are special in URLs are percent-encoded (`@` is `%40`). What cannot be
/// used is an error here and now, never a direct connection later.
///
/// ```
/// use scm_transport::Proxies;
///
/// let proxies = Proxies::new()
///     .with_https_proxy(&"http://svc:p%40ss@proxy.company.com:3128".into())?
///     .with_no_proxy(".company.com, 10.0.0.0/8");
/// let decision = proxies.decide(&"https://gitlab.company.com".parse()?);
/// assert_eq!(decision.to_string(), "direct: entry `.company.com`");
///
/// let error = Proxies::new().with_http_proxy(&"proxy.company.com:3128".into()).unwrap_err();
/// assert!(error.message().starts_with("http_proxy: "));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Proxies {
    pub(crate) http: Option<ProxyUrl>,
    pub(crate) https: Option<ProxyUrl>,
    no_proxy: NoProxy,
}

impl Proxies {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Those of the usual variables `http_proxy`, `https_proxy`, `all_proxy` and `no_proxy`, in lower case or else in
    /// upper case; `lookup` gives a variable's value, and programs pass `|name| std::env::var(name).ok()`. Empty ones
    /// count as unset. Where `REQUEST_METHOD` is set, `HTTP_PROXY` is ignored: there it comes from a request's header.
    ///
    /// # Errors
    /// `Config`, naming the variable whose value cannot be used.
    pub fn from_vars(lookup: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let variable = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let is_cgi = lookup("REQUEST_METHOD").is_some();
        let find = |lower: &str| {
            let upper = lower.to_ascii_uppercase();
            let guarded = is_cgi && upper == "HTTP_PROXY";
            match variable(lower) {
                Some(value) => Some((lower.to_owned(), value)),
                None if guarded => None,
                None => variable(&upper).map(|value| (upper, value)),
            }
        };
        let proxy = |name: &str| {
            let found = find(name).or_else(|| find("all_proxy"));
            found.map(|(name, value)| ProxyUrl::parse(&name, &value.into())).transpose()
        };
        let no_proxy = find("no_proxy").map(|(_, list)| NoProxy::parse(&list)).unwrap_or_default();
        Ok(Self { http: proxy("http_proxy")?, https: proxy("https_proxy")?, no_proxy })
    }

    /// Sets the proxy for targets with `http://`; it gets such requests in absolute form.
    ///
    /// # Errors
    /// `Config`, naming `http_proxy` and what is wrong; the URL is not shown.
    pub fn with_http_proxy(mut self, url: &SecretString) -> Result<Self> {
        self.http = Some(ProxyUrl::parse("http_proxy", url)?);
        Ok(self)
    }

    /// Sets the proxy for targets with `https://`; it is asked for tunnels (`CONNECT`).
    ///
    /// # Errors
    /// `Config`, naming `https_proxy` and what is wrong; the URL is not shown.
    pub fn with_https_proxy(mut self, url: &SecretString) -> Result<Self> {
        self.https = Some(ProxyUrl::parse("https_proxy", url)?);
        Ok(self)
    }

    /// Sets the exceptions, by the rules of [`NoProxy`].
    #[must_use]
    pub fn with_no_proxy(self, list: &str) -> Self {
        let loopback_proxied = self.no_proxy.is_loopback_proxied();
        let no_proxy = NoProxy::parse(list);
        let no_proxy = if loopback_proxied { no_proxy.with_proxied_loopback() } else { no_proxy };
        Self { no_proxy, ..self }
    }

    /// Sends `localhost` and loopback addresses through the proxy too.
    #[must_use]
    pub fn with_proxied_loopback(self) -> Self {
        Self { no_proxy: self.no_proxy.with_proxied_loopback(), ..self }
    }

    /// Is there no proxy at all?
    pub fn is_empty(&self) -> bool {
        self.http.is_none() && self.https.is_none()
    }

    /// Names and addresses of the proxies themselves.
    pub fn hosts(&self) -> impl Iterator<Item = &str> {
        [&self.http, &self.https].into_iter().flatten().map(|proxy| proxy.target.host.as_str())
    }

    /// The exceptions, with the entries that cannot be read.
    pub fn no_proxy(&self) -> &NoProxy {
        &self.no_proxy
    }

    /// Which way requests to `url` take, and why.
    pub fn decide(&self, url: &Url) -> Decision<'_> {
        match self.no_proxy.decide(url) {
            Decision::Proxy if !self.has_proxy_for(url.scheme()) => Decision::Direct(Reason::NoneForScheme),
            decision => decision,
        }
    }

    /// The proxy that requests to `url` take.
    pub(crate) fn choose(&self, url: &Url) -> Option<&ProxyUrl> {
        match self.no_proxy.decide(url) {
            Decision::Proxy => self.of_scheme(url.scheme()),
            _ => None,
        }
    }

    /// Is there a proxy for targets of this scheme, `http` or `https`?
    pub fn has_proxy_for(&self, scheme: &str) -> bool {
        self.of_scheme(scheme).is_some()
    }

    fn of_scheme(&self, scheme: &str) -> Option<&ProxyUrl> {
        if scheme == "https" { self.https.as_ref() } else { self.http.as_ref() }
    }
}

/// One proxy: where it is, and what it wants to see.
#[derive(Clone)]
pub(crate) struct ProxyUrl {
    /// The setting that gave it.
    pub(crate) setting: String,
    pub(crate) target: Target,
    pub(crate) credential: Option<Credential>,
}

#[derive(Clone)]
pub(crate) struct Credential {
    /// `user:password` as people know it, and as it goes over the wire.
    plain: SecretString,
    encoded: SecretString,
}

impl ProxyUrl {
    fn parse(setting: &str, given: &SecretString) -> Result<Self> {
        let fault = |what: &str| Error::config(format!("{setting}: {what}"));
        let text = given.expose_secret().trim();
        let scheme = text.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("http" | "https") => {}
            Some("socks" | "socks4" | "socks4a" | "socks5" | "socks5h") => {
                return Err(fault("SOCKS proxies cannot be used; give an http:// or https:// proxy"));
            }
            Some(_) => return Err(fault("a proxy's URL begins with http:// or https://")),
            None => {
                return Err(fault(
                    "a proxy's URL begins with http:// or https://, such as http://proxy.company.com:3128",
                ));
            }
        }
        if text.contains(|c: char| c.is_control() || c == ' ') {
            return Err(fault("the URL has white space or control characters within"));
        }
        let authority = text.split_once("://").map_or("", |(_, rest)| rest);
        let authority = authority.strip_suffix('/').unwrap_or(authority);
        if authority.matches('@').count() > 1 {
            return Err(fault("user name or password contains `@`; write it as `%40`"));
        }
        if authority.contains(['/', '\\', '?', '#']) {
            return Err(fault(
                "there is more than host and port; if the password contains `/`, `\\`, `?` or `#`, write it as `%2F`, \
                 `%5C`, `%3F` or `%23`",
            ));
        }
        let url = Url::parse(text).map_err(|_| {
            fault("not a valid URL; percent-encode special characters of user name and password")
        })?;
        let target = target(&url).ok_or_else(|| fault("the URL has no host"))?;
        Ok(Self { setting: setting.to_owned(), target, credential: Credential::of(&url, fault)? })
    }

    /// The proxy in reqwest's form, for targets of `scheme`.
    pub(crate) fn to_reqwest(&self, scheme: &str) -> Result<reqwest::Proxy> {
        let url = format!("{}://{}", if self.target.tls { "https" } else { "http" }, self.target);
        let proxy = match scheme {
            "https" => reqwest::Proxy::https(url),
            _ => reqwest::Proxy::http(url),
        };
        let proxy = proxy.map_err(|error| {
            Error::config(format!("{}: this proxy cannot be used", self.setting))
                .with_source(error.without_url())
        })?;
        Ok(match self.authorization()? {
            Some(value) => proxy.custom_http_auth(value),
            None => proxy,
        })
    }

    /// The value of `Proxy-Authorization`, never to be shown.
    pub(crate) fn authorization(&self) -> Result<Option<HeaderValue>> {
        let Some(credential) = &self.credential else { return Ok(None) };
        let mut value = HeaderValue::from_str(&format!("Basic {}", credential.encoded.expose_secret()))
            .map_err(|_| Error::config(format!("{}: user name or password cannot be sent", self.setting)))?;
        value.set_sensitive(true);
        Ok(Some(value))
    }

    /// `text` of the proxy without the user name and password that it was sent.
    pub(crate) fn hide(&self, text: &str) -> String {
        let Some(Credential { plain, encoded }) = &self.credential else { return text.to_owned() };
        let mut parts =
            plain.expose_secret().split_once(':').map_or([""; 2], |(user, password)| [user, password]);
        // One may be within the other.
        parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
        let text = text.replace(encoded.expose_secret(), REDACTED);
        // A shorter one would shred ordinary words.
        parts.into_iter().filter(|part| part.len() >= 4).fold(text, |text, part| text.replace(part, REDACTED))
    }
}

impl fmt::Debug for ProxyUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxyUrl")
            .field("setting", &self.setting)
            .field("tls", &self.target.tls)
            .field("at", &self.target.to_string())
            .field("credential", &self.credential.is_some())
            .finish_non_exhaustive()
    }
}

impl Credential {
    fn of(url: &Url, fault: impl Fn(&str) -> Error) -> Result<Option<Self>> {
        let (user, password) = (url.username(), url.password());
        if user.is_empty() && password.is_none_or(str::is_empty) {
            return Ok(None);
        }
        let decode = |text| {
            percent_decode_str(text).decode_utf8().map_err(|_| fault("user name or password is no UTF-8"))
        };
        let (user, password) = (decode(user)?, decode(password.unwrap_or_default())?);
        if user.contains(':') {
            return Err(fault("the user name contains `:`, which Basic authentication cannot carry"));
        }
        let plain = format!("{user}:{password}");
        if plain.contains(char::is_control) {
            return Err(fault("user name or password contains a control character"));
        }
        Ok(Some(Self { encoded: STANDARD.encode(&plain).into(), plain: plain.into() }))
    }
}

#[cfg(test)]
mod tests {
    use scm_core::ErrorKind;

    use super::*;

    fn basic(url: &str) -> Option<String> {
        let proxy = ProxyUrl::parse("https_proxy", &url.into()).unwrap();
        let value = proxy.authorization().unwrap()?;
        assert!(value.is_sensitive());
        let encoded = value.to_str().unwrap().strip_prefix("Basic ").unwrap().to_owned();
        Some(String::from_utf8(STANDARD.decode(encoded).unwrap()).unwrap())
    }

    #[test]
    fn user_name_and_password_are_decoded() {
        for (url, expected) in [
            ("http://proxy.test:3128", None),
            ("http://@proxy.test", None),
            ("http://:@proxy.test", None),
            ("http://svc:hunter2@proxy.test/", Some("svc:hunter2")),
            ("http://svc@proxy.test", Some("svc:")),
            ("https://svc:p%40s%2Fs%3A%25@proxy.test", Some("svc:p@s/s:%")),
            ("http://svc:a:b@proxy.test", Some("svc:a:b")),
            ("http://j%C3%BCrgen:gr%C3%BC%C3%9Fe@proxy.test", Some("jürgen:grüße")),
            ("http://svc:a+b@proxy.test", Some("svc:a+b")),
        ] {
            assert_eq!(basic(url).as_deref(), expected, "{url}");
        }
    }

    #[test]
    fn what_cannot_be_a_proxy_is_named_and_never_shown() {
        for (url, words) in [
            ("", "begins with http://"),
            ("proxy.test:3128", "such as http://proxy.company.com:3128"),
            ("svc:hunter2@proxy.test:3128", "such as http://proxy.company.com:3128"),
            ("//proxy.test", "begins with http://"),
            ("socks5://proxy.test:1080", "SOCKS"),
            ("SOCKS5H://svc:hunter2@proxy.test", "SOCKS"),
            ("ftp://proxy.test", "begins with http://"),
            ("hunter2://proxy.test", "begins with http://"),
            ("http://svc:hunt@er2@proxy.test:3128", "write it as `%40`"),
            ("http://svc:hunter2/x@proxy.test:3128", "`%2F`"),
            ("http://svc:1/hunter2@proxy.test:3128", "`%2F`"),
            ("http://svc:hunter2#@proxy.test", "`%23`"),
            ("http://svc:hunter2?@proxy.test", "`%3F`"),
            ("http://svc:hunter2\\@proxy.test", "`%5C`"),
            ("http://proxy.test:3128/path", "more than host and port"),
            ("http://proxy.test:99999", "not a valid URL"),
            ("http://", "not a valid URL"),
            ("http://svc:hunter2@", "not a valid URL"),
            ("http://pro xy.test", "white space"),
            ("http://svc:hun\tter2@proxy.test", "white space"),
            ("http://s%3Avc:hunter2@proxy.test", "`:`"),
            ("http://svc:hunter2%0A@proxy.test", "control character"),
            ("http://svc:hunter2%FF@proxy.test", "UTF-8"),
        ] {
            let error = Proxies::new().with_https_proxy(&url.into()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config, "{url}");
            let shown = format!("{error} {error:?} {}", error.report());
            assert!(shown.contains("https_proxy: ") && shown.contains(words), "{url}: {shown}");
            assert!(!shown.contains("hunter2") && !shown.contains("er2@"), "{shown}");
        }
        let named = Proxies::new().with_http_proxy(&"proxy.test:3128".into()).unwrap_err();
        assert!(named.message().starts_with("http_proxy: "), "{named}");
    }

    fn vars(set: &'static [(&str, &str)]) -> Result<Proxies> {
        Proxies::from_vars(|name| {
            set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    fn places(set: &'static [(&str, &str)]) -> [Option<String>; 2] {
        let proxies = vars(set).unwrap();
        [proxies.http, proxies.https].map(|proxy| proxy.map(|proxy| proxy.target.to_string()))
    }

    #[test]
    fn variables_count_in_lower_case_first_and_behind_a_guard() {
        let at = |host: &str| Some(format!("{host}:80"));
        for (set, expected) in [
            (&[][..], [None, None]),
            (&[("http_proxy", "http://a"), ("HTTPS_PROXY", "http://b")], [at("a"), at("b")]),
            (&[("http_proxy", "http://a"), ("HTTP_PROXY", "http://b")], [at("a"), None]),
            (&[("http_proxy", " "), ("HTTP_PROXY", "http://b")], [at("b"), None]),
            (&[("all_proxy", "http://a")], [at("a"), at("a")]),
            (&[("ALL_PROXY", "http://a"), ("https_proxy", "http://b")], [at("a"), at("b")]),
            (&[("HTTP_PROXY", "http://a"), ("REQUEST_METHOD", "GET")], [None, None]),
            (&[("HTTP_PROXY", "http://a"), ("REQUEST_METHOD", "")], [None, None]),
            (&[("http_proxy", "http://a"), ("REQUEST_METHOD", "GET")], [at("a"), None]),
            (&[("HTTPS_PROXY", "http://a"), ("REQUEST_METHOD", "GET")], [None, at("a")]),
        ] {
            assert_eq!(places(set), expected, "{set:?}");
        }
        let proxies = vars(&[("HTTPS_PROXY", "http://a"), ("NO_PROXY", "git.test")]).unwrap();
        let url = "https://git.test".parse().unwrap();
        assert_eq!(proxies.decide(&url).to_string(), "direct: entry `git.test`");
        let error = vars(&[("HTTPS_PROXY", "a:3128")]).unwrap_err();
        assert!(error.message().starts_with("HTTPS_PROXY: "), "{error}");
    }

    #[test]
    fn a_scheme_without_a_proxy_is_direct_and_says_so() {
        let proxies = Proxies::new().with_http_proxy(&"http://proxy.test".into()).unwrap();
        for (url, expected) in [
            ("http://git.test", "proxy: no entry matches"),
            ("https://git.test", "direct: no proxy is set for this scheme"),
        ] {
            assert_eq!(proxies.decide(&url.parse().unwrap()).to_string(), expected);
        }
    }

    #[test]
    fn loopback_stays_proxied_whatever_the_order_of_settings() {
        let url = "http://localhost".parse().unwrap();
        let proxy = || Proxies::new().with_http_proxy(&"http://proxy.test".into()).unwrap();
        for proxies in [
            proxy().with_proxied_loopback().with_no_proxy("a.test"),
            proxy().with_no_proxy("a.test").with_proxied_loopback(),
        ] {
            assert_eq!(proxies.decide(&url), Decision::Proxy);
        }
    }

    #[test]
    fn what_a_proxy_repeats_of_a_password_is_not_shown() {
        let proxy = ProxyUrl::parse("https_proxy", &"http://robot:hunter2@proxy.test".into()).unwrap();
        let text = format!("no {} and no robot and no hunter2 here", STANDARD.encode("robot:hunter2"));
        assert_eq!(proxy.hide(&text), "no [redacted] and no [redacted] and no [redacted] here");
        let within = ProxyUrl::parse("https_proxy", &"http://robot:robot-2024@proxy.test".into()).unwrap();
        assert_eq!(within.hide("robot:robot-2024"), "[redacted]:[redacted]");
        assert!(!format!("{proxy:?}").contains("hunter2"));
    }
}
