//! A testbed's network of namespaces: every node in its own, a router in each PoP, and between the routers a link
//! of user space ([`wan`]) that delays, loses, reorders, duplicates and limits. Needs root and `ip`.
//!
//! ```text
//!                 root namespace, 10.B.0.1: the testbed, who asks and who looks
//!                   |                           |
//!   10.B.1.254  router of lon  ---- wan ----  router of nyc  10.B.2.254
//!                |    |    |                    |    |
//!              lon-1 lon-2 origin             nyc-1 nyc-2
//!          10.B.1.1   .2   .253           10.B.2.1   .2
//! ```
//!
//! All that leaves a node passes its router, so nodes of one PoP can be cut from each other, too. Cuts swallow
//! packets; no end is told. What the testbed itself asks passes the routers but not the link, and is never slow.
//!
//! A network outlives the process that laid it. A record of it below [`record::DIR`] tells the next one what there
//! is, and what of it nobody can want any more: that whose layer died before its testbed stood.

mod freeze;
mod ip;
mod lay;
mod plan;
mod process;
mod record;
pub mod wan;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

pub use self::ip::inside;
use self::wan::talk::{Command, Reply, Stats, say};
use crate::{
    cluster::Process,
    topology::{Quality, Topology},
};

/// What the network is made of, for who has to take it away.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    /// With which all names of namespaces and links begin.
    pub prefix: String,
    /// All namespaces.
    pub namespaces: Vec<String>,
    /// The process that carries packets between PoPs.
    pub wan: Process,
    /// The socket at which it takes commands.
    pub wan_socket: PathBuf,
    /// The routers.
    pub routers: Vec<Router>,
}

/// The router of a PoP.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Router {
    /// The PoP.
    pub pop: String,
    /// Its namespace.
    pub namespace: String,
    /// The addresses of the PoP: a /24.
    pub subnet: Ipv4Addr,
}

/// Where a node, or the origin, stands.
#[derive(Clone, Debug)]
pub struct Place {
    /// Its namespace.
    pub namespace: String,
    /// Its address.
    pub address: IpAddr,
}

/// A network that stands.
pub struct Net {
    /// As it is kept.
    pub state: State,
    /// Where each node stands, by name.
    pub places: BTreeMap<String, Place>,
    /// Where the origin stands: the host itself is not behind a slow way.
    pub origin: Place,
}

impl Net {
    /// Lays the network of a topology; `dir` takes the socket and the log of the link's process. What was made is
    /// taken away again when that fails, or when nobody waits for it any more. What a testbed left behind that died
    /// before it stood is taken away first.
    ///
    /// # Errors
    ///
    /// When this is not root, `ip` or namespaces are not to be had, or the topology is too large for the addresses.
    pub async fn lay(topology: &Topology, dir: &Path) -> Result<Self> {
        let (topology, dir) = (topology.clone(), dir.to_owned());
        let laid =
            spawn_blocking(move || lay::lay(&topology, &dir)).await.context("laying the network")??;
        Ok(laid.keep())
    }

    /// Whether a network can be laid here; the error says what is lacking.
    pub fn is_possible() -> Result<()> {
        ip::is_possible()
    }
}

impl State {
    /// Takes the network away, with all processes that are in it; goes on after errors, and tells them. One that is
    /// gone already is no error.
    pub async fn remove(&self) -> Result<()> {
        let state = self.clone();
        spawn_blocking(move || record::remove(&state)).await?
    }

    /// From now on nothing that stands at one of `from` reaches one of `to`; the other way is left as it is.
    pub async fn cut(&self, from: &[IpAddr], to: &[IpAddr]) -> Result<()> {
        let (state, from, to) = (self.clone(), v4(from)?, v4(to)?);
        spawn_blocking(move || state.cut_now(&from, &to)).await?
    }

    /// Ends all cuts, and gives all ways the quality they had.
    pub async fn heal(&self) -> Result<()> {
        let state = self.clone();
        spawn_blocking(move || state.heal_now()).await?
    }

    /// Gives the way between two PoPs another quality, in this direction; `None` has it carry nothing.
    pub async fn degrade(&self, from: &str, to: &str, quality: Option<Quality>) -> Result<()> {
        self.say(Command::Way { from: from.to_owned(), to: to.to_owned(), quality }).await?;
        Ok(())
    }

