//! Maven's version order, after the "Version Order Specification" of the POM reference
//! (<https://maven.apache.org/pom.html#version-order-specification>).
//!
//! A version is cut at dots, hyphens and wherever digits meet letters. Trailing tokens that mean nothing (`0`, `ga`,
//! `final`, `release`) are dropped, at the end and before every hyphen. What is left is compared token by token,
//! the shorter one padded with tokens that mean nothing.

use std::cmp::Ordering;

/// A parsed version: equal versions have the same tokens, apart from padding.
#[derive(Debug, Clone)]
pub(super) struct MavenVersion(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Number {
        /// Whether a hyphen came before it: `1-1` is less than `1.1`.
        hyphen: bool,
        /// Without leading zeros and of any length, so that a date with time and build number never overflows.
        digits: String,
    },
    /// The separator before a qualifier makes no difference: `1.rc` is `1-rc`.
    Qualifier(Rank, String),
}

/// The qualifiers with a place of their own, in their order; any other comes after them, in alphabetical order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Alpha,
    Beta,
    Milestone,
    Candidate,
    Snapshot,
    Release,
    ServicePack,
    Other,
}

impl MavenVersion {
    /// `None` for an empty text and for what no version contains: ranges, expressions, markup.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let in_place = |c: char| c.is_alphanumeric() || "._-+~".contains(c);
        if text.is_empty() || !text.chars().all(in_place) {
            return None;
        }
        let mut tokens = Vec::new();
        let mut hyphen = false;
        let lower = text.to_lowercase();
        let mut rest = lower.as_str();
        loop {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            let length = if digits > 0 {
                digits
            } else {
                rest.find(|c: char| c == '.' || c == '-' || c.is_ascii_digit()).unwrap_or(rest.len())
            };
            let (token, after) = rest.split_at(length);
            let number_follows = after.starts_with(|c: char| c.is_ascii_digit());
            tokens.push(Token::new(token, hyphen, number_follows));
            let Some(next) = after.chars().next() else { break };
            hyphen = next != '.';
            rest = if matches!(next, '.' | '-') { &after[1..] } else { after };
        }
        trim(&mut tokens);
        Some(Self(tokens))
    }

    pub(super) fn same_first_number(&self, other: &Self) -> bool {
        self.0.first() == other.0.first()
    }

    pub(super) fn cmp(&self, other: &Self) -> Ordering {
        (0..self.0.len().max(other.0.len()))
            .map(|i| match (self.0.get(i), other.0.get(i)) {
                (Some(a), Some(b)) => a.cmp(b),
                (Some(a), None) => a.cmp(&a.padding()),
                (None, Some(b)) => b.padding().cmp(b),
                (None, None) => Ordering::Equal,
            })
            .find(|order| order.is_ne())
            .unwrap_or(Ordering::Equal)
    }
}

impl Token {
    fn new(text: &str, hyphen: bool, number_follows: bool) -> Self {
        if text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit()) {
            // An empty token, as between two dots, stands for zero.
            return Self::Number { hyphen, digits: text.trim_start_matches('0').to_owned() };
        }
        let rank = match text {
            "alpha" => Rank::Alpha,
            "beta" => Rank::Beta,
            "milestone" => Rank::Milestone,
            "a" if number_follows => Rank::Alpha,
            "b" if number_follows => Rank::Beta,
            "m" if number_follows => Rank::Milestone,
            "rc" | "cr" => Rank::Candidate,
            "snapshot" => Rank::Snapshot,
            "ga" | "final" | "release" => Rank::Release,
            "sp" => Rank::ServicePack,
            _ => Rank::Other,
        };
        Self::Qualifier(rank, if rank == Rank::Other { text.to_owned() } else { String::new() })
    }

    fn means_nothing(&self) -> bool {
        match self {
            Self::Number { digits, .. } => digits.is_empty(),
            Self::Qualifier(rank, _) => *rank == Rank::Release,
        }
    }

    const fn starts_section(&self) -> bool {
        matches!(self, Self::Number { hyphen: true, .. } | Self::Qualifier(..))
    }

    /// The token that means nothing and stands in for a missing one opposite this one.
    const fn padding(&self) -> Self {
        match self {
            Self::Number { hyphen: false, .. } => Self::Number { hyphen: false, digits: String::new() },
            Self::Number { hyphen: true, .. } | Self::Qualifier(..) => {
                Self::Qualifier(Rank::Release, String::new())
            }
        }
    }

    fn cmp(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Number { hyphen: a, digits: x }, Self::Number { hyphen: b, digits: y }) => {
                // A number after a hyphen is less than one after a dot, whatever the numbers are.
                b.cmp(a).then(x.len().cmp(&y.len())).then_with(|| x.cmp(y))
            }
            (Self::Qualifier(a, x), Self::Qualifier(b, y)) => a.cmp(b).then_with(|| x.cmp(y)),
            (Self::Qualifier(..), Self::Number { .. }) => Ordering::Less,
            (Self::Number { .. }, Self::Qualifier(..)) => Ordering::Greater,
        }
    }
}

