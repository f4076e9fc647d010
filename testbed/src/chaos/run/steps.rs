//! Carries a schedule out, a step at a time.

use std::{sync::Arc, time::Duration};

use anyhow::Context;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::{
    sync::watch,
    time::{Instant, sleep_until, timeout},
};

use crate::{
    chaos::{
        history::{By, Event},
        schedule::{Schedule, Step},
    },
    client::Protocol,
    faults::{Fault, Faults, OriginHow},
    press::Scope,
};

use super::{Rates, mesh::Mesh, purgers, requests::PurgePlan};

/// A fault that has not taken effect by then is given up, and told.
const FAULT_TIMEOUT: Duration = Duration::from_secs(120);
/// The same of a storm, and of warming.
const STEP_TIMEOUT: Duration = Duration::from_secs(600);
/// Objects that are warmed at a time.
const WARM_AT_ONCE: usize = 16;

/// What carrying out needs.
pub(super) struct Steps<'a> {
    pub mesh: &'a Arc<Mesh>,
    pub faults: &'a Faults,
    pub rates: &'a watch::Sender<Rates>,
    pub tell: &'a (dyn Fn(&str) + Sync),
    pub seed: u64,
}

impl Steps<'_> {
    /// All steps, each when its time has come and the one before is done.
    pub async fn carry_out(&self, schedule: &Schedule, begun: Instant) -> anyhow::Result<()> {
        for (number, (when, step)) in schedule.iter().enumerate() {
            sleep_until(begun + *when).await;
            match step {
                Step::Fault(fault) => self.inflict(fault).await,
                Step::Rates { reads_per_s, purges_per_s } => {
                    (self.tell)(&format!("{reads_per_s} reads and {purges_per_s} purges per second"));
                    self.rates.send_replace(Rates { reads_per_s: *reads_per_s, purges_per_s: *purges_per_s });
                }
                Step::Storm { purges, at_once, wait, through } => {
                    (self.tell)(&format!("{purges} purges through {}", through.0));
                    let through = self.places(&self.faults.resolve(through).await?)?;
                    let storm = self.storm(number, *purges, (*at_once).max(1), wait, &through);
                    timeout(STEP_TIMEOUT, storm).await.context("the purges of a storm")??;
                }
                Step::Warm(nodes) => {
                    (self.tell)(&format!("every object is read at {}", nodes.0));
                    let nodes = self.places(&self.faults.resolve(nodes).await?)?;
                    timeout(STEP_TIMEOUT, self.warm(&nodes)).await.context("to warm all objects")?;
                }
            }
        }
        Ok(())
    }

    /// A fault that cannot be is a line too: the judge must not count it.
    async fn inflict(&self, fault: &Fault) {
        let mesh = self.mesh;
        let inflicted = async {
            if let Fault::Origin(how @ (OriginHow::Dead | OriginHow::Well)) = fault {
                let mut runs = mesh.gate.write().await;
                *runs = *how == OriginHow::Well;
                self.faults.inflict(fault).await
            } else {
                self.faults.inflict(fault).await
            }
        };
        let at_us = mesh.clock.now_us();
        let outcome = match timeout(FAULT_TIMEOUT, inflicted).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow::anyhow!("not done within {FAULT_TIMEOUT:?}")),
        };
        let done_us = mesh.clock.now_us();
        let (nodes, error) = match outcome {
            Ok(done) => (done.nodes, None),
            Err(error) => (Vec::new(), Some(format!("{error:#}"))),
        };
        (self.tell)(&match &error {
            None => fault.to_string(),
            Some(error) => format!("{fault}: {error}"),
        });
        mesh.recorder.record(Event::Fault { at_us, done_us, fault: fault.clone(), nodes, error }).await;
    }

    async fn storm(
        &self,
        step: usize,
        purges: u64,
        at_once: usize,
        wait: &str,
        through: &[usize],
    ) -> anyhow::Result<()> {
        let wait = match wait {
            "committed" => "committed",
            "applied" => "applied",
            "fenced" => "fenced",
            other => anyhow::bail!("a purge waits for committed, applied or fenced, not for {other:?}"),
        };
        anyhow::ensure!(!through.is_empty(), "there is nobody to send the purges of a storm to");
        let objects = self.mesh.objects.all();
        let carry_out = |number: u64| {
            let object = &objects[usize::try_from(number).unwrap_or_default() % objects.len()];
            let plan = PurgePlan {
                gap: 0.0,
                scope: Scope::Object(object.host, object.group, object.name),
                by: By::Url,
                bytes: object.bytes,
                soft: false,
                wait,
                pick: number,
                repeats: false,
                racers: 0,
            };
            let key = format!("{}-storm{step}-{number}", self.seed);
            async move {
                let nth =
                    |number: u64| through[usize::try_from(number % through.len() as u64).unwrap_or_default()];
                purgers::carry_out(self.mesh, key, plan, &nth).await
            }
        };
        stream::iter((0..purges).map(carry_out)).buffer_unordered(at_once).try_collect::<()>().await
    }

    async fn warm(&self, nodes: &[usize]) {
        let each = nodes.iter().flat_map(|node| self.mesh.objects.all().iter().map(|object| (*node, object)));
        let looks = each.map(|(node, object)| self.mesh.look(node, object, Protocol::H1, false));
        stream::iter(looks).buffer_unordered(WARM_AT_ONCE).collect::<()>().await;
    }

    fn places(&self, names: &[String]) -> anyhow::Result<Vec<usize>> {
        let place = |name: &String| {
            let place = self.mesh.nodes.iter().position(|node| node.name == *name);
            place.with_context(|| format!("there is no node {name}"))
        };
        names.iter().map(place).collect()
    }
}