    /// All processes of a namespace stand still, or go on (cgroup v2). Returns when they do; what goes on already
    /// is left as it is.
    pub async fn freeze(&self, namespace: &str, frozen: bool) -> Result<()> {
        if !self.namespaces.iter().any(|known| known == namespace) {
            bail!(
                "{namespace:?} is not a namespace of this network; there are {}",
                self.namespaces.join(", ")
            );
        }
        let namespace = namespace.to_owned();
        spawn_blocking(move || freeze::freeze(&namespace, frozen)).await?
    }

    /// What the link did so far.
    pub async fn stats(&self) -> Result<Stats> {
        match self.say(Command::Stats).await? {
            Reply::Stats(stats) => Ok(stats),
            other => bail!("the link's process answers {other:?}"),
        }
    }

    async fn say(&self, command: Command) -> Result<Reply> {
        let socket = self.wan_socket.clone();
        spawn_blocking(move || say(&socket, &command)).await?
    }

    /// What passes between PoPs is cut in the link, where it also holds for what is on its way; what stays in one
    /// PoP, or comes from the host, by the router.
    fn cut_now(&self, from: &[Ipv4Addr], to: &[Ipv4Addr]) -> Result<()> {
        let (mut far, mut near): (BTreeMap<_, BTreeSet<_>>, BTreeMap<&str, String>) = Default::default();
        for (from, to) in from.iter().flat_map(|from| to.iter().map(move |to| (from, to))) {
            let (here, there) = (self.router(*from), self.router(*to));
            match (here, there) {
                _ if from == to => {}
                (Some(here), Some(there)) if here.pop != there.pop => {
                    far.entry(*from).or_default().insert(*to);
                }
                (Some(router), _) | (None, Some(router)) => {
                    let rules = near.entry(&router.namespace).or_default();
                    rules.push_str(&format!(
                        "rule add from {from} to {to} blackhole priority {CUT_PRIORITY}\n"
                    ));
                }
                (None, None) => bail!("neither {from} nor {to} is an address of this network"),
            }
        }
        for (router, rules) in near {
            // A pair that is cut already is no error.
            ip::batch(Some(router), &rules, &["File exists"])?;
        }
        // Few commands rather than one for each pair: sources that are cut from the same targets go together.
        let mut together: BTreeMap<Vec<Ipv4Addr>, Vec<Ipv4Addr>> = BTreeMap::new();
        for (from, to) in far {
            together.entry(to.into_iter().collect()).or_default().push(from);
        }
        for (to, from) in together {
            say(&self.wan_socket, &Command::Cut { from, to })?;
        }
        Ok(())
    }

    fn heal_now(&self) -> Result<()> {
        let healed = say(&self.wan_socket, &Command::Heal);
        for router in &self.routers {
            let rules = ip::run(&["-n", &router.namespace, "rule", "list", "priority", CUT_PRIORITY])?;
            let cuts = rules.lines().filter_map(|rule| rule.split_once(':')).map(|(_, rule)| rule.trim());
            let removals: String =
                cuts.map(|rule| format!("rule del {rule} priority {CUT_PRIORITY}\n")).collect();
            // Another one may have healed meanwhile.
            ip::batch(Some(&router.namespace), &removals, &["No such file or directory"])?;
        }
        healed.map(drop)
    }

    fn router(&self, address: Ipv4Addr) -> Option<&Router> {
        self.routers.iter().find(|router| router.subnet.octets()[..3] == address.octets()[..3])
    }
}

/// Takes away all networks that nobody can want any more: who laid them is dead, and no testbed stands that names
/// them. [`Net::lay`] does it, too.
///
/// # Errors
///
/// When the records cannot be read, or something of a network cannot be removed.
pub async fn sweep() -> Result<()> {
    spawn_blocking(record::sweep).await?
}

/// Before the rule that leads to the main table.
const CUT_PRIORITY: &str = "100";

fn v4(addresses: &[IpAddr]) -> Result<Vec<Ipv4Addr>> {
    let v4 = |address: &IpAddr| match address {
        IpAddr::V4(address) => Ok(*address),
        IpAddr::V6(address) => bail!("{address} is not an address of this network"),
    };
    addresses.iter().map(v4).collect()
}
