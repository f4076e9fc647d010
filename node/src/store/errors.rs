//! What can go wrong in the store, one enum for each operation.

use std::{io, path::PathBuf};

use starling_proto::purge::{Region, Version};

/// Why the store could not be opened. Nothing was changed on disk.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A directory could not be made or read.
    #[error("cannot use {}: {source}; make it a directory that this user may write", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has the index open.
    #[error("{} is in use by another process; stop that one, or give this node another data directory ({detail})", path.display())]
    Locked {
        /// The index.
        path: PathBuf,
        /// What RocksDB said.
        detail: String,
    },
    /// The index cannot be read.
    #[error(
        "the index {} is damaged: {detail}; move {} away to start with an empty cache (cached bodies are fetched \
         again; the purges that no other node has are lost with it)",
        path.display(),
        path.parent().unwrap_or(path).display()
    )]
    Damaged {
        /// The index.
        path: PathBuf,
        /// What RocksDB said, or which record could not be read.
        detail: String,
    },
}

/// Why a change of a log was refused, or a log could not be read. Nothing was applied: ask again.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It names nothing.
    #[error("a purge needs at least one selector")]
    NoSelectors,
    /// It could not be made durable.
    #[error("it could not be written to disk and was not applied: {0}")]
    NotDurable(#[source] IndexError),
    /// Entries do not follow each other.
    #[error("the batch of log {region} is torn at entry {at}")]
    Torn {
        /// The log.
        region: Region,
        /// The place where the wrong entry stands.
        at: u64,
    },
    /// Entries before these have not been applied yet: ask for them.
    #[error("entries between {applied} and {after} of log {region} are missing")]
    Gap {
        /// The log.
        region: Region,
        /// The last entry applied.
        applied: u64,
        /// The place that its entries follow.
        after: u64,
    },
    /// A log could not be read.
    #[error("the purge log could not be read: {0}")]
    Unreadable(#[source] IndexError),
    /// The store has been closed.
    #[error("the store is closed")]
    Closed,
}

/// Why the index did not answer.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// RocksDB failed.
    #[error("index: {0}")]
    Rocks(#[from] rocksdb::Error),
    /// A write failed before, and it could not be opened anew since; what that one was told.
    #[error("index: {0}")]
    Failing(String),
    /// It is not opened anew, because the disk does not take what is written beside it.
    #[error("{}: {source}", path.display())]
    Disk {
        /// What could not be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Opened anew, it lacked entries that it had said were on disk.
    #[error("the disk lost entries of log {region}, which is applied up to {at}; restart the node")]
    Lost {
        /// The log.
        region: Region,
        /// The last entry applied.
        at: Version,
    },
    /// A record could not be encoded or decoded.
    #[error("index record: {0}")]
    Codec(#[from] super::codec::CodecError),
}

/// Why a body reader has no next bytes. What it handed out before stays right.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Nobody is bringing these bytes: fetch them by range.
    #[error("bytes from {at} on are not stored, and nobody is bringing them")]
    Gap {
        /// The first byte that is missing.
        at: u64,
    },
    /// The writer that was bringing them failed while this reader followed it.
    #[error("the fill was aborted at byte {at}: {why}")]
    Aborted {
        /// The first byte that is missing.
        at: u64,
        /// What the writer gave as its reason.
        why: &'static str,
    },
    /// Somebody is bringing these bytes, but from no higher hop than this reader's: to wait could be for ever.
    #[error("bytes from {at} on come from below")]
    Below {
        /// The first byte that is missing.
        at: u64,
    },
}

/// Why a body writer ended. The bytes that arrived stay readable; the fill is aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// More bytes than were announced.
    #[error("the body is longer than the {announced} bytes announced")]
    TooLong {
        /// The end that was announced, as an offset in the body.
        announced: u64,
    },
    /// Fewer bytes than were announced.
    #[error("the body ended at byte {at}, before the {announced} bytes announced")]
    TooShort {
        /// Where it ended.
        at: u64,
        /// The end that was announced, as an offset in the body.
        announced: u64,
    },
    /// Larger than `object_bytes_max`.
    #[error("the body is larger than the {limit} bytes an object may have")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// An earlier push failed, or was dropped before it was done.
    #[error("the fill was given up before")]
    Broken,
}
