//! A flame graph: one SVG file with its own script, for any browser, without a network.

use inferno::flamegraph::{self, Options, TextTruncateDirection};

use super::collapsed;
use super::lines::Told;

/// Draws it.
pub(super) fn render(told: &Told<'_>) -> Vec<u8> {
    let folded: Vec<String> = collapsed::folded(told)
        .into_iter()
        .map(|(stack, weight_us)| format!("{stack} {weight_us}"))
        .collect();
    let totals = &told.profile.totals;
    let mut options = Options::default();
    options.title = told.title();
    options.subtitle = Some(format!(
        "{} looks in {:.1} s, by stallscope {}",
        totals.samples,
        totals.at_ns as f64 / 1e9,
        told.profile.header.tool_version
    ));
    // The weights are microseconds, people read milliseconds.
    options.count_name = "ms".into();
    options.factor = 0.001;
    options.name_type = "Frame:".into();
    // A frame begins with what it is called, and ends with where that is.
    options.text_truncate_direction = TextTruncateDirection::Right;
    // The same recording is the same picture.
    options.deterministic = true;
    options.hash = true;
    let mut picture = Vec::new();
    // Writing into memory cannot fail, and there is at least one line.
    let _ = flamegraph::from_lines(&mut options, folded.iter().map(String::as_str), &mut picture);
    picture
}
