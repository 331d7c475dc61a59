//! Asking a proxy for a tunnel, so that what it says is kept: reqwest drops it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use scm_core::{Body, Code, Delivery, ErrorKind, TransportError, redact};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::time::{Instant, timeout};

use crate::classify::Target;
use crate::dial::{self, Clock, Io};
use crate::proxies::ProxyUrl;
use crate::resolve::Names;
use crate::tls::Tls;

/// Longest head of an answer. Those of proxies have a few hundred bytes.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 100;

/// What is kept of a body, and how long it is waited for.
const MAX_BODY: usize = 2 * 1024;
const BODY_WAIT: Duration = Duration::from_millis(500);

/// Bytes that came after a head stay in the reader, for whoever reads next.
pub(crate) type Stream = BufReader<Box<dyn Io>>;

/// A connection to a proxy.
pub(crate) struct Connector<'a> {
    pub(crate) proxy: &'a ProxyUrl,
    pub(crate) tls: &'a Tls,
    pub(crate) names: &'a Names,
    pub(crate) clock: Clock,
}

/// What was reached on the way, for the report.
#[derive(Default)]
pub(crate) struct Facts(pub(crate) Vec<(&'static str, String)>);

impl Connector<'_> {
    /// A tunnel to `target`, through which its own bytes flow from here on.
    pub(crate) async fn tunnel(&self, target: &Target, facts: &mut Facts) -> Result<Stream, TransportError> {
        let mut stream = self.reach(facts).await?;
        let head = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
        let said = self.ask(&mut stream, head, target, facts).await?;
        match said.status.is_success() {
            true => Ok(stream),
            false => Err(said.refusal(self.proxy, target, Delivery::NotSent)),
        }
    }

    /// Asks for the root of a plain http server, without any credential for it: a proxy says nothing before. An answer
    /// of the server's own is no matter here.
    pub(crate) async fn relay(
        &self,
        target: &Target,
        facts: &mut Facts,
    ) -> Result<StatusCode, TransportError> {
        let mut stream = self.reach(facts).await?;
        let head = format!("HEAD http://{target}/ HTTP/1.1\r\nHost: {target}\r\nConnection: close\r\n");
        let said = self.ask(&mut stream, head, target, facts).await?;
        match said.is_own() {
            true => Err(said.refusal(self.proxy, target, Delivery::NotSent)),
            false => Ok(said.status),
        }
    }

    async fn reach(&self, facts: &mut Facts) -> Result<Stream, TransportError> {
        let target = &self.proxy.target;
        facts.0.push(("proxy", target.to_string()));
        let start = Instant::now();
        let addresses =
            dial::resolve(target, self.names, self.clock).await.map_err(|error| self.unreachable(error))?;
        facts.0.push(("proxy_name_ms", start.elapsed().as_millis().to_string()));
        let start = Instant::now();
        let dialled =
            dial::tcp(target, &addresses, self.clock).await.map_err(|error| self.unreachable(error))?;
        facts.0.push(("proxy_address", dialled.address.to_string()));
        facts.0.push(("proxy_connect_ms", start.elapsed().as_millis().to_string()));
        if let Some(failed) = dialled.failed {
            facts.0.push(("failed_addresses", failed));
        }
        if !target.tls {
            return Ok(BufReader::new(Box::new(dialled.stream)));
        }
        let start = Instant::now();
        let tls = self.tls.fresh().without_alpn();
        let stream = dial::tls(target, dialled.stream, &tls, self.clock);
        let stream = stream.await.map_err(|error| self.unreachable(error))?;
        facts.0.push(("proxy_tls_ms", start.elapsed().as_millis().to_string()));
        Ok(BufReader::new(Box::new(stream)))
    }

    fn unreachable(&self, cause: TransportError) -> TransportError {
        unreachable(self.proxy, cause)
    }

    /// Sends a head, with what the proxy wants to see, and reads what it says.
    async fn ask(
        &self,
        stream: &mut Stream,
        mut head: String,
        target: &Target,
        facts: &mut Facts,
    ) -> Result<Said, TransportError> {
        let start = Instant::now();
        let authorization = self
            .proxy
            .authorization()
            .map_err(|error| TransportError::new(ErrorKind::Config, Delivery::NotSent, error.message()))?;
        let exchange = async {
            if let Some(value) = authorization.as_ref().and_then(|value| value.to_str().ok()) {
                head.push_str(&format!("Proxy-Authorization: {value}\r\n"));
            }
            head.push_str("\r\n");
            stream.write_all(head.as_bytes()).await.map_err(|_| NoAnswer::Closed)?;
            stream.flush().await.map_err(|_| NoAnswer::Closed)?;
            Said::read(stream, head.starts_with("CONNECT")).await
        };
        let said = match self.clock.run(exchange).await {
            Some(Ok(said)) => said,
            Some(Err(fault)) => return Err(self.no_answer(fault)),
            None => {
                let message = format!(
                    "Bad Gateway: the proxy {} took the request for {target} and said nothing within {:?}; often it \
                     cannot reach the server itself",
                    self.proxy.target, self.clock.limit
                );
                return Err(TransportError::new(ErrorKind::Proxy, Delivery::NotSent, message)
                    .with_code(Code::ProxyBadGateway)
                    .with_detail("proxy", self.proxy.target.to_string()));
            }
        };
        facts.0.push(("proxy_answer_ms", start.elapsed().as_millis().to_string()));
        for (name, value) in said.facts(self.proxy) {
            facts.0.push((name, value));
        }
        Ok(said)
    }

    fn no_answer(&self, fault: NoAnswer) -> TransportError {
        let proxy = &self.proxy.target;
        let message = match fault {
            NoAnswer::Closed => format!("the proxy {proxy} closed the connection without an answer"),
            NoAnswer::NotHttp => {
                format!("what answers at {proxy} is no HTTP proxy: the answer is not valid HTTP")
            }
            NoAnswer::TooLong => {
                format!("what answers at {proxy} is no HTTP proxy: its head has more than {MAX_HEAD} bytes")
            }
        };
        TransportError::new(ErrorKind::Proxy, Delivery::NotSent, message)
            .with_code(Code::ProxyUnreachable)
            .with_detail("proxy", proxy.to_string())
    }
}

/// The proxy itself was not reached, for this cause.
pub(crate) fn unreachable(proxy: &ProxyUrl, cause: TransportError) -> TransportError {
    let message = format!("the proxy {} cannot be reached: {cause}", proxy.target);
    let mut error = TransportError::new(ErrorKind::Proxy, Delivery::NotSent, message)
        .with_code(Code::ProxyUnreachable)
        .with_detail("proxy", proxy.target.to_string());
    for (name, value) in cause.details() {
        error = error.with_detail(name, value);
    }
    if let Some(code) = cause.code() {
        error = error.with_detail("proxy_fault", code.as_str());
    }
    if let Some(retryable) = cause.retryable() {
        error = error.with_retryable(retryable);
    }
    error.with_source(cause)
}

/// Why there is no answer of a proxy.
#[derive(Debug, PartialEq, Eq)]
enum NoAnswer {
    Closed,
    NotHttp,
    TooLong,
}

/// What a proxy said.
#[derive(Debug)]
pub(crate) struct Said {
    status: StatusCode,
    reason: String,
    headers: HeaderMap,
    body: Vec<u8>,
    /// It answers a request that was to be relayed, so that its page may repeat the whole URL.
    relayed: bool,
}

impl Said {
    /// Reads an answer of HTTP/1.0 or 1.1, in whatever pieces it comes; of a refusal also the start of the body.
    async fn read(stream: &mut Stream, with_body: bool) -> Result<Self, NoAnswer> {
        let mut said = loop {
            let said = Self::parse(&head(stream).await?)?;
            if !said.status.is_informational() {
                break said;
            }
        };
        if with_body && !said.status.is_success() {
            let length = said.text("content-length").and_then(|length| length.parse().ok());
            let wanted = length.map_or(MAX_BODY, |length: usize| length.min(MAX_BODY)) as u64;
            // What has come by then must do.
            let _ = timeout(BODY_WAIT, stream.take(wanted).read_to_end(&mut said.body)).await;
        }
        Ok(said)
    }

    fn parse(head: &[u8]) -> Result<Self, NoAnswer> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut answer = httparse::Response::new(&mut headers);
        let whole = answer.parse(head).map_err(|_| NoAnswer::NotHttp)?.is_complete();
        let status = answer.code.and_then(|code| StatusCode::from_u16(code).ok());
        let status = status.filter(|_| whole).ok_or(NoAnswer::NotHttp)?;
        let mut map = HeaderMap::new();
        for header in answer.headers {
            let name = http::HeaderName::from_bytes(header.name.as_bytes());
            if let (Ok(name), Ok(value)) = (name, header.value.try_into()) {
                map.append(name, value);
            }
        }
        let reason = answer.reason.unwrap_or_default().to_owned();
        Ok(Self { status, reason, headers: map, body: Vec::new(), relayed: false })
    }

    /// The head of an answer to a plain http request, if the proxy itself gave it and not the server behind.
    pub(crate) fn of(head: &http::Response<Body>) -> Option<Self> {
        let said = Self {
            status: head.status(),
            reason: head.status().canonical_reason().unwrap_or_default().to_owned(),
            headers: head.headers().clone(),
            body: Vec::new(),
            relayed: true,
        };
        said.is_own().then_some(said)
    }

    /// Keeps the start of the body too.
    pub(crate) async fn with_body(mut self, mut body: Body) -> Self {
        use futures_util::StreamExt as _;

        let read = async {
            while let Some(Ok(chunk)) = body.next().await {
                let chunk: Bytes = chunk;
                self.body.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY - self.body.len())]);
                if self.body.len() == MAX_BODY {
                    break;
                }
            }
        };
        // What has come by then must do.
        let _ = timeout(BODY_WAIT, read).await;
        self
    }

    /// Is this the proxy's own answer to a request that it should have relayed? Only where that is certain: the
    /// servers behind have such statuses too.
    fn is_own(&self) -> bool {
        if self.status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return true;
        }
        if !(self.status.is_client_error() || self.status.is_server_error()) {
            return false;
        }
        let hops = self.headers.get_all(http::header::VIA).iter().filter_map(|via| via.to_str().ok());
        let hops = hops.flat_map(|via| via.split(',')).count();
        // squid adds itself to `Via` of its own answers as well, so that one that was relayed has two hops there;
        // tinyproxy adds itself to those that it relays only.
        let squid = self.headers.contains_key("x-squid-error") && hops <= 1;
        let tinyproxy =
            self.text("server").is_some_and(|server| server.starts_with("tinyproxy")) && hops == 0;
        squid || tinyproxy
    }

    /// The error that it is.
    pub(crate) fn refusal(&self, proxy: &ProxyUrl, target: &Target, delivery: Delivery) -> TransportError {
        let at = &proxy.target;
        let mut said = format!("{} {}", self.status.as_u16(), self.reason);
        if let Some(squid) = self.squid_error() {
            said = format!("{said} ({squid})");
        }
        let (code, what) = match self.status.as_u16() {
            // tinyproxy says 401 to a wrong password. No server has been asked yet, so that it is about the proxy's.
            401 | 407 if proxy.credential.is_some() => (
                Code::ProxyAuthRequired,
                format!("the proxy {at} does not accept the user name and password"),
            ),
            401 | 407 => (Code::ProxyAuthRequired, format!("the proxy {at} wants a user name and password")),
            403 => (Code::ProxyForbidden, format!("the proxy {at} forbids {target}")),
            _ => (Code::ProxyBadGateway, format!("Bad Gateway: the proxy {at} cannot reach {target}")),
        };
        let message = proxy.hide(&format!("{what}: {}", said.trim_end()));
        let mut error = TransportError::new(ErrorKind::Proxy, delivery, message).with_code(code);
        if code != Code::ProxyBadGateway {
            error = error.with_retryable(false);
        }
        for (name, value) in self.facts(proxy) {
            error = error.with_detail(name, value);
        }
        error.with_detail("proxy", at.to_string())
    }

    /// Could the server have acted on a request that the proxy was to relay? Only what the proxy says before it has a
    /// connection to the server excludes that.
    pub(crate) fn delivery(&self) -> Delivery {
        let squid = self.squid_error().and_then(|error| error.split(' ').next());
        let no_connection = matches!(squid, Some("ERR_CONNECT_FAIL" | "ERR_DNS_FAIL"))
            || squid.is_none()
                && String::from_utf8_lossy(&self.body).contains("unable to connect to the remote");
        if no_connection || matches!(self.status.as_u16(), 401 | 407) {
            Delivery::NotSent
        } else {
            Delivery::Unknown
        }
    }

    fn facts(&self, proxy: &ProxyUrl) -> Vec<(&'static str, String)> {
        let mut facts =
            vec![("proxy_status", format!("{} {}", self.status.as_u16(), self.reason).trim_end().to_owned())];
        for (header, name) in
            [("via", "proxy_via"), ("server", "proxy_server"), ("proxy-authenticate", "proxy_authenticate")]
        {
            let values =
                self.headers.get_all(header).iter().map(|value| String::from_utf8_lossy(value.as_bytes()));
            let values = values.collect::<Vec<_>>().join(", ");
            if !values.is_empty() {
                facts.push((name, values));
            }
        }
        if let Some(squid) = self.squid_error() {
            facts.push(("proxy_squid_error", squid.to_owned()));
        }
        let page = words(&String::from_utf8_lossy(&self.body));
        if !page.is_empty() && !self.relayed {
            facts.push(("proxy_body", page));
        }
        for (_, value) in &mut facts {
            *value = redact::line(&proxy.hide(value));
        }
        facts
    }

    /// Such as `ERR_CONNECT_FAIL 111`, if it looks like that.
    fn squid_error(&self) -> Option<&str> {
        let is_code = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || matches!(c, '_' | ' ');
        self.text("x-squid-error").filter(|error| error.len() <= 64 && error.chars().all(is_code))
    }

    fn text(&self, header: &str) -> Option<&str> {
        self.headers.get(header)?.to_str().ok()
    }
}

