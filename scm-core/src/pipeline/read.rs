//! Reading what servers say, in answers that are no JSON and in fields that may hold anything.

use std::str::FromStr;

use http::header::{CONTENT_TYPE, HeaderMap};

use crate::error::{Error, ErrorKind, Result};

/// How [`text`] begins for a web page.
pub(crate) const PAGE: &str = "a web page answers";

/// An identifier that came from the server: one that cannot be is a `Decode` error of that item. What stood there is
/// not shown, as of no value.
///
/// # Errors
/// `Decode`, naming the field.
pub fn told<T: TryFrom<String, Error = Error>>(field: &str, text: impl Into<String>) -> Result<T> {
    T::try_from(text.into())
        .map_err(|_| Error::new(ErrorKind::Decode, format!("the value cannot be used (at '{field}')")))
}

/// Something that only informs: text that cannot be read is left out rather than losing the item.
pub fn lenient<T: FromStr>(text: Option<String>) -> Option<T> {
    text?.parse().ok()
}

/// A body that is not JSON as one line: the title of a web page, or the first line of a text.
pub(super) fn text(headers: &HeaderMap, body: &[u8]) -> String {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let text = String::from_utf8_lossy(body);
    if !kind.starts_with("text/html") && !text.trim_start().starts_with('<') {
        return text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default().to_owned();
    }
    // A page of a proxy or of the product's own front: its title says which, the rest is not for people.
    match title(&text) {
        Some(title) => format!("{PAGE}: {title}"),
        None => format!("{PAGE} in place of the API"),
    }
}

fn title(html: &str) -> Option<String> {
    let lower = html.to_ascii_lowercase();
    let start = lower.find("<title")?;
    let start = start + lower[start..].find('>')? + 1;
    let end = start + lower[start..].find("</title")?;
    let title = html.get(start..end)?.split_whitespace().collect::<Vec<_>>().join(" ");
    (!title.is_empty()).then_some(title)
}
