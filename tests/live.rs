//! Every fault of the reference portal, live, with the verdict it must get; afterwards the target is as it was.
//!
//! Each test brings up a portal of its own. Those that compute run one after the other: two spinning portals on two
//! processors would starve each other, and starvation is another verdict.

#[path = "live/harness.rs"]
mod harness;

#[path = "live/asyncio.rs"]
mod asyncio;
#[path = "live/eventlet.rs"]
mod eventlet;
#[path = "live/gevent.rs"]
mod gevent;
#[path = "live/oracle.rs"]
mod oracle;
#[path = "live/other.rs"]
mod other;
#[path = "live/slots.rs"]
mod slots;
#[path = "live/traps.rs"]
mod traps;
