//! Lists: GitLab's next links → cursors.

use http::HeaderMap;
use http::header::LINK;
use scm_core::pipeline::{ApiRequest, Operation};
use scm_core::{Cursor, Page, Result};
use serde::de::DeserializeOwned;
use url::form_urlencoded;

use crate::client::PROVIDER;

/// Sends a list request, from the cursor on where there is one, and reads one page.
///
/// A cursor holds the path it belongs to and the query of the server's own next link. The origin and path of that link
/// are never used: the server may know itself by another URL than the one it is reached by, and a credential goes to
/// the configured origin only.
pub(crate) async fn list_page<W, T>(
    operation: &Operation,
    request: ApiRequest,
    at: Option<&Cursor>,
    convert: impl Fn(W) -> Result<T>,
) -> Result<Page<T>>
where
    W: DeserializeOwned,
{
    let path = request.path().to_owned();
    let request = match at {
        None => request,
        Some(cursor) => {
            let token = cursor.token_for(PROVIDER, operation.name()).map_err(|error| operation.own(error))?;
            match token.split_once('?') {
                Some((of, query)) if of == path => request.raw_query(query),
                _ => return Err(operation.invalid("the cursor belongs to another list of the same kind")),
            }
        }
    };
    let sent = request.query_string().to_owned();
    let answer = operation.send(request).await?;
    let items = answer.json_items::<W>()?;
    let items = items.into_iter().map(|item| item.and_then(&convert).map_err(|error| answer.own(error)));
    let items = items.collect();
    let next = next_query(answer.headers(), &sent);
    Ok(Page::new(items, next.map(|query| Cursor::new(PROVIDER, operation.name(), format!("{path}?{query}")))))
}

/// The query of the next page: of the `Link` header, else the request's own with the page of `x-next-page`.
fn next_query(headers: &HeaderMap, sent: &str) -> Option<String> {
    let link = headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()).find_map(next_link);
    if let Some(link) = link {
        return link.split_once('?').map(|(_, query)| query.split('#').next().unwrap_or(query).to_owned());
    }
    let page = headers.get("x-next-page")?.to_str().ok()?.trim();
    // Empty on the last page, not missing.
    page.parse::<u64>().ok()?;
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(form_urlencoded::parse(sent.as_bytes()).filter(|(name, _)| name != "page"));
    query.append_pair("page", page);
    Some(query.finish())
}

/// The target of `rel="next"` in a `Link` header (RFC 8288). Targets hold no `>`; parameters may be quoted.
fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let start = rest.find('<')?;
        let end = start + rest[start..].find('>')?;
        let target = &rest[start + 1..end];
        let parameters = &rest[end + 1..];
        let mut quoted = false;
        let length = parameters.find(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        let (own, following) = parameters.split_at(length.unwrap_or(parameters.len()));
        let is_next =
            own.split(';').filter_map(|parameter| parameter.split_once('=')).any(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value
                        .trim()
                        .trim_matches('"')
                        .split_ascii_whitespace()
                        .any(|rel| rel.eq_ignore_ascii_case("next"))
            });
        if is_next {
            return Some(target);
        }
        rest = following.strip_prefix(',')?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
            .collect()
    }

    #[test]
    fn the_next_link_is_found_in_every_form() {
        for (header, next) in [
            (r#"<https://h/a?page=2>; rel="next""#, Some("https://h/a?page=2")),
            (
                r#"<https://h/a?page=1>; rel="prev", <https://h/a?x=1,2&page=3>; rel="next", <https://h/z>; rel="last""#,
                Some("https://h/a?x=1,2&page=3"),
            ),
            (r#"<https://h/a>; title="a, b"; rel="next""#, Some("https://h/a")),
            ("<https://h/a>; rel=next", Some("https://h/a")),
            (r#"<https://h/a>; rel="first next""#, Some("https://h/a")),
            (r#"<https://h/a>; rel="last""#, None),
            ("", None),
            ("<", None),
            ("garbage", None),
        ] {
            assert_eq!(next_link(header), next, "{header}");
        }
    }

    #[test]
    fn only_the_query_of_a_link_is_used() {
        let link = headers(&[(
            "link",
            r#"<https://other.example/api/v4/projects?id_after=7&per_page=2>; rel="next""#,
        )]);
        assert_eq!(next_query(&link, "per_page=2").as_deref(), Some("id_after=7&per_page=2"));
    }

    #[test]
    fn the_page_header_serves_where_there_is_no_link() {
        let query = |value| next_query(&headers(&[("x-next-page", value)]), "per_page=2&page=1&search=a+b");
        assert_eq!(query("2").as_deref(), Some("per_page=2&search=a+b&page=2"));
        assert_eq!(query(""), None);
        assert_eq!(next_query(&headers(&[]), ""), None);
    }

    proptest::proptest! {
        #[test]
        fn link_headers_never_panic(header in ".*") {
            let _ = next_link(&header);
        }
    }
}
