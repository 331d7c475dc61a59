//! A client that hides nothing: one connection for each request, the answer as it came.

use std::io::{Error, ErrorKind, Result};

use scm_testkit::sim::gitlab::GitLabSim;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The status and what the server gives as the reason.
    pub(crate) fn refusal(&self) -> (u16, Value) {
        let body = self.json();
        let reason = body.get("message").or_else(|| body.get("error")).cloned();
        (self.status, reason.unwrap_or(body))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Client {
    address: String,
    prefix: String,
    pub(crate) headers: Vec<(String, String)>,
}

impl Client {
    /// A client with the first token.
    pub(crate) fn of(sim: &GitLabSim) -> Self {
        Self::anonymous(sim).with_token(&sim.tokens()[0].token)
    }

    pub(crate) fn anonymous(sim: &GitLabSim) -> Self {
        Self::below(&sim.url(), "/api/v4")
    }

    /// A client of some server, for paths below a prefix.
    pub(crate) fn below(url: &str, prefix: &str) -> Self {
        let rest = url.strip_prefix("http://").unwrap();
        let (address, path) =
            rest.split_once('/').map_or((rest, String::new()), |(a, p)| (a, format!("/{p}")));
        Self { address: address.to_owned(), prefix: format!("{path}{prefix}"), headers: Vec::new() }
    }

    pub(crate) fn with_token(mut self, token: &str) -> Self {
        self.headers = vec![("PRIVATE-TOKEN".to_owned(), token.to_owned())];
        self
    }

    pub(crate) fn with_header(mut self, name: &str, value: &str) -> Self {
        self.headers = vec![(name.to_owned(), value.to_owned())];
        self
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, None, b"").await.unwrap()
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.send("DELETE", path, None, b"").await.unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_json("POST", path, body).await.unwrap()
    }

    pub(crate) async fn put(&self, path: &str, body: &Value) -> Answer {
        self.try_json("PUT", path, body).await.unwrap()
    }

    /// DELETE with a body.
    pub(crate) async fn delete_with(&self, path: &str, body: &Value) -> Answer {
        self.try_json("DELETE", path, body).await.unwrap()
    }

    pub(crate) async fn try_json(&self, method: &str, path: &str, body: &Value) -> Result<Answer> {
        self.send(method, path, Some("application/json"), body.to_string().as_bytes()).await
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        content_type: Option<&str>,
        body: &[u8],
    ) -> Result<Answer> {
        let mut head = format!(
            "{method} {}{path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.prefix, self.address
        );
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(content_type) = content_type {
            head.push_str(&format!("Content-Type: {content_type}\r\n"));
        }
        if !body.is_empty() {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        let mut stream = TcpStream::connect(&self.address).await?;
        stream.write_all(format!("{head}\r\n").as_bytes()).await?;
        stream.write_all(body).await?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await?;
        parse(&bytes, method == "HEAD")
    }
}

fn parse(bytes: &[u8], head_only: bool) -> Result<Answer> {
    let broken = |what: &str| Error::new(ErrorKind::UnexpectedEof, what.to_owned());
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(|| broken("no head"))?;
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut answer = Answer {
        status: status.ok_or_else(|| broken("no status"))?,
        headers,
        body: bytes[end + 4..].to_vec(),
    };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = unchunk(&answer.body).ok_or_else(|| broken("chunks end early"))?;
    }
    let announced = answer.header("content-length").and_then(|length| length.parse::<usize>().ok());
    if !head_only && announced.is_some_and(|length| length != answer.body.len()) {
        return Err(broken("the body ends early"));
    }
    Ok(answer)
}

fn unchunk(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.windows(2).position(|two| two == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).ok()?, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(end + 2..end + 2 + size)?);
        rest = rest.get(end + 4 + size..)?;
    }
}
