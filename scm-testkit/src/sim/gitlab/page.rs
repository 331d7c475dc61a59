//! Lists in pages, by offset and by keyset, with the product's headers.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::{
    call::Call,
    reply::{Failure, Outcome, Reply},
};

/// Above this many rows the total is not told.
const COUNTED: usize = 10_000;
/// Offsets beyond this are refused where a keyset is offered.
const DEEPEST_OFFSET: usize = 50_000;

const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// The page that was asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) page: usize,
    pub(crate) per_page: usize,
}

impl Asked {
    pub(crate) fn skip(self) -> usize {
        (self.page - 1).saturating_mul(self.per_page)
    }
}

impl Call {
    pub(crate) fn asked(&self) -> Asked {
        let number =
            |name, default| self.params.int(name).map_or(default, |n| usize::try_from(n).unwrap_or(0));
        let per_page = match number("per_page", 20) {
            0 => 20,
            more => more.min(100),
        };
        Asked { page: number("page", 1).max(1), per_page }
    }

    /// A page of things that are all at hand, each made into JSON only if it is on the page.
    pub(crate) fn paged<T>(&self, items: Vec<T>, make: impl FnMut(T) -> Value) -> Outcome {
        let asked = self.asked();
        let total = items.len();
        let page: Vec<Value> = items.into_iter().skip(asked.skip()).take(asked.per_page).map(make).collect();
        let more = asked.skip().saturating_add(page.len()) < total;
        Ok(self.with_page_headers(Reply::ok(Value::Array(page)), asked, more, Some(total)))
    }

    /// A page of a list whose length nobody counts.
    pub(crate) fn paged_uncounted(&self, page: Vec<Value>, more: bool) -> Outcome {
        Ok(self.with_page_headers(Reply::ok(Value::Array(page)), self.asked(), more, None))
    }

    /// Refuses offsets that are too deep for lists that can be read by keyset.
    pub(crate) fn refuse_deep_offset(&self, what: &str) -> Result<(), Failure> {
        if self.asked().skip() <= DEEPEST_OFFSET {
            return Ok(());
        }
        Err(Failure::error(
            405,
            format!(
                "Offset pagination has a maximum allowed offset of {DEEPEST_OFFSET} for requests that return objects \
                 of type {what}. Remaining records can be retrieved using keyset pagination."
            ),
        ))
    }

    /// A page by keyset: no counts, only the way to the next page, given as the parameters that change.
    pub(crate) fn keyset(&self, page: Vec<Value>, next: Option<&[(&str, String)]>) -> Outcome {
        let reply = Reply::ok(Value::Array(page));
        Ok(match next {
            Some(changed) => reply.header("Link", format!("<{}>; rel=\"next\"", self.link(changed))),
            None => reply,
        })
    }

    fn with_page_headers(&self, reply: Reply, asked: Asked, more: bool, total: Option<usize>) -> Reply {
        let Asked { page, per_page } = asked;
        let total = total.filter(|total| *total <= COUNTED);
        let pages = total.map(|total| total.div_ceil(per_page).max(1));
        let number = |there: bool, page: usize| if there { page.to_string() } else { String::new() };
        let mut links = Vec::new();
        let mut link = |rel: &str, page: usize| {
            let url = self.link(&[("page", page.to_string()), ("per_page", per_page.to_string())]);
            links.push(format!("<{url}>; rel=\"{rel}\""));
        };
        if page > 1 {
            link("prev", page - 1);
        }
        if more {
            link("next", page + 1);
        }
        link("first", 1);
        if let Some(pages) = pages {
            link("last", pages);
        }
        let mut reply = reply
            .header("Link", links.join(", "))
            .header("X-Next-Page", number(more, page + 1))
            .header("X-Page", page.to_string())
            .header("X-Per-Page", per_page.to_string())
            .header("X-Prev-Page", number(page > 1, page.saturating_sub(1)));
        if let (Some(total), Some(pages)) = (total, pages) {
            reply = reply.header("X-Total", total.to_string()).header("X-Total-Pages", pages.to_string());
        }
        reply
    }

    /// This request's address under the external URL, with some parameters changed.
    fn link(&self, changed: &[(&str, String)]) -> String {
        let kept = self
            .query
            .iter()
            .filter(|(name, _)| name != "private_token" && !changed.iter().any(|(other, _)| other == name));
        let encode = |text: &str| utf8_percent_encode(text, QUERY).to_string();
        let query: Vec<String> = kept
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .chain(changed.iter().map(|(name, value)| (*name, value.as_str())))
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)))
            .collect();
        format!("{}{}?{}", self.inner.external_url(), self.raw_path, query.join("&"))
    }
}
