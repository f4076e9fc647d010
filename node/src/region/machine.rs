//! Raft's state machine: committed entries go into the node's logs, which make them durable.
//!
//! What is remembered here may lag behind the node's logs: applying an entry twice is harmless there. A snapshot
//! is small: who installs it fetches the entries from whoever has them, and steps over those that nobody gives.

use std::{io::Cursor, sync::Arc, time::Duration};

use openraft::{
    EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageIOError, storage::RaftStateMachine,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use starling_proto::purge::{Base, Batch, Region, Version};

use super::{
    Log, codec,
    disk::{Disk, Name, Writes},
    storage::{reading, writing},
    types::{Entry, LogId, Members, SnapshotMeta, StorageError, Types, entry, life, version},
};

/// How long exact entries are looked for before a snapshot is stepped to.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);
/// Entries in one batch for the node's logs.
const BATCH_ENTRIES_MAX: usize = 256;

/// What is applied.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Applied {
    pub last: Option<LogId>,
    pub members: Members,
}

/// The state machine, and what builds its snapshots.
#[derive(Clone)]
pub(super) struct Machine {
    pub disk: Arc<Disk>,
    pub log: Arc<dyn Log>,
    pub region: Region,
    pub applied: Applied,
    /// Held while the kept snapshot is compared and replaced: one is built while another is installed.
    keeping: Arc<Mutex<()>>,
}

#[derive(Clone, Serialize, Deserialize)]
struct Kept {
    meta: SnapshotMeta,
    base: Vec<u8>,
}

impl Applied {
    fn epoch(&self) -> u64 {
        life(self.members.membership()).map_or(0, |(_, epoch)| epoch)
    }
}

impl Machine {
    pub fn open(disk: Arc<Disk>, log: Arc<dyn Log>, region: Region) -> std::io::Result<Self> {
        let applied = disk.get(Name::Applied)?.unwrap_or_default();
        Ok(Self { disk, log, region, applied, keeping: Arc::default() })
    }

    /// Gives entries that follow each other to the node's logs.
    async fn give(
        &self,
        after: Version,
        entries: Vec<starling_proto::purge::Entry>,
    ) -> Result<(), StorageError> {
        // The first entry of a later life may stand far into Raft's log, and the node's logs may be from an older
        // disk than Raft's: entries that nobody gives any more are stepped over.
        let is_behind = || {
            let known = self.log.applied().filter(|known| known.epoch == after.epoch);
            known.map_or(0, |known| known.index) < after.index
        };
        if is_behind() {
            let _ = tokio::time::timeout(CATCH_UP_MAX, self.log.catch_up(after)).await;
        }
        let base = is_behind().then(|| self.log.base());
        let since = if base.is_some() { 0 } else { after.index };
        let batch = Batch { region: self.region.clone(), since, after, base, entries };
        self.log.apply(batch).await.map_err(refused)
    }

    /// Keeps a snapshot, unless one is kept that goes further; answers the one that is kept then.
    async fn keep(&self, kept: Kept, applied: Option<Applied>) -> Result<Kept, StorageError> {
        let keeping = Arc::clone(&self.keeping);
        let write = move |disk: &Disk| {
            let _alone = keeping.lock();
            let known = disk.get::<Kept>(Name::Snapshot)?;
            let further = known.filter(|known| known.meta.last_log_id > kept.meta.last_log_id);
            let mut writes = Writes::default();
            if let Some(applied) = applied {
                disk.set(&mut writes, Name::Applied, &applied)?;
            }
            if further.is_none() {
                disk.set(&mut writes, Name::Snapshot, &kept)?;
            }
            disk.write(writes, true)?;
            Ok(further.unwrap_or(kept))
        };
        self.disk.run(write).await.map_err(writing)
    }

    async fn remember(&self) -> Result<(), StorageError> {
        let applied = self.applied.clone();
        let write = move |disk: &Disk| {
            let mut writes = Writes::default();
            disk.set(&mut writes, Name::Applied, &applied)?;
            disk.write(writes, false)
        };
        self.disk.run(write).await.map_err(writing)
    }
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, Members), StorageError> {
        Ok((self.applied.last, self.applied.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Version>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut versions = Vec::new();
        let mut next = self.applied.clone();
        let (mut batch, mut after) = (Vec::new(), Version::default());
        for raft in entries {
            let before = next.epoch();
            next.last = Some(raft.log_id);
            if let EntryPayload::Membership(membership) = &raft.payload {
                next.members = Members::new(Some(raft.log_id), membership.clone());
            }
            let epoch = next.epoch();
            if (batch.len() == BATCH_ENTRIES_MAX || before != epoch) && !batch.is_empty() {
                self.give(after, std::mem::take(&mut batch)).await?;
            }
            if batch.is_empty() {
                after = Version { epoch, index: raft.log_id.index };
            }
            versions.push(version(epoch, raft.log_id.index));
            batch.push(entry(&self.region, epoch, raft));
        }
        if !batch.is_empty() {
            self.give(after, batch).await?;
        }
        self.applied = next;
        self.remember().await?;
        Ok(versions)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<Cursor<Vec<u8>>>, StorageError> {
        Ok(Box::default())
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<Cursor<Vec<u8>>>,
    ) -> Result<(), StorageError> {
        let bytes = snapshot.into_inner();
        let base: Base = codec::decode(&bytes).map_err(refused)?;
        let applied = Applied { last: meta.last_log_id, members: meta.last_membership.clone() };
        if let Some(last) = applied.last {
            let to = version(applied.epoch(), last.index);
            // Who lacks the time for the exact entries steps over them: nothing but precision is lost.
            let _ = tokio::time::timeout(CATCH_UP_MAX, self.log.catch_up(to)).await;
            let batch = Batch {
                region: self.region.clone(),
                since: 0,
                after: to,
                base: Some(base),
                entries: Vec::new(),
            };
            self.log.apply(batch).await.map_err(refused)?;
        }
        self.applied = applied.clone();
        self.keep(Kept { meta: meta.clone(), base: bytes }, Some(applied)).await.map(drop)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Types>>, StorageError> {
        let kept: Option<Kept> = self.disk.run(|disk| disk.get(Name::Snapshot)).await.map_err(reading)?;
        Ok(kept.map(|Kept { meta, base }| Snapshot { meta, snapshot: Box::new(Cursor::new(base)) }))
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Types>, StorageError> {
        let Applied { last, members } = self.applied.clone();
        let id = last.map_or_else(|| "empty".to_owned(), |last| last.to_string());
        let meta = SnapshotMeta { last_log_id: last, last_membership: members, snapshot_id: id };
        let base = codec::encode(&self.log.base()).map_err(refused)?;
        let Kept { meta, base } = self.keep(Kept { meta, base }, None).await?;
        Ok(Snapshot { meta, snapshot: Box::new(Cursor::new(base)) })
    }
}

fn refused(why: String) -> StorageError {
    StorageIOError::write_state_machine(&std::io::Error::other(why)).into()
}