/// Drops the tokens that mean nothing from the end, and from before every hyphen. The first token stays.
fn trim(tokens: &mut Vec<Token>) {
    let mut end = tokens.len();
    loop {
        while end > 1 && tokens[end - 1].means_nothing() {
            end -= 1;
            tokens.remove(end);
        }
        let Some(section) = (1..end).rev().find(|i| tokens[*i].starts_section()) else { return };
        end = section;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> MavenVersion {
        MavenVersion::parse(text).expect(text)
    }

    #[test]
    fn equal_spellings() {
        for group in [
            &[
                "1",
                "1.0",
                "1.0.0",
                "1-0",
                "1.ga",
                "1-ga",
                "1-final",
                "1.0-release",
                "1.",
                "1-",
                "1.0.0-0.0.0",
            ][..],
            &["1-a1", "1-alpha-1", "1alpha1", "1.0-a1", "1.0.alpha-1"],
            &["1-rc1", "1-cr-1", "1.RC1", "1.0-rc-01"],
            &["1.0.0-foo.0.0", "1-foo", "1.foo"],
            &["1-SNAPSHOT", "1.0-snapshot"],
            &["2.0.0.Final", "2.0", "2"],
        ] {
            for pair in group.windows(2) {
                assert_eq!(version(pair[0]).cmp(&version(pair[1])), Ordering::Equal, "{pair:?}");
            }
        }
    }

    #[test]
    fn ascending() {
        for row in [
            &["1-alpha", "1-beta", "1-milestone", "1-rc", "1-snapshot", "1", "1-sp", "1-abc", "1-1", "1.1"][..],
            &["1-foo2", "1-foo10"],
            &["1-ga.1", "1-sp.1"],
            &["1-sp-1", "1-ga-1"],
            &["1.9", "1.10.0", "1.10.1", "2"],
            &[
                "2.0-alpha1",
                "2.0-beta9",
                "2.0-rc1",
                "2.0-rc2",
                "2.0",
                "2.0.1",
                "2.3.1",
                "2.12.2",
                "2.14.1",
                "2.15.0",
            ],
            &["2.17.1-SNAPSHOT", "2.17.1"],
            &["31.0-jre", "31.1", "31.1-jre"],
            &["1.20080101.000000", "1.20260131123456789012345678901234567890"],
        ] {
            for (i, low) in row.iter().enumerate() {
                for high in &row[i + 1..] {
                    assert_eq!(version(low).cmp(&version(high)), Ordering::Less, "{low} < {high}");
                    assert_eq!(version(high).cmp(&version(low)), Ordering::Greater, "{high} > {low}");
                }
            }
        }
    }

    #[test]
    fn no_version() {
        for text in ["", "[1,2)", "${x}", "1 2", "(,1]", "1<2", "a/b"] {
            assert!(MavenVersion::parse(text).is_none(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn order_is_total(a in "[0-2a-c.-]{1,8}", b in "[0-2a-c.-]{1,8}", c in "[0-2a-c.-]{1,8}") {
            let (a, b, c) = (version(&a), version(&b), version(&c));
            prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
            if a.cmp(&b).is_le() && b.cmp(&c).is_le() {
                prop_assert!(a.cmp(&c).is_le());
            }
        }
    }
}
