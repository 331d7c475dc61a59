//! How bad it is: the word of the database, or the CVSS 3 base score.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Severity in the words and steps of CVSS 3.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The record does not say, or in a notation that is not understood (CVSS 2 and 4 without a word beside them).
    #[default]
    Unknown,
    /// Base score below 4.
    Low,
    /// Base score from 4 to 6.9.
    Moderate,
    /// Base score from 7 to 8.9.
    High,
    /// Base score from 9.
    Critical,
}

impl Severity {
    pub(super) fn from_word(word: &str) -> Option<Self> {
        match word.to_ascii_lowercase().as_str() {
            "low" => Some(Self::Low),
            "moderate" | "medium" => Some(Self::Moderate),
            "high" => Some(Self::High),
            "critical" => Some(Self::Critical),
            _ => None,
        }
    }

    /// From a vector such as `CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H`.
    pub(super) fn from_cvss3(vector: &str) -> Option<Self> {
        Some(match base_score(vector)? {
            tenths if tenths >= 90 => Self::Critical,
            tenths if tenths >= 70 => Self::High,
            tenths if tenths >= 40 => Self::Moderate,
            _ => Self::Low,
        })
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Low => "low",
            Self::Moderate => "moderate",
            Self::High => "high",
            Self::Critical => "critical",
        })
    }
}

/// The base score of a CVSS 3.0 or 3.1 vector, in tenths
/// (<https://www.first.org/cvss/v3.1/specification-document>, §7).
fn base_score(vector: &str) -> Option<u32> {
    let metrics = vector.strip_prefix("CVSS:3.0/").or_else(|| vector.strip_prefix("CVSS:3.1/"))?;
    let metric = |name: &str| {
        metrics.split('/').find_map(|part| part.split_once(':').filter(|(n, _)| *n == name)).map(|(_, v)| v)
    };
    let changed = match metric("S")? {
        "C" => true,
        "U" => false,
        _ => return None,
    };
    let reach = match metric("AV")? {
        "N" => 0.85,
        "A" => 0.62,
        "L" => 0.55,
        "P" => 0.2,
        _ => return None,
    };
    let complexity = match metric("AC")? {
        "L" => 0.77,
        "H" => 0.44,
        _ => return None,
    };
    let privileges = match (metric("PR")?, changed) {
        ("N", _) => 0.85,
        ("L", false) => 0.62,
        ("L", true) => 0.68,
        ("H", false) => 0.27,
        ("H", true) => 0.5,
        _ => return None,
    };
    let interaction = match metric("UI")? {
        "N" => 0.85,
        "R" => 0.62,
        _ => return None,
    };
    let loss = |name: &str| match metric(name)? {
        "H" => Some(0.56),
        "L" => Some(0.22),
        "N" => Some(0.0),
        _ => None,
    };
    let kept: f64 = (1.0 - loss("C")?) * (1.0 - loss("I")?) * (1.0 - loss("A")?);
    let lost = 1.0 - kept;
    let impact =
        if changed { 7.52 * (lost - 0.029) - 3.25 * (lost - 0.02_f64).powi(15) } else { 6.42 * lost };
    if impact <= 0.0 {
        return Some(0);
    }
    let exploitability = 8.22 * reach * complexity * privileges * interaction;
    let score = ((impact + exploitability) * if changed { 1.08 } else { 1.0 }).min(10.0);
    // The specification's "round up to one decimal", which first cuts what floating point adds.
    (0..=100).find(|tenths| f64::from(*tenths) * 10_000.0 >= (score * 100_000.0).round())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores() {
        for (vector, tenths) in [
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H", Some(100)),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", Some(98)),
            ("CVSS:3.1/AV:N/AC:L/PR:H/UI:N/S:U/C:H/I:H/A:H", Some(72)),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H", Some(75)),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:L", Some(53)),
            ("CVSS:3.1/AV:N/AC:H/PR:N/UI:R/S:C/C:H/I:N/A:N", Some(61)),
            ("CVSS:3.0/AV:L/AC:H/PR:H/UI:R/S:U/C:L/I:N/A:N", Some(18)),
            ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", Some(0)),
            ("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:N/SI:N/SA:N", None),
            ("CVSS:3.1/AV:N", None),
            ("", None),
        ] {
            assert_eq!(base_score(vector), tenths, "{vector}");
        }
    }

    #[test]
    fn steps() {
        assert_eq!(Severity::from_word("MEDIUM"), Some(Severity::Moderate));
        assert_eq!(Severity::from_word("?"), None);
        assert!(Severity::Critical > Severity::High && Severity::Low > Severity::Unknown);
    }
}
