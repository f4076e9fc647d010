//! Edges of one process that ask each other directly: the ways upward without a wire.
//!
//! Each file tells one kind of story in the language of `world` and `origin`.

mod caching;
mod failing;
mod origin;
mod purges;
mod services;
mod shards;
mod shields;
mod trust;
mod upward;
mod world;
