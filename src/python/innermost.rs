//! The words that tell which Python function a thread is in: what of it can be read at one instant.
//!
//! Whoever holds a thread for a moment has no time to follow its frames. The pointer to the innermost one and that frame's
//! code say whether it was the stack that was read before and after.

use super::layout::FrameKind;
use super::memory::MemoryReader;
use super::reader::StackReader;

/// Where a thread's innermost frame is told, and what stood there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Innermost {
    /// Addresses of the two words; 0 for none.
    pub words: [u64; 2],
    stood: [u64; 2],
    /// Bits of the second that count.
    mask: u64,
}

impl Innermost {
    /// Whether these are what stood there.
    #[must_use]
    pub const fn is(&self, seen: [u64; 2]) -> bool {
        let [frame, code] = seen;
        frame == self.stood[0] && code & self.mask == self.stood[1]
    }
}

impl<M: MemoryReader> StackReader<M> {
    /// That of the thread that was read last; `None` where it is none of the interpreter's.
    #[must_use]
    pub fn innermost(&self) -> Option<Innermost> {
        let layout = &self.interpreter().layout;
        let (state, link) = self.shown_state()?;
        let at = match layout.frames {
            FrameKind::Object { thread_frame } | FrameKind::Direct { thread_frame } => {
                state.wrapping_add(thread_frame)
            }
            FrameKind::Indirect { thread_cframe, current } => {
                self.memory().word(state.wrapping_add(thread_cframe)).ok()?.wrapping_add(current)
            }
        };
        Some(match link {
            Some(link) => Innermost {
                words: [at, link.address.wrapping_add(layout.frame_code as u64)],
                stood: [link.address, link.code],
                mask: layout.reference_mask,
            },
            None => Innermost { words: [at, 0], stood: [0, 0], mask: u64::MAX },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_of_a_reference_do_not_count() {
        let innermost = Innermost { words: [1, 2], stood: [0x100, 0x2000], mask: !3 };
        assert!(innermost.is([0x100, 0x2001]));
        assert!(!innermost.is([0x108, 0x2001]) && !innermost.is([0x100, 0x2004]));
    }
}
