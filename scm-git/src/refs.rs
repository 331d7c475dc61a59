//! What a server's git can do, and where its refs point: protocol version 2 over HTTP.

use http::Method;
use http::header::{ACCEPT, HeaderName, HeaderValue};
use scm_core::pipeline::{ApiRequest, Idempotency, Operation};
use scm_core::{Error, Result, Sha};

use crate::pkt::{DELIMITER, FLUSH, Packets, broken, line};

const AGENT: &str = concat!("agent=scm-git/", env!("CARGO_PKG_VERSION"), "\n");

/// What the server's git offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Capabilities {
    pub(crate) filter: bool,
    pub(crate) shallow: bool,
    /// The format of ids is told, so that it must be named in requests.
    object_format: bool,
}

/// Asks what the server's git can do.
///
/// # Errors
/// `Unsupported` for a server without protocol version 2 or with SHA-256.
pub(crate) async fn discover(operation: &Operation) -> Result<Capabilities> {
    let request = ApiRequest::new(Method::GET, "info/refs", &[])
        .query("service", "git-upload-pack")
        .header(ACCEPT, HeaderValue::from_static("*/*"))
        .header(HeaderName::from_static("git-protocol"), HeaderValue::from_static("version=2"));
    let answer = operation.send(request).await?;
    read_capabilities(answer.bytes()).map_err(|error| operation.own(error))
}

fn read_capabilities(answer: &[u8]) -> Result<Capabilities> {
    let mut out = Capabilities { filter: false, shallow: false, object_format: false };
    let mut is_second_version = false;
    for packet in Packets::new(answer) {
        let Some(text) = packet?.text() else { continue };
        match text.split_once('=').unwrap_or((text, "")) {
            ("version 2", _) => is_second_version = true,
            ("object-format", "sha1") => out.object_format = true,
            ("object-format", other) => {
                return Err(Error::unsupported(
                    "git",
                    format!("the repository's ids are {other}, not SHA-1"),
                ));
            }
            ("fetch", features) => {
                out.filter = features.split(' ').any(|feature| feature == "filter");
                out.shallow = features.split(' ').any(|feature| feature == "shallow");
            }
            _ => {}
        }
    }
    if !is_second_version {
        return Err(Error::unsupported(
            "git",
            "the server's git does not speak protocol version 2 (git 2.18), or a proxy drops the Git-Protocol header",
        ));
    }
    Ok(out)
}

/// The start of a command; its arguments follow.
pub(crate) fn command(name: &str, capabilities: Capabilities) -> Vec<u8> {
    let mut out = Vec::new();
    line(&mut out, &format!("command={name}\n"));
    line(&mut out, AGENT);
    if capabilities.object_format {
        line(&mut out, "object-format=sha1\n");
    }
    out.extend_from_slice(DELIMITER);
    out
}

/// A command of version 2 as a request. It changes nothing, so that it may be repeated.
pub(crate) fn upload_pack(body: Vec<u8>) -> ApiRequest {
    ApiRequest::new(Method::POST, "git-upload-pack", &[])
        .header(ACCEPT, HeaderValue::from_static("application/x-git-upload-pack-result"))
        .header(HeaderName::from_static("git-protocol"), HeaderValue::from_static("version=2"))
        .body(body.into(), HeaderValue::from_static("application/x-git-upload-pack-request"))
        .idempotency(Idempotency::Idempotent)
}

/// Where one ref points; `None` where it is not there.
pub(crate) async fn tip(
    operation: &Operation,
    capabilities: Capabilities,
    name: &str,
) -> Result<Option<Sha>> {
    let mut body = command("ls-refs", capabilities);
    line(&mut body, &format!("ref-prefix {name}\n"));
    body.extend_from_slice(FLUSH);
    let answer = operation.send(upload_pack(body)).await?;
    let mut found = None;
    for packet in Packets::new(answer.bytes()) {
        let Some(text) = packet.map_err(|error| operation.own(error))?.text() else { continue };
        if let Some(said) = text.strip_prefix("ERR ") {
            return Err(operation.own(broken(said)));
        }
        // A prefix is no name: others may begin alike.
        if let Some((id, rest)) = text.split_once(' ')
            && rest.split(' ').next() == Some(name)
        {
            found = Some(Sha::new(id).map_err(|_| operation.own(broken("a ref points to no commit id")))?);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use scm_core::ErrorKind;

    use super::*;

    fn advertised(lines: &[&str]) -> Vec<u8> {
        let mut out = Vec::new();
        line(&mut out, "# service=git-upload-pack\n");
        out.extend_from_slice(FLUSH);
        for text in lines {
            line(&mut out, text);
        }
        out.extend_from_slice(FLUSH);
        out
    }

    #[test]
    fn capabilities_are_read() {
        let full = advertised(&[
            "version 2\n",
            "agent=git/2.39\n",
            "ls-refs=unborn\n",
            "fetch=shallow wait-for-done filter\n",
            "object-format=sha1\n",
        ]);
        assert_eq!(
            read_capabilities(&full).unwrap(),
            Capabilities { filter: true, shallow: true, object_format: true }
        );
        let bare = advertised(&["version 2\n", "fetch\n"]);
        assert_eq!(
            read_capabilities(&bare).unwrap(),
            Capabilities { filter: false, shallow: false, object_format: false }
        );
        for other in [
            advertised(&["version 2\n", "object-format=sha256\n"]),
            advertised(&["0123456789012345678901234567890123456789 HEAD\0multi_ack\n"]),
        ] {
            assert_eq!(read_capabilities(&other).unwrap_err().kind(), ErrorKind::Unsupported);
        }
    }
}
