//! Raft's log on the group's disk: votes and entries are on disk before they are acknowledged.

use std::{fmt::Debug, io, ops::RangeBounds, sync::Arc};

use openraft::{
    ErrorSubject, ErrorVerb, LogState, OptionalSend, RaftLogReader, StorageIOError,
    storage::{LogFlushed, RaftLogStorage},
};
use starling_proto::NodeId;

use super::{
    disk::{Disk, Name, Writes},
    types::{Entry, LogId, StorageError, Types, Vote},
};

/// Entries that go to a member in one message have so many bytes at most, but for a single one: well below what a
/// call may have.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// The log; a cheap handle, which reads too.
#[derive(Clone)]
pub(super) struct LogStore {
    pub disk: Arc<Disk>,
    /// This node.
    pub me: NodeId,
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<R: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: R,
    ) -> Result<Vec<Entry>, StorageError> {
        let range = (range.start_bound().cloned(), range.end_bound().cloned());
        self.disk.run(move |disk| disk.entries(range, usize::MAX)).await.map_err(reading)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        self.disk.run(move |disk| disk.entries(start..end, MESSAGE_BYTES_MAX)).await.map_err(reading)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, StorageError> {
        let read = |disk: &Disk| {
            let last_purged_log_id: Option<LogId> = disk.get(Name::Purged)?;
            Ok(LogState { last_purged_log_id, last_log_id: disk.last()?.or(last_purged_log_id) })
        };
        self.disk.run(read).await.map_err(reading)
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let vote = *vote;
        self.disk.run(move |disk| disk.put(Name::Vote, &vote)).await.map_err(writing)
    }

    /// Read once, when Raft starts. A node that led stands for election again, in a later term: its disk may be an
    /// older copy, and in the term that it led it would write other entries under ids that its followers have.
    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let vote: Option<Vote> = self.disk.run(|disk| disk.get(Name::Vote)).await.map_err(reading)?;
        let is_own = |vote: &Vote| vote.leader_id().voted_for() == Some(self.me);
        Ok(vote.map(|vote| Vote { committed: vote.committed && !is_own(&vote), ..vote }))
    }

    /// Not synced: a restart that does not know it learns it from the leader.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        let write = move |disk: &Disk| {
            let mut writes = Writes::default();
            disk.set(&mut writes, Name::Committed, &committed)?;
            disk.write(writes, false)
        };
        self.disk.run(write).await.map_err(writing)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        self.disk.run(|disk| disk.get(Name::Committed)).await.map(Option::flatten).map_err(reading)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<Types>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<_> = entries.into_iter().collect();
        let write = move |disk: &Disk| {
            let mut writes = Writes::default();
            for entry in &entries {
                disk.add(&mut writes, entry)?;
            }
            disk.write(writes, true)
        };
        match self.disk.run(write).await {
            Ok(()) => {
                callback.log_io_completed(Ok(()));
                Ok(())
            }
            Err(error) => {
                callback.log_io_completed(Err(io::Error::other(error.to_string())));
                Err(writing(error))
            }
        }
    }

    async fn truncate(&mut self, since: LogId) -> Result<(), StorageError> {
        let write = move |disk: &Disk| {
            let mut writes = Writes::default();
            disk.drop_entries(&mut writes, since.index, u64::MAX);
            disk.write(writes, true)
        };
        self.disk.run(write).await.map_err(writing)
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), StorageError> {
        let write = move |disk: &Disk| {
            let mut writes = Writes::default();
            disk.set(&mut writes, Name::Purged, &upto)?;
            disk.drop_entries(&mut writes, 0, upto.index + 1);
            disk.write(writes, true)
        };
        self.disk.run(write).await.map_err(writing)
    }
}

pub(super) fn reading(error: io::Error) -> StorageError {
    failed(ErrorVerb::Read, &error)
}

pub(super) fn writing(error: io::Error) -> StorageError {
    failed(ErrorVerb::Write, &error)
}

fn failed(verb: ErrorVerb, error: &io::Error) -> StorageError {
    StorageIOError::<NodeId>::new(ErrorSubject::Store, verb, openraft::AnyError::new(error)).into()
}
