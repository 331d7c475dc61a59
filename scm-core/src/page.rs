//! Lists: pages with a cursor, and the one extension that makes streams of them.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use serde::{Deserialize, Serialize};

use crate::error::{Error, ErrorKind, Result};

/// Where a list goes on: opaque, serialisable, and bound to the provider and operation that gave it.
///
/// A scan can stop, keep the cursor, and go on days later, as far as the server still knows the place.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor {
    provider: String,
    operation: String,
    token: String,
}

impl Cursor {
    /// For providers: a cursor of `provider` for `operation`. The token must not hold an origin or a secret.
    #[must_use]
    pub fn new(provider: &'static str, operation: &'static str, token: impl Into<String>) -> Self {
        Self { provider: provider.to_owned(), operation: operation.to_owned(), token: token.into() }
    }

    /// For providers: the token, if the cursor belongs here.
    ///
    /// # Errors
    /// `InvalidInput` when the cursor is of another provider or operation.
    pub fn token_for(&self, provider: &str, operation: &str) -> Result<&str> {
        if self.provider == provider && self.operation == operation {
            Ok(&self.token)
        } else {
            Err(Error::invalid(format!(
                "a cursor of {} {} cannot be used for {provider} {operation}",
                self.provider, self.operation
            )))
        }
    }
}

impl fmt::Debug for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cursor({} {})", self.provider, self.operation)
    }
}

/// One page of a list. An item that could not be read is an error of its own and does not lose the page.
#[derive(Debug)]
#[non_exhaustive]
pub struct Page<T> {
    /// The items, in the server's order. May be empty although more pages follow.
    pub items: Vec<Result<T>>,
    /// Where the list goes on; `None` at its end.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// A page.
    #[must_use]
    pub fn new(items: Vec<Result<T>>, next: Option<Cursor>) -> Self {
        Self { items, next }
    }

    /// The items, or the first error among them.
    ///
    /// # Errors
    /// The first item's error.
    pub fn into_items(self) -> Result<Vec<T>> {
        self.items.into_iter().collect()
    }
}

/// Ends for a stream over pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct PageLimits {
    /// At most so many pages.
    pub max_pages: Option<usize>,
    /// At most so many items.
    pub max_items: Option<usize>,
}

impl PageLimits {
    /// At most so many pages.
    #[must_use]
    pub fn with_max_pages(mut self, pages: usize) -> Self {
        self.max_pages = Some(pages);
        self
    }

    /// At most so many items.
    #[must_use]
    pub fn with_max_items(mut self, items: usize) -> Self {
        self.max_items = Some(items);
        self
    }
}

type PageFuture<'a, T> = Pin<Box<dyn Future<Output = Result<Page<T>>> + Send + 'a>>;

/// Pages as a stream, each with its cursor for resuming. Lazy: nothing is sent before the first poll.
///
/// The next page is asked for by the poll that follows a page; nothing is spawned. A cursor that comes twice ends the
/// stream with a `Decode` error.
pub struct Pages<'a, T> {
    fetch: Box<dyn FnMut(Option<Cursor>) -> PageFuture<'a, T> + Send + 'a>,
    pending: Option<PageFuture<'a, T>>,
    seen: HashSet<Cursor>,
    /// Where to go on; the beginning is `None`.
    next: Option<Option<Cursor>>,
    pages_left: Option<usize>,
}

impl<'a, T> Pages<'a, T> {
    /// A stream that calls `fetch` for each page, from `start` on (`None`: from the beginning).
    pub fn new<F, Fut>(start: Option<Cursor>, max_pages: Option<usize>, mut fetch: F) -> Self
    where
        F: FnMut(Option<Cursor>) -> Fut + Send + 'a,
        Fut: Future<Output = Result<Page<T>>> + Send + 'a,
    {
        Self {
            fetch: Box::new(move |at| Box::pin(fetch(at))),
            pending: None,
            seen: HashSet::new(),
            next: Some(start),
            pages_left: max_pages,
        }
    }

    /// Item by item: an item's error goes on, a page's error ends the stream.
    pub fn items(self, max_items: Option<usize>) -> Items<'a, T> {
        Items { pages: Some(self), queue: VecDeque::new(), left: max_items }
    }
}

impl<T> Stream for Pages<'_, T> {
    type Item = Result<Page<T>>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let pending = match &mut this.pending {
            Some(pending) => pending,
            None => {
                let Some(at) = this.next.take() else { return Poll::Ready(None) };
                match &mut this.pages_left {
                    Some(0) => return Poll::Ready(None),
                    Some(left) => *left -= 1,
                    None => {}
                }
                this.seen.extend(at.clone());
                this.pending.insert((this.fetch)(at))
            }
        };
        let page = ready!(pending.as_mut().poll(cx));
        this.pending = None;
        Poll::Ready(Some(page.and_then(|page| match &page.next {
            Some(next) if this.seen.contains(next) => Err(Error::new(
                ErrorKind::Decode,
                "the server gave the same next page twice; the list would never end",
            )),
            next => {
                this.next = next.clone().map(Some);
                Ok(page)
            }
        })))
    }
}

