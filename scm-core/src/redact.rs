//! Keeping secrets and floods out of what people read.

use std::borrow::Cow;

/// Longest message an error carries, in bytes.
const MAX_LINE: usize = 512;

/// What takes the place of a secret.
pub const REDACTED: &str = "[redacted]";

/// Starts of the tokens that GitLab and Bitbucket Data Center hand out.
const TOKEN_PREFIXES: &[&str] = &[
    "glpat-", "gldt-", "glptt-", "glrt-", "glcbt-", "gloas-", "glft-", "glagent-", "glimt-", "glsoat-",
    "BBDC-",
];

/// One bounded line: control characters become spaces, known token shapes and URL passwords are taken out.
///
/// ```
/// assert_eq!(scm_core::redact::line("use glpat-abc123 now"), "use [redacted] now");
/// assert_eq!(scm_core::redact::line("http://u:p@host/x"), "http://[redacted]@host/x");
/// ```
pub fn line(text: &str) -> String {
    // Cut first: a server's error page may be megabytes, and only the start is shown.
    let mut end = text.len().min(MAX_LINE * 2);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let flat: String =
        text[..end].chars().map(|c| if c.is_control() || is_bidi(c) { ' ' } else { c }).collect();
    let mut out = String::with_capacity(flat.len());
    for word in flat.split(' ').filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&word_without_secret(word));
    }
    if out.len() > MAX_LINE || end < text.len() {
        let mut end = out.len().min(MAX_LINE);
        while !out.is_char_boundary(end) {
            end -= 1;
        }
        out.truncate(end);
        out.push('…');
    }
    out
}

/// `text` with every occurrence of `secret` taken out.
pub(crate) fn without(text: &str, secret: &str) -> String {
    // Very short secrets would shred ordinary words; no real token is that short.
    if secret.len() < 6 { text.to_owned() } else { text.replace(secret, REDACTED) }
}

/// Characters that reorder text on a terminal and so can forge a message.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn word_without_secret(word: &str) -> Cow<'_, str> {
    // Every relayed request is looked at, and few words have what all the searches below would look for.
    if !word.contains(['-', '=', '@']) {
        return word.into();
    }
    let mut word = word.to_owned();
    for prefix in TOKEN_PREFIXES {
        let mut from = 0;
        while let Some(at) = word[from..].find(prefix) {
            let start = from + at;
            let tail = &word[start + prefix.len()..];
            let len = tail.find(|c: char| !is_token_char(c)).unwrap_or(tail.len());
            if len == 0 {
                from = start + prefix.len();
                continue;
            }
            word.replace_range(start..start + prefix.len() + len, REDACTED);
            from = start + REDACTED.len();
        }
    }
    for name in ["private_token=", "access_token=", "job_token=", "token="] {
        let mut from = 0;
        while let Some(at) = word[from..].find(name) {
            let start = from + at + name.len();
            let len = word[start..].find(['&', '"', '\'', '<']).unwrap_or(word.len() - start);
            if !word[start..start + len].starts_with(REDACTED) {
                word.replace_range(start..start + len, REDACTED);
            }
            from = start;
        }
    }
    if let Some(scheme) = word.find("://") {
        let start = scheme + 3;
        let end = word[start..].find(['/', '?', '#']).map_or(word.len(), |at| start + at);
        if let Some(at) = word[start..end].rfind('@') {
            word.replace_range(start..start + at, REDACTED);
        }
    }
    word.into()
}

fn is_token_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '+' | '/' | '=')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out() {
        for (text, shown) in [
            ("token glpat-AbC_12.xyz.", "token [redacted]"),
            ("'BBDC-abc+def'", "'[redacted]'"),
            ("?private_token=s3cret&x=1", "?private_token=[redacted]&x=1"),
            ("https://user:p@ss@host/path?q", "https://[redacted]@host/path?q"),
            ("https://host/a@b", "https://host/a@b"),
            ("a glpat- b", "a glpat- b"),
            ("glpat-a,glpat-b", "[redacted],[redacted]"),
        ] {
            assert_eq!(line(text), shown);
        }
    }

    #[test]
    fn long_text_is_cut_at_a_character() {
        let text = "ä".repeat(5_000);
        let cut = line(&text);
        assert!(cut.ends_with('…') && cut.len() <= MAX_LINE + '…'.len_utf8());
    }

    proptest::proptest! {
        #[test]
        fn line_never_panics_and_never_breaks(text in ".*") {
            let shown = line(&text);
            assert!(!shown.chars().any(char::is_control));
        }
    }
}
