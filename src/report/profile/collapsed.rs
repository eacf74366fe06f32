//! Folded stacks: a line for each, outermost frame first, frames joined by `;`, behind them the time in microseconds.
//!
//! Everything that reads this form splits at `;` and at the last space, and takes a line that begins with `#` for a
//! comment: a name that holds one of these would be another stack, another number or none at all.

use std::collections::BTreeMap;

use super::lines::{Told, frame_name};

/// Writes them, the same stack once.
pub(super) fn render(told: &Told<'_>) -> Vec<u8> {
    let mut text = String::new();
    for (stack, weight_us) in folded(told) {
        text.push_str(&stack);
        text.push(' ');
        text.push_str(&weight_us.to_string());
        text.push('\n');
    }
    text.into_bytes()
}

/// The stacks with their time in microseconds, in the order of their names.
pub(super) fn folded(told: &Told<'_>) -> BTreeMap<String, u64> {
    let mut folded: BTreeMap<String, u64> = BTreeMap::new();
    for line in &told.lines {
        let mut stack = String::new();
        let mut push = |name: &str| {
            if !stack.is_empty() {
                stack.push(';');
            }
            push_escaped(&mut stack, name);
        };
        told.origin(line).iter().for_each(|name| push(name));
        if let Some(root) = told.root(line) {
            push(root);
        }
        told.frames(line).rev().for_each(|(_, frame)| push(&frame_name(frame)));
        if let Some(leaf) = told.leaf(line) {
            push(&leaf);
        }
        *folded.entry(stack).or_default() += line.weight_ns;
    }
    // What was met is never nothing.
    for weight in folded.values_mut() {
        *weight = (*weight / 1_000).max(1);
    }
    folded
}

/// A name that ends no frame and begins no comment. What acts on terminals, line ends among it, is out of it already.
fn push_escaped(stack: &mut String, name: &str) {
    for (at, c) in name.chars().enumerate() {
        match c {
            ';' => stack.push_str("\\x3b"),
            '#' if at == 0 => stack.push_str("\\x23"),
            c if at == 0 && c.is_whitespace() => stack.push_str("\\x20"),
            c => stack.push(c),
        }
    }
}
