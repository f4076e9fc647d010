//! Regions that answer by script.

use std::collections::{HashMap, VecDeque};

use futures_util::future::FutureExt;
use parking_lot::Mutex;
use starling_proto::purge::{EntryId, Region, Version};

use super::*;

/// What a region does when it is asked.
#[derive(Clone)]
enum Says {
    Yes,
    No(NotCommitted),
    Nothing,
}

/// The own region, and nodes of others; each follows its script and repeats its last line.
struct Script {
    here: Mutex<VecDeque<Says>>,
    there: HashMap<NodeId, Says>,
    order: Vec<NodeId>,
    asked: Mutex<Vec<(Option<NodeId>, Proposal)>>,
}

impl Script {
    fn new(here: &[Says], there: &[(u8, Says)]) -> Self {
        Self {
            here: Mutex::new(here.iter().cloned().collect()),
            there: there.iter().map(|(seed, says)| (node(*seed), says.clone())).collect(),
            order: there.iter().map(|(seed, _)| node(*seed)).collect(),
            asked: Mutex::default(),
        }
    }

    fn asked(&self) -> Vec<Option<NodeId>> {
        self.asked.lock().iter().map(|(whom, _)| *whom).collect()
    }

    fn say(&self, says: Says) -> BoxFuture<'_, Result<Committed, NotCommitted>> {
        match says {
            Says::Yes => {
                let id = EntryId { region: Region::new("eu"), version: Version { epoch: 1, index: 1 } };
                std::future::ready(Ok(Committed { id, at_ms: 1, fence_ms: 5_000 })).boxed()
            }
            Says::No(why) => std::future::ready(Err(why)).boxed(),
            Says::Nothing => std::future::pending().boxed(),
        }
    }
}

impl Ways for Script {
    fn name(&self) -> String {
        "lon-1".to_owned()
    }

    fn here(&self, proposal: Proposal) -> BoxFuture<'_, Result<Committed, NotCommitted>> {
        self.asked.lock().push((None, proposal));
        let mut lines = self.here.lock();
        let says = if lines.len() > 1 { lines.pop_front() } else { lines.front().cloned() };
        self.say(says.expect("the own region has a script"))
    }

    fn others(&self) -> Vec<NodeId> {
        self.order.clone()
    }

    fn there(&self, node: NodeId, proposal: Proposal) -> BoxFuture<'_, Result<Committed, NotCommitted>> {
        self.asked.lock().push((Some(node), proposal));
        self.say(self.there[&node].clone())
    }
}

fn node(seed: u8) -> NodeId {
    NodeId::from_bytes([seed; 32])
}

fn no_quorum(region: &str) -> Says {
    Says::No(NotCommitted::NoQuorum { region: Region::new(region), why: "1 of 3 voters is there".to_owned() })
}

fn unknown(text: &str) -> Says {
    Says::No(NotCommitted::Unknown(text.to_owned()))
}

/// Enough for any machine; what is waited for comes earlier.
const LONG: Duration = Duration::from_secs(600);
/// Where nothing but the end of the time is waited for.
const SHORT: Duration = Duration::from_millis(300);

async fn committed(script: &Script, timeout: Duration) -> Result<Option<NodeId>, Failure> {
    let wanted = Wanted { key: 7, at_ms: 1, change: Change::Nothing, deadline: Instant::now() + timeout };
    commit(script, &wanted).await.map(|(_, by)| by)
}

#[tokio::test]
async fn the_own_region_commits_and_no_other_is_asked() {
    let script = Script::new(&[Says::Yes], &[(1, Says::Yes)]);
    assert_eq!(committed(&script, LONG).await, Ok(None));
    assert_eq!(script.asked(), [None]);
}

#[tokio::test]
async fn without_a_quorum_the_nearest_other_region_commits() {
    let script = Script::new(&[no_quorum("eu")], &[(1, no_quorum("us")), (2, Says::Yes), (3, Says::Yes)]);
    assert_eq!(committed(&script, LONG).await, Ok(Some(node(2))));
    assert_eq!(script.asked(), [None, Some(node(1)), Some(node(2))]);
    let keys: Vec<u128> = script.asked.lock().iter().map(|(_, proposal)| proposal.key).collect();
    assert_eq!(keys, [7, 7, 7], "it stays the same proposal");
}

