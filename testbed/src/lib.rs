//! What the mesh is tried out with: whole testbeds on one machine, origins whose content tells its age, faults,
//! recorded histories and who judges them, stories, and load.
//!
//! It is written apart from the nodes: it shares no type and no parser with them, and speaks to them as any user
//! does. So a mistake in one does not hide in the other.

pub mod chaos;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod faults;
pub mod load;
pub mod net;
pub mod origin;
pub mod press;
pub mod scenario;
pub mod topology;
