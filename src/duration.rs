//! Durations as people type them: `3s`, `500ms`, `1m`, `1.5s`.

use std::time::Duration;

/// The longest duration that makes sense for a look.
const LONGEST: Duration = Duration::from_hours(24);

/// Why a text is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// No unit, or one that is not known.
    #[error("a duration is a number and a unit: 500ms, 3s, 1m or 1h")]
    Form,
    /// Nothing, or less.
    #[error("a duration is longer than nothing")]
    Zero,
    /// More than a day.
    #[error("a duration is at most 24h")]
    TooLong,
}

/// Parses a duration.
pub fn parse(text: &str) -> Result<Duration, ParseError> {
    let unit_at = text.find(|c: char| c.is_ascii_alphabetic()).ok_or(ParseError::Form)?;
    let (number, unit) = text.split_at(unit_at);
    let unit_s = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(ParseError::Form),
    };
    if number.is_empty() || !number.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(ParseError::Form);
    }
    let seconds: f64 = number.parse::<f64>().map_err(|_| ParseError::Form)? * unit_s;
    if seconds > LONGEST.as_secs_f64() {
        return Err(ParseError::TooLong);
    }
    let millis = (seconds * 1_000.0).round() as u64;
    if millis == 0 { Err(ParseError::Zero) } else { Ok(Duration::from_millis(millis)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_type_is_understood() {
        for (text, ms) in
            [("3s", 3_000), ("500ms", 500), ("1m", 60_000), ("1.5s", 1_500), ("24h", 86_400_000)]
        {
            assert_eq!(parse(text), Ok(Duration::from_millis(ms)), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "3", "s", "-3s", "3 s", "3S", "1e9s", "1..2s", "infs", "3s3s", "ß"] {
            assert_eq!(parse(text), Err(ParseError::Form), "{text}");
        }
        assert_eq!(parse("0s"), Err(ParseError::Zero));
        assert_eq!(parse("0.1ms"), Err(ParseError::Zero));
        assert_eq!(parse("25h"), Err(ParseError::TooLong));
        assert_eq!(parse("99999999999999999999h"), Err(ParseError::TooLong));
    }
}
