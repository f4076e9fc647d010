//! A discrete-event mesh: thousands of nodes, one thread, one seed, and no clock but its own.
//!
//! [`Sim`] runs one [`Machine`] per node. A machine is pure: it is given an [`Input`] and the simulated time,
//! and gives back [`Effect`]s. What lies between the machines is modelled here: the way between two places
//! ([`World`]), loss, cuts and delay ([`Network`]), and the gossip overlay ([`Overlay`]). All chance is drawn
//! from one seeded generator in the order of events, so one seed is one run, to the last event; [`Sim::trace`]
//! says so in one number.
//!
//! ```text
//!   Machine ── Effect::Send ─────▶ Network ───────────────▶ Input::Direct   (or Input::Refused)
//!      │  └─── Effect::Publish ──▶ Overlay ─▶ Network ┄┄┄▶ Input::Gossip   (on first sight)
//!      └────── Effect::Timer ────▶ queue ─────────────────▶ Input::Timer
//! ```
//!
//! What is absent on purpose: bandwidth and CPU. A message costs bytes in [`Traffic`], not time.

mod chance;
mod engine;
pub mod membership;
mod network;
mod overlay;
mod parcels;
#[cfg(test)]
mod purge;
mod queue;
#[cfg(test)]
mod tests;
mod traffic;
mod world;

use std::rc::Rc;

pub use chance::Chance;
pub use engine::{Settings, Sim};
pub use network::{CutId, Network, NetworkSettings};
pub use overlay::{Overlay, OverlaySettings};
pub use traffic::{PerSecond, Spread, Traffic};
pub use world::{REGIONS, Site, World};

/// Simulated time since the simulation began, in microseconds.
pub type Micros = u64;

/// A node of the simulation: its place in [`World::sites`].
pub type Node = u32;

/// A gossip topic, as [`Sim::topic`] gave it out.
pub type Topic = u16;

/// What runs in a node.
pub trait Machine {
    /// What these machines say to each other. It is shared, never copied, however many nodes receive it.
    type Message;

    /// Turns one input into effects. `out` is empty when it is called.
    fn handle(&mut self, input: Input<Self::Message>, now: Micros, out: &mut Vec<Effect<Self::Message>>);
}

/// What happens to a machine.
#[derive(Debug)]
pub enum Input<M> {
    /// It was started, for the first time or again.
    Start,
    /// A node spoke to it over the link.
    Direct {
        /// Who spoke.
        from: Node,
        /// What was said.
        message: Rc<M>,
    },
    /// A message of a topic it subscribes to is seen here for the first time.
    Gossip {
        /// The topic.
        topic: Topic,
        /// The message; who wrote it is for the message to say.
        message: Rc<M>,
    },
    /// What was sent over the link came to a host where nobody listens: a connection refused.
    Refused {
        /// The node that is not there.
        by: Node,
    },
    /// A timer it had set ran out. Timers do not outlive a crash.
    Timer {
        /// As given to [`Effect::Timer`].
        token: u32,
    },
}

/// What a machine wants done.
#[derive(Debug)]
pub enum Effect<M> {
    /// Say something to one node over the link. The link retransmits: loss delays it, only a cut loses it.
    Send {
        /// To whom.
        to: Node,
        /// What.
        message: Rc<M>,
        /// Its encoded length.
        bytes: u32,
    },
    /// Say something to all subscribers of a topic. The machine itself does not hear it.
    Publish {
        /// The topic; the node must subscribe to it.
        topic: Topic,
        /// What.
        message: Rc<M>,
        /// Its encoded length.
        bytes: u32,
    },
    /// Call again with [`Input::Timer`].
    Timer {
        /// In how many microseconds.
        after: Micros,
        /// Comes back with it.
        token: u32,
    },
}
