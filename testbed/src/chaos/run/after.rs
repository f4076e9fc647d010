//! After the faults: all is made well, nodes get the time to become level, and then each is asked for everything.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use futures_util::{StreamExt, stream};
use serde::Deserialize;
use tokio::time::{Instant, sleep, timeout};

use crate::{
    chaos::history::Event,
    client::{Ask, Protocol},
    cluster::Cluster,
    faults::{Fault, Faults},
};

use super::mesh::{Asked, Mesh};

/// All is well again within this time, or the testbed itself has failed.
const RECOVER_TIMEOUT: Duration = Duration::from_secs(180);
/// What clients still wait for has come, or was given up, within this time.
const TASKS_TIMEOUT: Duration = Duration::from_secs(60);
/// The last requests wait for so few others: they must succeed.
const AT_ONCE: usize = 12;
/// What stands for the status where nothing came.
const NO_ANSWER: u16 = 504;
/// What a node is given to say who has applied a purge.
const RECEIPT_MS: u64 = 3000;
/// A node that cannot say it now is asked so often.
const TELL_ATTEMPTS: u32 = 4;

/// Makes all well, and waits until the mesh is level; answers the nodes that had ended by themselves.
pub(super) async fn settle(
    mesh: &Arc<Mesh>,
    cluster: &Cluster,
    faults: &Faults,
    patience: Duration,
    say: &(dyn Fn(&str) + Sync),
) -> anyhow::Result<Vec<String>> {
    let mut crashed = cluster.state().nodes;
    // What was killed or stopped has no process any more.
    crashed.retain(|node| node.process.is_some() && !node.is_alive());
    let crashed = crashed.into_iter().map(|node| node.name).collect();
    say("making all well again");
    {
        // As for any other fault of the origin.
        let mut runs = mesh.gate.write().await;
        let recovered = timeout(RECOVER_TIMEOUT, faults.recover()).await;
        let done = recovered.context("to make all well again")?.context("to make all well again")?;
        *runs = true;
        for done in done {
            say(&done.told);
        }
    }
    mesh.recorder.record(Event::Healed { at_us: mesh.clock.now_us() }).await;
    let healed = Instant::now();
    mesh.tasks.close();
    timeout(TASKS_TIMEOUT, mesh.tasks.wait()).await.context("the last answers to clients")?;
    say("waiting until all nodes are level");
    let names: Vec<String> = mesh.nodes.iter().map(|node| node.name.clone()).collect();
    let at_us = mesh.clock.now_us();
    let settled = cluster.settled(&names, patience.saturating_sub(healed.elapsed())).await;
    if let Err(error) = settled {
        let error = error.context("the mesh is not level after healing");
        let (done_us, why) = (mesh.clock.now_us(), Some(format!("{error:#}")));
        mesh.recorder
            .record(Event::Fault { at_us, done_us, fault: Fault::Heal, nodes: names, error: why })
            .await;
        return Err(error);
    }
    say(&format!("level {:.1} s after healing", healed.elapsed().as_secs_f64()));
    Ok(crashed)
}

/// Reads everything everywhere, and asks everybody for every purge.
pub(super) async fn last_words(mesh: &Arc<Mesh>, say: &(dyn Fn(&str) + Sync)) -> anyhow::Result<()> {
    // Looks that the pollers began.
    timeout(TASKS_TIMEOUT, mesh.tasks.wait()).await.context("the last answers to clients")?;
    let objects = mesh.were_read();
    let nodes = 0..mesh.nodes.len();
    say(&format!("reading {} objects at {} nodes", objects.len(), nodes.len()));
    let each = nodes.clone().flat_map(|node| objects.iter().enumerate().map(move |of| (node, of)));
    let reads = each.map(|(node, (number, object))| {
        let protocol = if (node + number).is_multiple_of(2) { Protocol::H1 } else { Protocol::H2 };
        mesh.look(node, object, protocol, true)
    });
    stream::iter(reads).buffer_unordered(AT_ONCE).collect::<()>().await;
    let acknowledged = mesh.acknowledged_since(0);
    say(&format!("asking {} nodes for {} purges", nodes.len(), acknowledged.len()));
    let each = acknowledged.iter().flat_map(|purge| nodes.clone().map(move |node| (node, &purge.id)));
    let asked = each.map(|(node, id)| async move {
        let node = &mesh.nodes[node];
        let (id, status) = (id.clone(), logged(mesh, node, id).await);
        let node = node.name.clone();
        mesh.recorder.record(Event::Logged { node, id, status, selectors: Vec::new() }).await;
    });
    stream::iter(asked).buffer_unordered(AT_ONCE).collect::<()>().await;
    mesh.recorder.record(Event::End { at_us: mesh.clock.now_us() }).await;
    Ok(())
}

/// What counts here of a receipt.
#[derive(Deserialize)]
struct Receipt {
    applied: Vec<Applied>,
}

#[derive(Deserialize)]
struct Applied {
    node: String,
}

/// Whether a node has a purge: 200. A receipt can be told by a node that has it not, from others, so the node must
/// count itself among those that have it; one that does not is 404, as one that knows no such purge.
async fn logged(mesh: &Mesh, node: &Asked, id: &str) -> u16 {
    let mut status = 0;
    for attempt in 1..=TELL_ATTEMPTS {
        status = told(mesh, node, id).await;
        if status == 200 || attempt == TELL_ATTEMPTS {
            break;
        }
        sleep(Duration::from_millis(250) * attempt).await;
    }
    status
}

async fn told(mesh: &Mesh, node: &Asked, id: &str) -> u16 {
    let path = format!("/v1/purge/{id}?wait=applied&timeout_ms={RECEIPT_MS}");
    let ask = Ask::get(node.admin.address, "", &path);
    let ask = match &node.admin.token {
        Some(token) => ask.field("authorization", format!("Bearer {token}")),
        None => ask,
    };
    let Ok(answer) = mesh.client().ask(&ask).await else { return NO_ANSWER };
    match answer.json::<Receipt>() {
        Ok(receipt) if receipt.applied.iter().any(|applied| applied.node == node.name) => 200,
        Ok(_) => 404,
        Err(_) => answer.status.as_u16(),
    }
}
