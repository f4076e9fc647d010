//! Purges at a node that stands alone.

use starling_proto::purge::{Base, Batch, Mode, Selector, Version};

use super::*;
use crate::store;

const NOW: UnixMs = 1_700_000_000_000;

async fn alone(dir: &tempfile::TempDir) -> Purging {
    let settings =
        store::Settings { dir: dir.path().to_owned(), disk_bytes_max: 0, ..store::Settings::default() };
    let store = Store::open(settings, NOW).await.expect("opens");
    let me = NodeId::from_bytes([1; 32]);
    Purging::new(PurgingParts { store, clock: Clock::start(), me, name: "alone-1".to_owned(), mesh: None })
}

fn request(wait: Wait) -> PurgeRequest {
    PurgeRequest {
        service: "shop".to_owned(),
        selectors: vec![Selector::Tag("a".to_owned())],
        mode: Mode::Hard,
        wait,
        timeout: TIMEOUT,
        key: None,
    }
}

#[tokio::test]
async fn a_purge_is_applied_when_it_is_told_of_and_remembered() {
    let dir = tempfile::tempdir().expect("a directory");
    let purging = alone(&dir).await;
    for wait in [Wait::Committed, Wait::Applied, Wait::Fenced] {
        let receipt = purging.purge(request(wait)).await.expect("it is written");
        let id: EntryId = receipt.id.as_deref().expect("it is committed").parse().expect("an id");
        assert!(purging.is_applied(&id), "who asks next reads its own purge");
        assert!(receipt.complete && receipt.fenced && receipt.missing.is_empty(), "{receipt:?}");
        assert_eq!(receipt.applied[0].node, "alone-1");
        assert!(receipt.committed_at.is_some());
        let again =
            purging.receipt(id, Wait::Applied, TIMEOUT).await.expect("it can be read").expect("known");
        assert_eq!((again.id, again.complete), (receipt.id, true));
    }
    assert_eq!(purging.receipts().len(), 3);
    assert_eq!(purging.counts().committed, 3);
}

#[tokio::test]
async fn an_accepted_purge_is_carried_out_though_nobody_waits() {
    let dir = tempfile::tempdir().expect("a directory");
    let purging = alone(&dir).await;
    let receipt = purging.purge(request(Wait::Accepted)).await.expect("it is taken");
    assert_eq!(receipt.id, None);
    purging.close().await;
    let told = purging.receipts();
    assert!(told[0].id.is_some() && told[0].complete, "{told:?}");
    let late = purging.purge(request(Wait::Accepted)).await;
    assert!(matches!(late, Err(CommandError::Unavailable(_))), "nobody would carry it out any more");
    assert_eq!(purging.receipts().len(), 1);
}

#[tokio::test]
async fn an_entry_that_nobody_wrote_has_no_receipt() {
    let dir = tempfile::tempdir().expect("a directory");
    let purging = alone(&dir).await;
    let id = EntryId { region: Region::new("local"), version: Version { epoch: u64::MAX, index: 9 } };
    let told = purging.receipt(id, Wait::Committed, TIMEOUT).await.expect("it can be read");
    assert_eq!(told, None);
}

/// The leader may hold a node for dead that serves here, or the other way round: no verdict ends the wait early.
#[test]
fn all_have_it_only_when_every_known_node_said_so_dead_and_gone_ones_too() {
    use crate::app::receipts::view_of;
    use starling_proto::members::Status;

    let node = |seed| NodeId::from_bytes([seed; 32]);
    let receipt = |applied: &[u8], missing: &[u8]| Receipt {
        applied: applied.iter().map(|seed| (node(*seed), 1)).collect(),
        missing: missing.iter().map(|seed| node(*seed)).collect(),
    };
    for status in [Status::Alive, Status::Suspect, Status::Dead, Status::Left] {
        let view = view_of(&[(1, Status::Alive), (2, status)]);
        assert!(all_have(&view, &receipt(&[1, 2], &[])));
        assert!(!all_have(&view, &receipt(&[1], &[])), "{status:?}, and nothing was said of it");
        assert!(!all_have(&view, &receipt(&[1, 2], &[3])), "the leader knows one more");
    }
}

/// The acknowledgement came later than the commit, and a lease was given before: no lease is left after this.
#[test]
fn a_fence_is_waited_for_in_whole() {
    let id = EntryId { region: Region::new("eu"), version: Version { epoch: 1, index: 1 } };
    let acknowledged = Instant::now();
    let done = |fence_ms| Done {
        committed: Committed { id: id.clone(), at_ms: NOW, fence_ms },
        acknowledged,
        here_after_ms: Some(1),
    };
    assert_eq!(done(5_000).fenced_at() - acknowledged, Duration::from_millis(5_060));
    assert_eq!(done(0).fenced_at(), acknowledged, "nobody holds a lease");
}

/// Once a greater epoch was taken for "further": purges that a group committed in a former life of its log counted as
/// applied everywhere, while every node left them out.
#[tokio::test]
async fn an_entry_of_a_former_life_of_the_log_is_not_applied_and_never_comes() {
    let dir = tempfile::tempdir().expect("a directory");
    let purging = alone(&dir).await;
    let receipt = purging.purge(request(Wait::Committed)).await.expect("it is written");
    let id: EntryId = receipt.id.as_deref().expect("it is committed").parse().expect("an id");
    let Version { epoch, index } = id.version;
    let next = EntryId { version: Version { epoch, index: index + 1 }, ..id.clone() };
    let after = Version { epoch: epoch + 1, index: index + 7 };
    let base = Some(Base::default());
    let batch = Batch { region: id.region.clone(), since: 0, after, base, entries: Vec::new() };
    purging.0.parts.store.apply(batch).await.expect("a later life begins");
    assert!(!purging.is_applied(&id) && !purging.is_applied(&next));
    let far = Instant::now() + Duration::from_secs(3_600);
    assert!(!purging.comes_here(&next, None, far).await, "nobody waits for what cannot come");
    let told = purging.receipt(id, Wait::Committed, TIMEOUT).await.expect("it can be read");
    assert!(told.is_some_and(|told| told.complete), "it was applied in its time");
}
