//! Those who publish and purge: a new edition first, then the purge, again and again until somebody says that it is
//! committed, as a careful client does.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use anyhow::Context;
use tokio::time::{Instant, sleep};

use crate::{
    chaos::{
        clients::{Purging, purge},
        history::{Ended, Event},
    },
    press::{Host, Scope},
};

use super::{
    mesh::{Acknowledged, Mesh},
    requests::PurgePlan,
};

/// What a node is given for a purge.
const TIMEOUT: Duration = Duration::from_secs(4);
/// A client that is not told that its purge is committed gives it up after so long, or so many attempts.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(25);
const ATTEMPTS_MAX: u32 = 12;
/// Between two attempts, at first and at most.
const BACKOFF: Duration = Duration::from_millis(150);
const BACKOFF_MAX: Duration = Duration::from_secs(2);
/// Objects that are looked at where a purge is said to be applied, and everywhere when it is fenced.
const OBJECTS_LOOKED_AT: usize = 2;
const NODES_LOOKED_AT: usize = 2;

/// Who is asked for a purge first, and who after that.
pub(super) type Through<'a> = &'a (dyn Fn(u64) -> usize + Send + Sync);

/// Publishes a new edition, and purges what was before it. An error is one of the origin.
pub(super) async fn carry_out(
    mesh: &Arc<Mesh>,
    key: String,
    plan: PurgePlan,
    through: Through<'_>,
) -> anyhow::Result<()> {
    if !publish(mesh, &plan.scope).await? {
        mesh.counts.without_edition.fetch_add(1, Relaxed);
        return Ok(());
    }
    mesh.counts.purges.fetch_add(1, Relaxed);
    for racer in 0..plan.racers {
        let object = mesh.objects.named_by(&plan.scope).nth(usize::try_from(racer / 2).unwrap_or_default());
        if let Some(object) = object {
            mesh.look_beside(mesh.through_nth(plan.pick.wrapping_add(racer)), object);
        }
    }
    let mut purging = Purging {
        key,
        attempt: 1,
        scope: plan.scope,
        by: plan.by,
        bytes: plan.bytes,
        soft: plan.soft,
        wait: plan.wait.to_owned(),
        timeout: TIMEOUT,
    };
    let given_up = Instant::now() + GIVEN_UP_AFTER;
    let (mut backoff, mut is_acknowledged, mut repeats) = (BACKOFF, false, plan.repeats);
    for attempt in 1..=ATTEMPTS_MAX {
        purging.attempt = attempt;
        let node = &mesh.nodes[through(plan.pick.wrapping_add(u64::from(attempt)))];
        let line = purge(mesh.clock, &node.name, &node.admin, &purging).await;
        let ended = line.ended.clone();
        mesh.recorder.record(Event::Purge(line)).await;
        if let Ended::Acknowledged { id, fenced, applied, .. } = ended {
            if !is_acknowledged {
                mesh.counts.purges_acknowledged.fetch_add(1, Relaxed);
            }
            is_acknowledged = true;
            mesh.acknowledge(Acknowledged { id, scope: purging.scope.clone() });
            look(mesh, &purging, fenced, &applied);
            if !std::mem::take(&mut repeats) {
                return Ok(());
            }
            continue;
        }
        if is_acknowledged || Instant::now() + backoff > given_up {
            return Ok(());
        }
        sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
    Ok(())
}

/// Gives a scope a new edition; answers whether there is an origin that could.
async fn publish(mesh: &Mesh, scope: &Scope) -> anyhow::Result<bool> {
    let runs = mesh.gate.read().await;
    if !*runs {
        return Ok(false);
    }
    let at_us = mesh.clock.now_us();
    let edition = mesh.press.next(scope).await.with_context(|| format!("a new edition of {scope:?}"))?;
    let done_us = mesh.clock.now_us();
    mesh.recorder.record(Event::Published { at_us, done_us, scope: scope.clone(), edition }).await;
    Ok(true)
}

/// Looks at what is said to be purged: where it is applied, and everywhere if nobody may serve it any more.
fn look(mesh: &Arc<Mesh>, purging: &Purging, fenced: bool, applied: &[String]) {
    let is_strict = matches!(
        purging.scope,
        Scope::Object(Host::Strict, ..) | Scope::Group(Host::Strict, _) | Scope::All(Host::Strict)
    );
    let everywhere = fenced && is_strict;
    let is_applied = |name: &String| applied.contains(name);
    let nodes = mesh.nodes.iter().enumerate().filter(|(_, node)| everywhere || is_applied(&node.name));
    let nodes_max = if everywhere { usize::MAX } else { NODES_LOOKED_AT };
    // Not always the same ones, of those that have applied it.
    let first = purging.key.len() + purging.key.bytes().map(usize::from).sum::<usize>();
    let nodes: Vec<usize> = nodes.map(|(number, _)| number).collect();
    for place in 0..nodes.len().min(nodes_max) {
        let node = nodes[(first + place) % nodes.len()];
        for object in mesh.objects.named_by(&purging.scope).take(OBJECTS_LOOKED_AT) {
            mesh.look_beside(node, object);
        }
    }
}
