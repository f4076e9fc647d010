//! What the mesh is tried out with: an origin that serves real and made-up content.
//!
//! [`origin`] is used by tests in their own process, and by the binary `starling-demo-origin`.

pub mod origin;
