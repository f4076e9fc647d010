//! The parts of `side-by-side`, which holds a node against nginx and Varnish on one machine, and of `mesh-sim`
//! and `purge-sim`, which simulate many nodes.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`machine`] | which core serves and which asks, and what the machine is |
//! | [`origin`] | the origin behind all three |
//! | [`servers`] | configures and starts each server |
//! | [`process`] | a pinned process: its CPU time, its memory, its end |
//! | [`client`] | asks one thing and looks at the answer |
//! | [`fill`] | makes a server store many objects |
//! | [`wrk`] | runs the load generator and reads what it says |
//! | [`rounds`] | the order of measuring, and medians |
//! | [`report`] | tables and JSON |
//! | [`mesh`] | a simulated mesh, phase by phase |
//! | [`push`] | purges on their way through a simulated world |
//!
//! Everything is on loopback; what is started here is ended here, also when this process is interrupted.

pub mod client;
pub mod fill;
pub mod machine;
pub mod mesh;
pub mod origin;
pub mod process;
pub mod push;
pub mod report;
pub mod rounds;
pub mod servers;
pub mod wrk;
