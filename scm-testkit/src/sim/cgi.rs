//! git's own smart HTTP back end, run as a CGI program, with bodies streamed both ways.

use std::{path::Path, process::Stdio};

use axum::body::Body;
use futures_util::StreamExt as _;
use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    process::{ChildStdout, Command},
};
use tokio_util::io::ReaderStream;

use crate::sim::repo::Git;

/// One request for the back end.
#[derive(Debug)]
pub(crate) struct CgiRequest<'a> {
    pub(crate) method: &'a Method,
    /// `info/refs`, `git-upload-pack` or `git-receive-pack`.
    pub(crate) service_path: &'a str,
    pub(crate) query: &'a str,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) content_encoding: Option<&'a str>,
    pub(crate) git_protocol: Option<&'a str>,
    pub(crate) user: Option<&'a str>,
    /// Settings for this one request, such as `receive.denyNonFastForwards=true`.
    pub(crate) settings: &'a [(&'a str, &'a str)],
}

/// Which filters the server's git takes from those who read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum GitFilters {
    /// All that git knows.
    #[default]
    All,
    /// All but those for trees, which are refused by name.
    NoTrees,
    /// None: they are not advertised.
    Off,
}

impl GitFilters {
    /// As settings of one request.
    pub(crate) fn settings(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::All => &[],
            Self::NoTrees => &[("uploadpackfilter.tree.allow", "false")],
            Self::Off => &[("uploadpack.allowFilter", "false")],
        }
    }
}

/// Whether the answer is handed on while it is produced, or only after the program has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Stream,
    /// So that the effects of a push are complete when its answer arrives.
    Whole,
}

/// Runs `git http-backend` for the bare repository at `repository`.
pub(crate) async fn run(
    git: &Git,
    repository: &Path,
    request: CgiRequest<'_>,
    body: Body,
    mode: Mode,
) -> std::io::Result<Response<Body>> {
    let mut command = Command::from(git.bare_command());
    command.arg("http-backend").current_dir(repository);
    let parent = repository.parent().unwrap_or(repository);
    let name = repository.file_name().unwrap_or_default().to_string_lossy();
    command
        .env("GIT_PROJECT_ROOT", parent)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", format!("/{name}/{}", request.service_path))
        .env("QUERY_STRING", request.query)
        .env("REQUEST_METHOD", request.method.as_str())
        .env("REMOTE_ADDR", "127.0.0.1");
    for (variable, value) in [
        ("CONTENT_TYPE", request.content_type),
        ("HTTP_CONTENT_ENCODING", request.content_encoding),
        ("GIT_PROTOCOL", request.git_protocol),
        ("REMOTE_USER", request.user),
    ] {
        if let Some(value) = value {
            command.env(variable, value);
        }
    }
    command.env("GIT_CONFIG_COUNT", request.settings.len().to_string());
    for (at, (key, value)) in request.settings.iter().enumerate() {
        command.env(format!("GIT_CONFIG_KEY_{at}"), key).env(format!("GIT_CONFIG_VALUE_{at}"), value);
    }
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        tokio::spawn(async move {
            let mut chunks = body.into_data_stream();
            while let Some(Ok(chunk)) = chunks.next().await {
                if stdin.write_all(&chunk).await.is_err() {
                    break;
                }
            }
            let _ = stdin.shutdown().await;
        });
    }
    let Some(stdout) = child.stdout.take() else {
        return Err(std::io::Error::other("no output pipe"));
    };
    let mut output = BufReader::new(stdout);
    let mut response = read_head(&mut output).await?;
    match mode {
        Mode::Whole => {
            let mut bytes = Vec::new();
            output.read_to_end(&mut bytes).await?;
            child.wait().await?;
            *response.body_mut() = Body::from(bytes);
        }
        Mode::Stream => {
            // The program ends when it has written all, or when its pipe is closed because the client went away.
            tokio::spawn(async move { child.wait().await });
            *response.body_mut() = Body::from_stream(ReaderStream::new(output));
        }
    }
    Ok(response)
}

async fn read_head(output: &mut BufReader<ChildStdout>) -> std::io::Result<Response<Body>> {
    let mut response = Response::new(Body::empty());
    let mut line = String::new();
    loop {
        line.clear();
        if output.read_line(&mut line).await? == 0 {
            return Err(std::io::Error::other("the git back end gave no answer"));
        }
        let text = line.trim_end();
        if text.is_empty() {
            return Ok(response);
        }
        let Some((name, value)) = text.split_once(':') else { continue };
        let value = value.trim();
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse::<u16>().ok());
            if let Some(status) = code.and_then(|code| StatusCode::from_u16(code).ok()) {
                *response.status_mut() = status;
            }
        } else if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
            response.headers_mut().insert(name, value);
        }
    }
}