#[tokio::test]
async fn a_region_that_says_nothing_leaves_time_for_another() {
    let script = Script::new(&[Says::Nothing], &[(1, Says::Nothing), (2, Says::Yes)]);
    assert_eq!(committed(&script, 10 * SHORT).await, Ok(Some(node(2))));
}

#[tokio::test]
async fn an_election_is_waited_for() {
    let script = Script::new(&[no_quorum("eu"), no_quorum("eu"), Says::Yes], &[]);
    assert_eq!(committed(&script, LONG).await, Ok(None));
    assert_eq!(script.asked().len(), 3);
}

/// It may have been committed by the leader that fell silent, although nobody else knows of it yet.
#[tokio::test]
async fn what_was_unknown_once_is_not_told_as_failed() {
    let script = Script::new(&[unknown("lon-1 fell silent"), no_quorum("eu")], &[(1, no_quorum("us"))]);
    let Err(Failure::Unknown(text)) = committed(&script, SHORT).await else { panic!("it is unknown") };
    assert!(text.contains("lon-1") && text.contains("us has no quorum"), "{text}");
    let silent = Script::new(&[Says::Nothing], &[]);
    assert!(matches!(committed(&silent, SHORT).await, Err(Failure::Unknown(_))));
}

#[tokio::test]
async fn a_failure_names_every_region_that_was_asked() {
    let script = Script::new(&[no_quorum("eu")], &[(1, no_quorum("us"))]);
    let Err(Failure::NoQuorum(text)) = committed(&script, SHORT).await else { panic!("nothing was written") };
    assert!(text.contains("region eu") && text.contains("region us"), "{text}");
    let error = CommandError::from(Failure::NoQuorum(text));
    assert!(error.to_string().starts_with("failed, nothing was committed"), "{error}");
}

#[tokio::test]
async fn a_full_disk_is_told_at_once_and_a_refusal_ends_it() {
    let full = NotCommitted::NotDurable { node: "lon-1".to_owned(), why: "no space left".to_owned() };
    let script = Script::new(&[Says::No(full)], &[(1, no_quorum("us"))]);
    let Err(Failure::NotDurable(text)) = committed(&script, LONG).await else { panic!("a disk failed") };
    assert!(text.contains("lon-1"), "{text}");
    assert_eq!(script.asked(), [None, Some(node(1))], "each was asked once");
    let refused = Script::new(&[Says::No(NotCommitted::Refused("too large".to_owned()))], &[(1, Says::Yes)]);
    assert_eq!(committed(&refused, LONG).await, Err(Failure::Refused("too large".to_owned())));
}

/// A leader whose disk fails may have sent the change to others before; whoever leads next may commit it.
#[tokio::test]
async fn the_full_disk_of_another_node_leaves_it_unknown_and_is_tried_past() {
    let full = |node: &str| {
        Says::No(NotCommitted::NotDurable { node: node.to_owned(), why: "no space left".to_owned() })
    };
    for script in [
        Script::new(&[full("lon-2"), no_quorum("eu")], &[(1, no_quorum("us"))]),
        Script::new(&[no_quorum("eu")], &[(1, full("nyc-1")), (2, no_quorum("ap"))]),
        Script::new(&[no_quorum("eu")], &[(1, full("lon-1"))]),
        Script::new(&[full("lon-1")], &[(1, full("nyc-1"))]),
    ] {
        let failed = committed(&script, SHORT).await;
        assert!(matches!(&failed, Err(Failure::Unknown(why)) if why.contains("no space left")), "{failed:?}");
    }
    let script = Script::new(&[full("lon-2"), Says::Yes], &[(1, no_quorum("us"))]);
    assert_eq!(committed(&script, LONG).await, Ok(None));
}
