//! Those who ask nodes what they know, and look whether they serve by it.

use std::{collections::BTreeMap, collections::VecDeque, sync::Arc, time::Duration};

use futures_util::future::join_all;
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use crate::chaos::history::Event;

use super::mesh::{Acknowledged, Mesh};

const EVERY: Duration = Duration::from_millis(200);
/// A node that does not answer for so long says nothing this time.
const TIMEOUT: Duration = Duration::from_millis(1000);
/// Acknowledged purges that a node has not said it knows; older ones are not looked at.
const PENDING_MAX: usize = 2000;
/// Purges that are looked at after one answer: the latest.
const PURGES_PER_ANSWER: usize = 6;
/// Objects that are looked at for each of them: those that are asked for most.
const OBJECTS_PER_PURGE: usize = 2;

/// What counts here of `GET /v1/status`.
#[derive(Deserialize)]
struct Status {
    versions: BTreeMap<String, String>,
    caught_up: bool,
}

/// Asks all nodes again and again; never ends.
pub(super) async fn poll(mesh: &Arc<Mesh>) {
    join_all((0..mesh.nodes.len()).map(|node| poll_one(mesh, node))).await;
}

async fn poll_one(mesh: &Arc<Mesh>, number: usize) {
    let node = &mesh.nodes[number];
    // Not all at the same moment.
    let count = u32::try_from(mesh.nodes.len()).unwrap_or(1).max(1);
    let offset = EVERY * u32::try_from(number).unwrap_or_default() / count;
    let mut ticks = interval_at(Instant::now() + offset, EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = 0;
    let mut pending: VecDeque<Acknowledged> = VecDeque::new();
    loop {
        ticks.tick().await;
        let at_us = mesh.clock.now_us();
        let Ok(Ok(status)) = timeout(TIMEOUT, node.admin.get::<Status>("/v1/status")).await else { continue };
        let done_us = mesh.clock.now_us();
        let Status { versions, caught_up } = status;
        let news = mesh.acknowledged_since(known);
        known += news.len();
        pending.extend(news);
        let too_many = pending.len().saturating_sub(PENDING_MAX);
        pending.drain(..too_many);
        let mut applied: Vec<Acknowledged> = Vec::new();
        pending.retain(|purge| {
            let is_applied = covers(&versions, &purge.id);
            if is_applied {
                applied.push(purge.clone());
            }
            !is_applied
        });
        mesh.recorder
            .record(Event::Knows { node: node.name.clone(), at_us, done_us, versions, caught_up })
            .await;
        for purge in applied.iter().rev().take(PURGES_PER_ANSWER) {
            for object in mesh.objects.named_by(&purge.scope).take(OBJECTS_PER_PURGE) {
                mesh.look_beside(number, object);
            }
        }
    }
}

/// Whether versions say that this purge, `REGION/EPOCH/INDEX`, is applied.
pub(super) fn covers(versions: &BTreeMap<String, String>, id: &str) -> bool {
    let Some((of, index)) = id.rsplit_once('/') else { return false };
    let Some((region, epoch)) = of.rsplit_once('/') else { return false };
    let Some((at_epoch, at_index)) = versions.get(region).and_then(|at| at.split_once('/')) else {
        return false;
    };
    match (at_index.parse::<u64>(), index.parse::<u64>()) {
        (Ok(at_index), Ok(index)) => at_epoch == epoch && at_index >= index,
        _ => false,
    }
}
