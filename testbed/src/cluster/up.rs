//! How a testbed is started.

use std::{
    collections::BTreeSet,
    fs::File,
    io::Read,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use futures_util::future::{join_all, try_join_all};
use tokio_util::sync::CancellationToken;

use super::{Cluster, Node, Origin, Settings, State, Tell, down, keep::Keep, launch, log_end};
use crate::{net::Net, topology::Topology};

/// Ports between two nodes; the first three are used.
const PORTS_PER_NODE: usize = 10;

/// Where all listen whose address is their own.
const OWN_PORTS: [u16; 4] = [80, 80, 9000, 7000];

/// How many logs are shown when a start fails.
const LOGS_SHOWN: usize = 2;

impl Cluster {
    /// Starts the origin and all nodes, and waits until each is ready, sees all others, and each region has a
    /// leader. What was started is ended again when that fails.
    pub async fn up(settings: &Settings, tell: Tell<'_>) -> anyhow::Result<Self> {
        Self::up_unless(settings, tell, &CancellationToken::new()).await
    }

    /// As [`Cluster::up`], until somebody thinks better of it: that is a failure, too, and leaves nothing.
    pub async fn up_unless(
        settings: &Settings,
        tell: Tell<'_>,
        enough: &CancellationToken,
    ) -> anyhow::Result<Self> {
        Keep::check_vacant(&settings.dir)?;
        check_binary(&settings.node_binary)?;
        let seats = if settings.netns { None } else { Some(seats_on_loopback(settings)?) };
        let keep = Keep::make(&settings.dir)?;
        let mut state = State {
            topology: settings.topology.clone(),
            node_binary: settings.node_binary.canonicalize().context("the node's binary")?,
            netns: settings.netns,
            faulty: settings.faulty,
            log_level: settings.log_level.clone(),
            token: None,
            origin: Origin { address: SocketAddr::from(([0, 0, 0, 0], 0)), namespace: None, process: None },
            nodes: Vec::new(),
            net: None,
        };
        // From here on `down` finds what was started, whatever happens to this process.
        keep.write(&state)?;
        let begun = begin(&keep, &mut state, seats, settings, tell, enough).await;
        let error = match begun {
            Ok(cluster) => return Ok(cluster),
            Err(error) => error,
        };
        let state = keep.read().unwrap_or(state);
        match down::remove(&keep, &state, &mut |_| ()).await {
            Ok(()) => Err(error.context("not started, and nothing is left of it")),
            Err(left) => Err(error.context(format!("not started, and something is left of it: {left:#}"))),
        }
    }
}

async fn begin(
    keep: &Keep,
    state: &mut State,
    seats: Option<Seats>,
    settings: &Settings,
    tell: Tell<'_>,
    enough: &CancellationToken,
) -> anyhow::Result<Cluster> {
    let seats = match seats {
        Some(seats) => seats,
        None => {
            state.token = Some(token()?);
            // Not to be interrupted: what it has laid is known when it is done.
            let net = Net::lay(&settings.topology, keep.dir()).await.context("the network")?;
            let seats = seats_in(&settings.topology, &net);
            tell(&format!("a network of {} namespaces stands", net.state.namespaces.len()));
            state.net = Some(net.state);
            seats?
        }
    };
    (state.origin, state.nodes) = (seats.origin, seats.nodes);
    for node in &mut state.nodes {
        node.dir = keep.path("nodes").join(&node.name);
    }
    keep.write(state)?;
    stopped(enough)?;
    if state.faulty {
        crate::faults::library(keep.dir()).context("the library that makes disks and clocks fail")?;
    }
    launch::make_key(keep.dir(), state)?;
    for node in &state.nodes {
        launch::furnish(keep.dir(), state, node).with_context(|| format!("cannot furnish {}", node.name))?;
    }
    state.nodes.first().map_or(Ok(()), |node| launch::check_config(state, node))?;
    tell(&format!("a cluster key, and {} tickets", state.nodes.len()));

    let cluster = Cluster::of(keep.clone(), state.clone());
    let run = run(&cluster, settings, tell);
    tokio::select! {
        biased;
        () = enough.cancelled() => bail!("interrupted"),
        ran = run => ran?,
    }
    Ok(cluster)
}

/// Starts the processes, and waits for them.
async fn run(cluster: &Cluster, settings: &Settings, tell: Tell<'_>) -> anyhow::Result<()> {
    let begun = Instant::now();
    cluster.origin(true).await?;
    let state = cluster.state();
    tell(&format!("the origin serves on http://{}", state.origin.address));
    let names: Vec<String> = state.nodes.into_iter().map(|node| node.name).collect();
    for name in &names {
        cluster.launch(name)?;
    }
    tell(&format!("{} nodes are started", names.len()));
    let ready = {
        let (mut count, tell) = (0, parking_lot::Mutex::new(&mut *tell));
        let counted = parking_lot::Mutex::new(&mut count);
        let one = async |name: &String| {
            cluster.ready(name, settings.ready_timeout).await?;
            let mut counted = counted.lock();
            **counted += 1;
            // Of many nodes only some steps are of interest.
            if **counted == names.len() || **counted % (names.len() / 3).max(1) == 0 {
                (tell.lock())(&format!("{} of {} nodes are ready", **counted, names.len()));
            }
            anyhow::Ok(())
        };
        try_join_all(names.iter().map(one)).await
    };
    ready?;
    let left = settings.ready_timeout.saturating_sub(begun.elapsed());
    if let Err(error) = cluster.settled_or_told(&names, left, tell).await {
        bail!("{error:#}\n{}", logs(cluster).await);
    }
    tell("all see each other, and each region has a leader");
    if let Some(node) = cluster.state().nodes.first() {
        cluster.first_request(node).await?;
        tell(&format!("the first request is served, by {}", node.name));
    }
    Ok(())
}

/// The ends of the logs of some nodes that are not well; the directory will be gone.
async fn logs(cluster: &Cluster) -> String {
    let nodes = cluster.state().nodes;
    let seen = join_all(nodes.iter().map(|node| cluster.look(node))).await;
    let unwell = nodes.iter().zip(&seen).filter(|(_, seen)| !seen.as_ref().is_ok_and(|seen| seen.ready));
    let chosen: Vec<&Node> = unwell.map(|(node, _)| node).chain(&nodes).take(LOGS_SHOWN).collect();
    chosen.iter().map(|node| format!("  the log of {} ends:\n{}", node.name, log_end(&node.dir))).collect()
}

fn stopped(enough: &CancellationToken) -> anyhow::Result<()> {
    ensure!(!enough.is_cancelled(), "interrupted");
    Ok(())
}

fn check_binary(binary: &Path) -> anyhow::Result<()> {
    let what = "build it with `cargo build --release -p starling`, or name it with --node-binary";
    ensure!(binary.is_file(), "there is no node binary {}: {what}", binary.display());
    Ok(())
}

/// Where all are to stand.
struct Seats {
    origin: Origin,
    nodes: Vec<Node>,
}

/// Seats on loopback, by port; each is tried, since a node that does not find its port free tells it to its log
/// only.
fn seats_on_loopback(settings: &Settings) -> anyhow::Result<Seats> {
    let nodes = settings.topology.nodes().count();
    let last = usize::from(settings.first_port) + PORTS_PER_NODE * nodes + 2;
    ensure!(last <= 65_535, "{nodes} nodes need ports up to {last}: choose a lower --first-port");
    let address = |offset: usize| {
        let port = u16::try_from(usize::from(settings.first_port) + offset).unwrap_or(u16::MAX);
        SocketAddr::from((Ipv4Addr::LOCALHOST, port))
    };
    let origin = Origin { address: address(0), namespace: None, process: None };
    let nodes: Vec<Node> = settings
        .topology
        .nodes()
        .enumerate()
        .map(|(number, (name, pop))| {
            let first = PORTS_PER_NODE * (number + 1);
            let ports = [address(first), address(first + 1), address(first + 2)];
            seat(name, pop, ports, None)
        })
        .collect();
    try_port(origin.address, false, "the origin")?;
    for node in &nodes {
        try_port(node.http, false, &node.name)?;
        try_port(node.admin, false, &node.name)?;
        try_port(node.mesh, true, &node.name)?;
    }
    Ok(Seats { origin, nodes })
}

/// Seats at the addresses of a network.
fn seats_in(topology: &Topology, net: &Net) -> anyhow::Result<Seats> {
    let [origin_port, http, admin, mesh] = OWN_PORTS;
    let origin = Origin {
        address: SocketAddr::new(net.origin.address, origin_port),
        namespace: Some(net.origin.namespace.clone()),
        process: None,
    };
    let mut addresses: BTreeSet<IpAddr> = BTreeSet::from([net.origin.address]);
    let mut nodes = Vec::new();
    for (name, pop) in topology.nodes() {
        let place = net.places.get(&name).with_context(|| format!("the network has no place for {name}"))?;
        ensure!(addresses.insert(place.address), "{name} has the address of another: {}", place.address);
        let at = [http, admin, mesh].map(|port| SocketAddr::new(place.address, port));
        nodes.push(seat(name, pop, at, Some(place.namespace.clone())));
    }
    Ok(Seats { origin, nodes })
}

fn seat(name: String, pop: &crate::topology::Pop, at: [SocketAddr; 3], namespace: Option<String>) -> Node {
    let [http, admin, mesh] = at;
    let (region, pop) = (pop.region.clone(), pop.name.clone());
    Node { name, region, pop, http, admin, mesh, dir: Default::default(), namespace, process: None }
}

/// Whether an address is free, for TCP, and for UDP if that is wanted as well.
fn try_port(address: SocketAddr, is_udp_too: bool, of: &str) -> anyhow::Result<()> {
    let tried = TcpListener::bind(address).map(drop);
    let tried = tried.and_then(|()| if is_udp_too { UdpSocket::bind(address).map(drop) } else { Ok(()) });
    tried.with_context(|| {
        format!("port {} of {of} cannot be had: choose others with --first-port", address.port())
    })
}

/// A bearer token that nobody guesses.
fn token() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    let read = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    read.context("cannot read /dev/urandom")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn settings(first_port: u16) -> Settings {
        Settings {
            topology: Topology::load("laptop").expect("it loads"),
            dir: "/nowhere".into(),
            node_binary: "/nowhere/starling".into(),
            netns: false,
            faulty: false,
            first_port,
            log_level: "info".to_owned(),
            ready_timeout: Duration::from_secs(1),
        }
    }

    #[test]
    fn a_port_that_is_taken_is_named_with_the_flag_that_chooses_others() {
        // Below what the kernel hands out for connections, and not those of a testbed by default.
        let (first, taken) = (3_100..30_000)
            .step_by(100)
            .find_map(|first: u16| {
                seats_on_loopback(&settings(first)).ok()?;
                Some((first, TcpListener::bind((Ipv4Addr::LOCALHOST, first + 21)).ok()?))
            })
            .expect("somewhere are free ports");
        let told = format!("{:#}", seats_on_loopback(&settings(first)).err().expect("one is taken"));
        assert!(told.contains(&format!("port {} of lon-2", first + 21)), "{told}");
        assert!(told.contains("--first-port"), "{told}");
        drop(taken);
        let told = format!("{:#}", seats_on_loopback(&settings(65_530)).err().expect("too high"));
        assert!(told.contains("--first-port"), "{told}");
    }

    #[tokio::test]
    async fn without_a_node_binary_nothing_is_begun() {
        let error = Cluster::up(&settings(3_000), &mut |_| ()).await.err().expect("there is none");
        assert!(format!("{error:#}").contains("--node-binary"), "{error:#}");
        assert!(!Path::new("/nowhere").exists());
    }

    #[test]
    fn tokens_are_long_and_differ() {
        let (one, other) = (token().expect("a token"), token().expect("a token"));
        assert_eq!(one.len(), 32);
        assert_ne!(one, other);
    }
}
