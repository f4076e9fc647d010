//! Stamps, purge table, fills, rejoin and fence, checked exhaustively for few nodes (stateright, breadth first).
//!
//! [`mesh`] is the model of what nodes store and serve: the tables and stamps in it are those of `proto`, and every
//! interleaving of purges, fills, crashes and old disks is tried. [`fence`] is the model of leases and time. Each
//! rule is broken once, and must be missed.

mod fence;
mod mesh;
mod properties;
mod runs;