impl<T> fmt::Debug for Pages<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pages").field("pages_left", &self.pages_left).finish_non_exhaustive()
    }
}

/// Items of [`Pages`] as a stream.
///
/// The next page is asked for when the last item of this one was taken. A request ahead of that would hold its turn at
/// the server, and its deadline would run, while the caller works on an item and nobody polls it.
pub struct Items<'a, T> {
    pages: Option<Pages<'a, T>>,
    queue: VecDeque<Result<T>>,
    left: Option<usize>,
}

impl<T: Unpin> Stream for Items<'_, T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.left == Some(0) {
            this.pages = None;
        }
        while let Some(pages) = &mut this.pages {
            if let Some(item) = this.queue.pop_front() {
                if let Some(left) = &mut this.left {
                    *left -= 1;
                }
                return Poll::Ready(Some(item));
            }
            match ready!(Pin::new(pages).poll_next(cx)) {
                Some(Ok(page)) => this.queue = page.items.into(),
                Some(Err(error)) => {
                    this.pages = None;
                    return Poll::Ready(Some(Err(error)));
                }
                None => this.pages = None,
            }
        }
        Poll::Ready(None)
    }
}

impl<T> fmt::Debug for Items<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Items").field("queued", &self.queue.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::StreamExt as _;

    use super::*;

    fn cursor(n: usize) -> Cursor {
        Cursor::new("test", "list", n.to_string())
    }

    fn pages(script: Vec<Result<Page<u32>>>, calls: &AtomicUsize) -> Pages<'_, u32> {
        let mut script = VecDeque::from(script);
        Pages::new(None, None, move |_| {
            let page = script.pop_front().unwrap();
            async move {
                calls.fetch_add(1, Ordering::SeqCst);
                page
            }
        })
    }

    #[tokio::test]
    async fn an_empty_page_goes_on_and_an_item_error_too() {
        let calls = AtomicUsize::new(0);
        let script = vec![
            Ok(Page::new(
                vec![Ok(1), Err(Error::new(ErrorKind::Decode, "bad item")), Ok(2)],
                Some(cursor(1)),
            )),
            Ok(Page::new(vec![], Some(cursor(2)))),
            Ok(Page::new(vec![Ok(3)], None)),
        ];
        let all: Vec<_> = pages(script, &calls).items(None).map(|item| item.ok()).collect().await;
        assert_eq!(all, [Some(1), None, Some(2), Some(3)]);
    }

    #[tokio::test]
    async fn a_page_error_ends_the_stream_after_the_items_before_it() {
        let calls = AtomicUsize::new(0);
        let script = vec![
            Ok(Page::new(vec![Ok(1)], Some(cursor(1)))),
            Err(Error::new(ErrorKind::Unavailable, "down")),
        ];
        let all: Vec<_> = pages(script, &calls).items(None).map(|item| item.ok()).collect().await;
        assert_eq!(all, [Some(1), None]);
    }

    #[tokio::test]
    async fn a_repeated_cursor_is_an_error() {
        let calls = AtomicUsize::new(0);
        let script =
            vec![Ok(Page::new(vec![Ok(1)], Some(cursor(1)))), Ok(Page::new(vec![Ok(2)], Some(cursor(1))))];
        let all: Vec<_> = pages(script, &calls).items(None).collect().await;
        assert_eq!(all.len(), 2);
        assert_eq!(all[1].as_ref().unwrap_err().kind(), ErrorKind::Decode);
    }

    #[tokio::test]
    async fn nothing_is_sent_before_it_is_asked_for() {
        let calls = AtomicUsize::new(0);
        let script = (1..=4).map(|n| Ok(Page::new(vec![Ok(n)], Some(cursor(n as usize))))).collect();
        let mut items = pages(script, &calls).items(None);
        assert_eq!(calls.load(Ordering::SeqCst), 0);
        for page in 1..=4 {
            items.next().await;
            assert_eq!(calls.load(Ordering::SeqCst), page);
        }
    }

    #[tokio::test]
    async fn limits_stop_the_stream() {
        let fetch = |at: Option<Cursor>| async move {
            let n = at.map_or(0, |at| at.token_for("test", "list").unwrap().parse::<usize>().unwrap());
            Ok(Page::new(vec![Ok(n as u32), Ok(n as u32)], Some(cursor(n + 1))))
        };
        assert_eq!(Pages::new(None, Some(3), fetch).items(None).count().await, 6);
        assert_eq!(Pages::new(None, None, fetch).items(Some(5)).count().await, 5);
        assert_eq!(Pages::new(Some(cursor(7)), Some(1), fetch).items(None).next().await.unwrap().unwrap(), 7);
    }

    #[test]
    fn a_cursor_of_another_operation_is_refused() {
        let json = serde_json::to_string(&cursor(1)).unwrap();
        let back: Cursor = serde_json::from_str(&json).unwrap();
        assert!(back.token_for("test", "list").is_ok());
        assert_eq!(back.token_for("test", "other").unwrap_err().kind(), ErrorKind::InvalidInput);
    }
}
