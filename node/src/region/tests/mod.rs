//! Groups in one process, over wires that can be cut and disks that can be broken.

mod bounds;
mod changing;
pub(super) mod faults;
mod forming;
mod losing;
mod proposing;
mod world;
