//! SCORE: labelled runs in, how good the tool is out. No clock, no file, no process.
//!
//! [`run`] is one labelled look and what was said, [`tally`] counts them, [`baselines`] says what simpler methods would
//! have said of the same captures, [`others`] how much else went on, [`goals`] holds the counts against what was promised. A run whose fault was not
//! shown to be there is no ground truth: it is counted apart, never as right or wrong.

pub mod baselines;
pub mod goals;
pub mod others;
pub mod run;
pub mod tally;

#[cfg(test)]
mod tests;
