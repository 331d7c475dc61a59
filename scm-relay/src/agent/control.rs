//! What the hub asks of the agent itself. The scheme keeps it apart from everything a service can ask for.

use http::Uri;

/// Which version are you?
pub(crate) const HELLO: &str = "/hello";

/// What do you see on the way to the server whose URL is in the body?
pub(crate) const PROBE: &str = "/probe";

/// This tunnel is old: open another one, and then take nothing more here.
pub(crate) const RETIRE: &str = "/retire";

const SCHEME: &str = "scm-agent";

pub(crate) fn uri(path: &'static str) -> Uri {
    let mut parts = http::uri::Parts::default();
    parts.scheme = SCHEME.parse().ok();
    parts.authority = Some(http::uri::Authority::from_static("control"));
    parts.path_and_query = Some(http::uri::PathAndQuery::from_static(path));
    Uri::from_parts(parts).unwrap_or_default()
}

pub(crate) fn is_control(uri: &Uri) -> bool {
    uri.scheme_str() == Some(SCHEME)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_has_a_scheme_of_its_own() {
        assert_eq!(uri(HELLO), "scm-agent://control/hello");
        assert!(is_control(&uri(PROBE)));
        assert!(!is_control(&"http://control/hello".parse().unwrap()));
    }
}
