//! What came of a run: a summary for people, and a picture of its time.

mod summary;
mod svg;

pub use summary::summary;
pub use svg::timeline;

#[cfg(test)]
mod tests;
