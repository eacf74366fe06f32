//! Numbers and codes in the words of a person.

use serde::Serialize;

use super::sanitize::{Charset, NAME_COLUMNS, escape};
use crate::diagnose::model::{Culprit, Severity, Share};
use crate::diagnose::thresholds::SURE;

/// A code as it stands in the document: `hot_spin`, `critical`, `gevent`.
pub(crate) fn word<T: Serialize>(code: &T) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// A severity as a word that is seen from afar.
pub(crate) const fn loud(severity: Option<Severity>) -> &'static str {
    match severity {
        Some(Severity::Critical) => "CRITICAL",
        Some(Severity::Warning) => "WARNING",
        Some(Severity::Info) => "ok",
        None => "UNKNOWN",
    }
}

/// The band of a confidence.
pub(crate) fn band(confidence: f64) -> &'static str {
    match confidence {
        c if c >= 0.9 => "high",
        c if c >= SURE => "medium",
        c if c >= 0.5 => "low",
        _ => "too low",
    }
}

/// A share in per cent, with a decimal where it would otherwise round to nothing or to all.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if (percent > 0.0 && percent < 1.0) || (percent > 99.0 && percent < 100.0) {
        format!("{percent:.1} %")
    } else {
        format!("{percent:.0} %")
    }
}

/// A share with what it rests on.
pub(crate) fn share(share: &Share) -> String {
    let method = word(&share.method);
    match (share.n, share.of, share.ci95) {
        (Some(n), Some(of), Some([low, high])) => {
            let (low, high) = (low * 100.0, high * 100.0);
            format!("{method}, {} of {}, CI95 {low:.0}–{high:.0} %", count(n), count(of))
        }
        (Some(n), Some(of), None) => format!("{method}, {} of {}", count(n), count(of)),
        _ => method,
    }
}

/// A count with its thousands set apart.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of something: `1 process`, `1,200 threads`.
pub(crate) fn plural(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ if one.ends_with('s') => format!("{} {one}es", count(number)),
        _ => format!("{} {one}s", count(number)),
    }
}

/// A number as short as it can be told.
pub(crate) fn number(value: f64) -> String {
    let rounded = (value * 1_000.0).round() / 1_000.0;
    if rounded.fract() == 0.0 && rounded.abs() < 1e15 && rounded >= 0.0 {
        count(rounded as u64)
    } else {
        rounded.to_string()
    }
}

/// A foreign name, cut where it gets longer than any honest one.
pub(crate) fn name(text: &str) -> String {
    escape(text, Charset::Unicode, NAME_COLUMNS)
}

/// How much of a file's path to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Paths {
    /// All of it.
    Whole,
    /// Its last part, for a line that must stay short.
    Short,
}

/// A culprit in a few words: where it stands in the code first, because that is what can be changed.
pub(crate) fn culprit(culprit: &Culprit, paths: Paths) -> String {
    let file = culprit.file.as_ref().map(|file| match paths {
        Paths::Whole => name(file),
        Paths::Short => name(file.rsplit('/').next().unwrap_or(file)),
    });
    let place = file.map(|file| match culprit.line {
        Some(line) if line > 0 => format!("{file}:{line}"),
        _ => file,
    });
    let code = match (culprit.function.as_deref().map(name), place) {
        (Some(function), Some(place)) => Some(format!("{function} ({place})")),
        (function, place) => function.or(place),
    };
    let thing = match (culprit.fd, culprit.what.as_deref().map(name)) {
        (Some(fd), Some(what)) => Some(format!("fd {fd}, {what}")),
        (Some(fd), None) => Some(format!("fd {fd}")),
        (None, what) => what,
    };
    let peer = culprit.peer.as_deref().map(|peer| format!("peer {}", name(peer)));
    let parts: Vec<String> = [code, thing, peer].into_iter().flatten().collect();
    if parts.is_empty() { name(&culprit.kind) } else { parts.join("; ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn per_cents_do_not_round_to_nothing_or_all() {
        assert_eq!([0.0, 0.004, 0.5, 0.996, 1.0].map(percent), ["0 %", "0.4 %", "50 %", "99.6 %", "100 %"]);
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!([0, 999, 1_000, 12_345_678].map(count), ["0", "999", "1,000", "12,345,678"]);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([0.7, 5_400.0, 0.123_456, -1.0].map(number), ["0.7", "5,400", "0.123", "-1"]);
    }

    #[test]
    fn bands_follow_the_limits() {
        assert_eq!([0.9, 0.89, 0.7, 0.5, 0.49].map(band), ["high", "medium", "medium", "low", "too low"]);
    }
}