/// One head, up to and with its empty line.
async fn head(stream: &mut Stream) -> Result<Vec<u8>, NoAnswer> {
    let mut head = Vec::new();
    // One byte at a time, from memory: what follows belongs to somebody else.
    while !(head.ends_with(b"\n\r\n") || head.ends_with(b"\n\n")) {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return Err(if head.is_empty() { NoAnswer::Closed } else { NoAnswer::NotHttp }),
        }
        if head.len() > MAX_HEAD {
            return Err(NoAnswer::TooLong);
        }
        // No need to wait for the end of what never was HTTP.
        let start = head.len().min(b"HTTP/1.".len());
        if head[..start] != b"HTTP/1."[..start] {
            return Err(NoAnswer::NotHttp);
        }
    }
    Ok(head)
}

/// What a person would read of a page.
fn words(page: &str) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some(start) = rest.find('<') {
        out.push_str(&rest[..start]);
        out.push(' ');
        let tag = &rest[start..];
        let end = match tag.get(..6) {
            Some(name) if name.eq_ignore_ascii_case("<style") => tag.find("</").map(|end| end + 1),
            Some(name) if name.eq_ignore_ascii_case("<scrip") => tag.find("</").map(|end| end + 1),
            Some(name) if name.starts_with("<!--") => tag.find("-->"),
            _ => Some(0),
        };
        let Some(end) = end.and_then(|end| Some(end + tag[end..].find('>')?)) else {
            rest = "";
            break;
        };
        rest = &tag[end + 1..];
    }
    out.push_str(rest);
    out.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncRead;

    use super::*;

    fn stream(bytes: &[u8], piece: usize) -> Stream {
        let (near, mut far) = tokio::io::duplex(piece);
        let bytes = bytes.to_vec();
        tokio::spawn(async move {
            // Who has heard enough closes.
            let _ = far.write_all(&bytes).await;
        });
        BufReader::new(Box::new(near))
    }

    async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        rest
    }

    #[tokio::test]
    async fn a_tunnel_is_open_after_any_2xx_and_loses_no_byte() {
        for answer in [
            "HTTP/1.1 200 Connection established\r\n\r\n",
            "HTTP/1.0 200 OK\r\nProxy-Agent: x\r\n\r\n",
            "HTTP/1.1 200\r\n\r\n",
            "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\nVia: x\n\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
        ] {
            for piece in [1, 7, 4096] {
                let mut stream = stream(format!("{answer}SSH-2.0").as_bytes(), piece);
                let said = Said::read(&mut stream, true).await.unwrap();
                assert!(said.status.is_success(), "{answer}");
                assert_eq!(rest(&mut stream).await, "SSH-2.0", "{answer}");
            }
        }
    }

    #[tokio::test]
    async fn a_refusal_keeps_status_reason_headers_and_the_start_of_the_body() {
        let long = "x".repeat(10_000);
        let bytes = format!(
            "HTTP/1.1 503 Service Unavailable\r\nServer: squid/5.7\r\nVia: 1.1 a\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\n\
             Proxy-Authenticate: Negotiate\r\nProxy-Authenticate: Basic realm=\"x\"\r\n\r\n{long}"
        );
        let mut stream = stream(bytes.as_bytes(), 13);
        let said = Said::read(&mut stream, true).await.unwrap();
        assert_eq!((said.status.as_u16(), said.reason.as_str()), (503, "Service Unavailable"));
        assert_eq!((said.text("server"), said.text("via")), (Some("squid/5.7"), Some("1.1 a")));
        assert_eq!(said.headers.get_all("proxy-authenticate").iter().count(), 2);
        assert_eq!(said.body.len(), 2048);
    }

    #[tokio::test]
    async fn what_is_no_answer_is_told_apart() {
        let flood = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(MAX_HEAD));
        for (bytes, expected) in [
            ("", NoAnswer::Closed),
            ("HTTP/1.1 200 OK\r\nVia", NoAnswer::NotHttp),
            ("HTTP/1.1 abc OK\r\n\r\n", NoAnswer::NotHttp),
            ("SSH-2.0-OpenSSH_9.6\r\n", NoAnswer::NotHttp),
            ("\x15\x03\x01\x00\x02\x02\x50", NoAnswer::NotHttp),
            ("HTTP/2 200\r\n\r\n", NoAnswer::NotHttp),
            (flood.as_str(), NoAnswer::TooLong),
        ] {
            assert_eq!(Said::read(&mut stream(bytes.as_bytes(), 64), true).await.unwrap_err(), expected);
        }
    }

    #[test]
    fn an_answer_of_the_proxy_is_told_from_one_of_the_server() {
        for (head, own) in [
            ("HTTP/1.1 407 X\r\n\r\n", true),
            ("HTTP/1.1 503 X\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\nVia: 1.1 p (squid/5.7)\r\n\r\n", true),
            ("HTTP/1.1 503 X\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\n\r\n", true),
            (
                "HTTP/1.1 503 X\r\nX-Squid-Error: ERR_CONNECT_FAIL 111\r\nVia: 1.1 r (squid), 1.1 p (squid)\r\n\r\n",
                false,
            ),
            ("HTTP/1.1 503 X\r\nX-Squid-Error: E 1\r\nVia: 1.1 r\r\nVia: 1.1 p\r\n\r\n", false),
            ("HTTP/1.1 500 X\r\nServer: tinyproxy/1.11.1\r\n\r\n", true),
            ("HTTP/1.1 500 X\r\nServer: tinyproxy/1.11.1\r\nVia: 1.1 p (tinyproxy/1.11.1)\r\n\r\n", false),
            ("HTTP/1.1 200 X\r\nServer: tinyproxy/1.11.1\r\n\r\n", false),
            ("HTTP/1.1 502 X\r\nServer: nginx\r\nVia: 1.1 p (squid/5.7)\r\n\r\n", false),
            ("HTTP/1.1 502 X\r\n\r\n", false),
        ] {
            assert_eq!(Said::parse(head.as_bytes()).unwrap().is_own(), own, "{head}");
        }
    }

    #[test]
    fn a_page_is_read_without_its_markup() {
        for (page, expected) in [
            ("plain  text\n", "plain text"),
            (
                "<html><head><title>ERROR</title><style>a { b: c }</style></head><body><p>No <b>way</b>.",
                "ERROR No way .",
            ),
            ("<!-- <a> --><h1>500</h1><script>x > 1</script>", "500"),
            ("<style>cut off here", ""),
            ("a < b", "a"),
            ("ü<ü>ö", "ü ö"),
        ] {
            assert_eq!(words(page), expected);
        }
    }
}
