//! Which frames of a stack belong to one call of the interpreter's evaluation function.
//!
//! Up to 3.10 each frame has a call of its own. 3.11 marks the frame that a call began with; later versions put a frame of
//! their own at the end of each call. Pure.

use super::layout::{FrameKind, FrameUse, Layout};
use super::walk::{Link, Owner};

/// How many of the frames that are shown belong to each call, innermost first. `shown` says of each link whether its frame
/// is shown.
#[must_use]
pub fn calls<'a>(layout: &Layout, chain: impl Iterator<Item = (&'a Link, bool)>) -> Vec<usize> {
    let mut calls = Vec::new();
    let (mut frames, mut any) = (0, false);
    for (link, shown) in chain {
        let internal = link.owner == Owner::Interpreter;
        if !internal {
            any = true;
            frames += usize::from(shown);
        }
        let ends = match layout.frames {
            FrameKind::Object { .. } => true,
            FrameKind::Indirect { .. } | FrameKind::Direct { .. } => match layout.frame_use {
                FrameUse::StackTop { entry: Some(_), .. } => link.from_c,
                _ => internal,
            },
        };
        // The outermost frame of a thread may be the interpreter's own, and no call.
        if ends && any {
            calls.push(frames);
            (frames, any) = (0, false);
        }
    }
    if any {
        calls.push(frames);
    }
    calls
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::python::layouts;
    use crate::python::walk::link;

    #[test]
    fn calls_of_all_versions() {
        let own = link(Owner::Function, false);
        let entry = link(Owner::Function, true);
        let generator = link(Owner::Generator, false);
        let shim = link(Owner::Interpreter, false);
        let of = |minor, chain: &[(Link, bool)]| {
            calls(&layouts::known(3, minor).unwrap(), chain.iter().map(|(link, shown)| (link, *shown)))
        };
        assert_eq!(of(10, &[(own, true), (own, true)]), [1, 1]);
        assert_eq!(of(11, &[(own, true), (generator, true), (entry, true), (entry, true)]), [3, 1]);
        assert_eq!(of(11, &[(own, true), (entry, false)]), [1], "one that has not begun is in its call");
        assert_eq!(of(12, &[(own, true), (own, true), (shim, false), (own, true), (shim, false)]), [2, 1]);
        assert_eq!(of(14, &[(own, false), (shim, false), (own, true), (shim, false), (shim, false)]), [0, 1]);
        assert_eq!(of(13, &[(own, true)]), [1], "cut off");
        assert_eq!(of(13, &[]), [0; 0]);
    }
}
