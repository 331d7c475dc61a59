//! Offsets, lines and bounded texts.

use std::ops::Range;

const BOM: char = '\u{feff}';

/// A file's text with what turns a parser's offset into a place in the file.
#[derive(Debug)]
pub(crate) struct Source<'a> {
    pub(crate) text: &'a str,
    bom: usize,
    line_starts: Vec<usize>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let bom = if text.starts_with(BOM) { BOM.len_utf8() } else { 0 };
        let line_starts = std::iter::once(0).chain(text.match_indices('\n').map(|(i, _)| i + 1)).collect();
        Self { text, bom, line_starts }
    }

    /// The text after the byte order mark, which is what parsers are given.
    pub(crate) fn body(&self) -> &'a str {
        &self.text[self.bom..]
    }

    /// The place in the file of a place in [`Self::body`].
    pub(crate) const fn offset(&self, in_body: usize) -> usize {
        in_body + self.bom
    }

    /// The number of the line, from 1, of a place in the file.
    pub(crate) fn line(&self, offset: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= offset)
    }

    /// The place in the file of a literal's content, if the bytes there are its value: a literal with escapes
    /// cannot be changed by replacing bytes. `literal` is the range in the body, quotes included.
    pub(crate) fn inside_quotes(&self, literal: &Range<usize>, value: &str) -> Option<usize> {
        let start = literal.start.checked_add(1)?;
        let end = literal.end.checked_sub(1)?;
        (self.body().get(start..end)? == value).then(|| self.offset(start))
    }
}

/// A text from a file, fit for one line of a report: bounded, without control characters.
pub(crate) fn shown(text: &str) -> String {
    const MAX: usize = 160;
    let mut clean: String = text
        .chars()
        .map(|c| if c.is_whitespace() { ' ' } else { c })
        .filter(|c| !c.is_control())
        .take(MAX + 1)
        .collect();
    if clean.chars().count() > MAX {
        clean.pop();
        clean.push('…');
    }
    clean.trim().to_owned()
}

/// The directory of a path, empty for the root.
pub(crate) fn directory(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(dir, _)| dir)
}

/// A path under a directory, which may be empty for the root.
pub(crate) fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// A directory and those above it, down to the root.
pub(crate) fn upward(dir: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(dir), |dir| (!dir.is_empty()).then(|| directory(dir)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        let source = Source::new("\u{feff}a\r\nb = \"x\"\n");
        assert_eq!(source.body(), "a\r\nb = \"x\"\n");
        assert_eq!(source.inside_quotes(&(7..10), "x"), Some(11));
        assert_eq!(source.inside_quotes(&(7..10), "y"), None);
        assert_eq!(source.inside_quotes(&(0..90), "y"), None);
        assert_eq!((source.line(0), source.line(11), source.line(99)), (1, 2, 3));
    }

    #[test]
    fn paths() {
        assert_eq!(upward("a/b").collect::<Vec<_>>(), ["a/b", "a", ""]);
        assert_eq!(upward("").collect::<Vec<_>>(), [""]);
        assert_eq!((join("", "x"), join("a", "x")), ("x".to_owned(), "a/x".to_owned()));
    }

    #[test]
    fn shown_is_one_bounded_line() {
        assert_eq!(shown("a\nb\u{7}"), "a b");
        assert_eq!(shown(&"x".repeat(500)).chars().count(), 161);
    }
}
