//! One stack out of two: the machine's and the interpreter's.
//!
//! Takes the native frames of a thread and, of its Python frames, how many belong to each turn of the interpreter's evaluation
//! function; gives the order in which they stand. Since 3.11 one call of that function runs many Python functions, and
//! each call begins with a frame that says so; before, each Python frame has a call of its own. Where the numbers do not
//! agree nothing is joined.

/// A native frame, as far as merging goes.
pub trait Frame {
    /// Its function; `None` when it has no name.
    fn function(&self) -> Option<&str>;
    /// The last part of the path of its program or library.
    fn library(&self) -> &str;
}

/// A place in the merged stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// The Python frame of that number.
    Python(usize),
    /// The native frame of that number.
    Native(usize),
}

/// How well both fit together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// The stack is whole.
    Whole,
    /// The native stack ends too early: further out there are only Python frames.
    Incomplete,
    /// They do not fit: so many calls of the evaluation function were found, and so many should be there.
    Apart {
        /// Calls on the machine's stack.
        native: usize,
        /// Calls by the interpreter's own account.
        python: usize,
    },
}

/// The function that evaluates Python code, since 3.6.
pub const EVALUATION: &str = "_PyEval_EvalFrameDefault";

/// Whether a function is the one that evaluates Python code.
#[must_use]
pub fn evaluates(function: &str, python2: bool) -> bool {
    let name = if python2 { "PyEval_EvalFrameEx" } else { EVALUATION };
    // The compiler names parts of a function behind a dot.
    function.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Whether a function is a part of that, which some builds make one of for each instruction.
fn part_of_evaluation(function: &str) -> bool {
    function.starts_with("_TAIL_CALL_")
}

/// Whether a greenlet's own stack begins with a frame: what lies further out is somebody else's.
fn begins_greenlet(frame: &impl Frame) -> bool {
    frame.library().contains("greenlet") && frame.function().is_some_and(|name| name.contains("initialstub"))
}

/// Joins both stacks, innermost first. `calls` has the number of Python frames of each call of the evaluation function,
/// innermost first; `cut` says that the native stack ends before its root.
#[must_use]
pub fn merge(native: &[impl Frame], cut: bool, calls: &[usize], python2: bool) -> (Vec<Place>, Fit) {
    let evaluation = |frame: &&_| Frame::function(*frame).is_some_and(|name| evaluates(name, python2));
    let greenlet = native.iter().position(begins_greenlet);
    let own = greenlet.map_or(native, |root| native.get(..=root).unwrap_or(native));
    let cut = cut && greenlet.is_none();
    let found = own.iter().filter(evaluation).count();
    let apart = Fit::Apart { native: found, python: calls.len() };
    // A part of the evaluation function may be without a name where its library has none for it.
    let home = own.iter().find(evaluation).map(Frame::library);
    let unsure = cut && own.iter().any(|frame| frame.function().is_none() && Some(frame.library()) == home);
    if unsure || found > calls.len() || (!cut && found < calls.len()) {
        return (Vec::new(), apart);
    }
    let mut places = Vec::with_capacity(own.len() + calls.iter().sum::<usize>());
    let (mut calls, mut next) = (calls.iter(), 0);
    for (number, frame) in own.iter().enumerate() {
        match frame.function() {
            Some(name) if evaluates(name, python2) => {
                let count = calls.next().copied().unwrap_or(0);
                places.extend((next..next + count).map(Place::Python));
                next += count;
            }
            Some(name) if part_of_evaluation(name) => {}
            _ => places.push(Place::Native(number)),
        }
    }
    let rest: usize = calls.sum();
    places.extend((next..next + rest).map(Place::Python));
    (places, if cut { Fit::Incomplete } else { Fit::Whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Frame for (&str, &str) {
        fn function(&self) -> Option<&str> {
            Some(self.0).filter(|name| !name.is_empty())
        }
        fn library(&self) -> &str {
            self.1
        }
    }

    const EVAL: &str = "_PyEval_EvalFrameDefault";

    /// Native functions, `cut` and calls; the merged stack in short: names of native frames and numbers of Python frames.
    fn merged(native: &[&str], cut: bool, calls: &[usize]) -> (String, Fit) {
        let library = |name: &&str| if name.contains("greenlet") { "_greenlet.so" } else { "libpython.so" };
        let frames: Vec<(&str, &str)> = native.iter().map(|name| (*name, library(name))).collect();
        let (places, fit) = merge(&frames, cut, calls, false);
        let words = places.iter().map(|place| match place {
            Place::Python(number) => number.to_string(),
            Place::Native(number) => {
                native.get(*number).map_or("?", |name| if name.is_empty() { "?" } else { name }).into()
            }
        });
        (words.collect::<Vec<String>>().join(" "), fit)
    }

    /// Native functions, whether the stack is cut, calls; the merged stack in short.
    type Case<'a> = (&'a [&'a str], bool, &'a [usize], &'a str, Fit);

    #[test]
    fn stacks_are_joined_at_the_evaluation_function() {
        let inlined = "_PyEval_EvalFrame";
        let cold = "_PyEval_EvalFrameDefault.cold";
        let root = "g_initialstub greenlet";
        let cases: [Case<'_>; 14] = [
            // Before 3.11 each frame has a call.
            (
                &["poll", EVAL, inlined, EVAL, "main"],
                false,
                &[1, 1],
                "poll 0 _PyEval_EvalFrame 1 main",
                Fit::Whole,
            ),
            // Since then a call has many.
            (&["poll", EVAL, "map", EVAL, "main"], false, &[3, 2], "poll 0 1 2 map 3 4 main", Fit::Whole),
            // A call whose frames are not shown is a call.
            (&["poll", EVAL, EVAL, "main"], false, &[0, 1], "poll 0 main", Fit::Whole),
            (&["poll", cold, "main"], false, &[1], "poll 0 main", Fit::Whole),
            (&["poll", "_TAIL_CALL_CALL", EVAL, "main"], false, &[2], "poll 0 1 main", Fit::Whole),
            // No Python at all.
            (&["poll", "start_thread"], false, &[], "poll start_thread", Fit::Whole),
            // The native stack ends early: the inner part is sure.
            (&["poll", EVAL, "map"], true, &[1, 2], "poll 0 map 1 2", Fit::Incomplete),
            (&["poll"], true, &[1], "poll 0", Fit::Incomplete),
            // Unless a part of the evaluation function may be hidden in it.
            (&["poll", "", EVAL], true, &[1, 2], "", Fit::Apart { native: 1, python: 2 }),
            (&["poll", "", EVAL, EVAL, "main"], false, &[1, 2], "poll ? 0 1 2 main", Fit::Whole),
            // The numbers do not agree.
            (&["poll", EVAL, "main"], false, &[1, 1], "", Fit::Apart { native: 1, python: 2 }),
            (&["poll", EVAL, EVAL, "main"], false, &[2], "", Fit::Apart { native: 2, python: 1 }),
            // A greenlet's stack begins in the middle of another's.
            (&["poll", EVAL, root, EVAL, "main"], false, &[2], "poll 0 1 g_initialstub greenlet", Fit::Whole),
            (&["poll", EVAL, root, EVAL], true, &[2], "poll 0 1 g_initialstub greenlet", Fit::Whole),
        ];
        for (native, cut, calls, stack, fit) in cases {
            assert_eq!(merged(native, cut, calls), (stack.to_owned(), fit), "{native:?} {calls:?}");
        }
    }

    #[test]
    fn the_evaluation_function_in_all_spellings() {
        assert!(evaluates("_PyEval_EvalFrameDefault", false));
        assert!(evaluates("_PyEval_EvalFrameDefault.constprop.0", false));
        assert!(!evaluates("_PyEval_EvalFrameDefaultX", false));
        assert!(!evaluates("_PyEval_EvalFrame", false));
        assert!(!evaluates("PyEval_EvalFrameEx", false), "it calls the other one since 3.6");
        assert!(evaluates("PyEval_EvalFrameEx", true));
    }
}
