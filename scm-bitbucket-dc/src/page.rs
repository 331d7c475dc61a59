//! Lists: Bitbucket's envelope with `nextPageStart` → cursors.

use scm_core::pipeline::{ApiRequest, ApiResponse, Operation};
use scm_core::{Cursor, Delivery, Error, ErrorKind, Page, Result};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::client::PROVIDER;
use crate::wire::WirePage;

/// Sends a list request, from the cursor on where there is one, and reads one page.
pub(crate) async fn list_page<W, T>(
    operation: &Operation,
    request: ApiRequest,
    at: Option<&Cursor>,
    convert: impl Fn(W) -> Result<T>,
) -> Result<Page<T>>
where
    W: DeserializeOwned,
{
    let listing = Listing::of(operation, request, at)?;
    let answer = operation.send(listing.request).await?;
    let page = envelope(&answer, |page: WirePage<W>| page, |page: WirePage<Box<RawValue>>| page, "values")?;
    to_page(operation, &answer, listing.path, listing.start, page, convert)
}

/// The same, for a list that stands inside of another answer: `whole` and `raw` take it out, `place` is its JSON path.
pub(crate) async fn list_page_within<A, R, W, T>(
    operation: &Operation,
    request: ApiRequest,
    at: Option<&Cursor>,
    inside: Inside<A, R, W>,
    convert: impl Fn(W) -> Result<T>,
) -> Result<Page<T>>
where
    A: DeserializeOwned,
    R: DeserializeOwned,
    W: DeserializeOwned,
{
    let listing = Listing::of(operation, request, at)?;
    let answer = operation.send(listing.request).await?;
    let page = envelope(&answer, inside.whole, inside.raw, inside.place)?;
    to_page(operation, &answer, listing.path, listing.start, page, convert)
}

/// Where in an answer a list stands.
pub(crate) struct Inside<A, R, W> {
    pub(crate) whole: fn(A) -> WirePage<W>,
    pub(crate) raw: fn(R) -> WirePage<Box<RawValue>>,
    pub(crate) place: &'static str,
}

/// A list request, and what its cursor will name.
struct Listing {
    request: ApiRequest,
    path: String,
    start: u64,
}

impl Listing {
    /// A cursor holds the path it belongs to and the server's own `nextPageStart`.
    fn of(operation: &Operation, request: ApiRequest, at: Option<&Cursor>) -> Result<Self> {
        let path = request.path().to_owned();
        let Some(cursor) = at else { return Ok(Self { request, path, start: 0 }) };
        let token = cursor.token_for(PROVIDER, operation.name()).map_err(|error| operation.own(error))?;
        match token.rsplit_once('?') {
            Some((of, start)) if of == path => {
                let start = start.parse().map_err(|_| operation.invalid("the cursor cannot be read"))?;
                Ok(Self { request: request.query("start", start), path, start })
            }
            _ => Err(operation.invalid("the cursor belongs to another list of the same kind")),
        }
    }
}

/// Reads a page whose items may each be wrong.
fn envelope<A: DeserializeOwned, R: DeserializeOwned, W: DeserializeOwned>(
    answer: &ApiResponse,
    whole: impl Fn(A) -> WirePage<W>,
    raw: impl Fn(R) -> WirePage<Box<RawValue>>,
    place: &str,
) -> Result<WirePage<Result<W>>> {
    if let Ok(page) = answer.json::<A>().map(whole) {
        return Ok(page.map(|_, item| Ok(item)));
    }
    let page = answer.json::<R>().map(raw)?;
    Ok(page.map(|index, item| answer.json_item(&format!("{place}[{index}]"), &item)))
}

fn to_page<W, T>(
    operation: &Operation,
    answer: &ApiResponse,
    path: String,
    start: u64,
    page: WirePage<Result<W>>,
    convert: impl Fn(W) -> Result<T>,
) -> Result<Page<T>> {
    let broken = |message: &str| {
        operation.own(Error::new(ErrorKind::Decode, message).with_delivery(Delivery::Answered))
    };
    if page.start.is_some_and(|told| told != start) {
        // Some lists look like pages and are none: what comes again has been seen.
        return Err(broken("the server gives the first page again (at 'start')"));
    }
    let items = page.values.into_iter();
    let mut items: Vec<_> =
        items.map(|item| item.and_then(&convert).map_err(|error| answer.own(error))).collect();
    let next = match (page.is_last_page.unwrap_or(page.next_page_start.is_none()), page.next_page_start) {
        (true, _) => None,
        (false, Some(next)) if next > start => {
            Some(Cursor::new(PROVIDER, operation.name(), format!("{path}?{next}")))
        }
        (false, Some(_)) => return Err(broken("the next page does not come after this one")),
        (false, None) => {
            items.push(Err(broken("the server has more than it gives, and says not where")));
            None
        }
    };
    Ok(Page::new(items, next))
}
