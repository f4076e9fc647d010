//! How the node takes part in a mesh and in its region's group: the keys of `[node]` that name them, `[mesh]` and
//! `[region]`.
//!
//! Keys and tickets are checked here as far as they can be without the node's own key: a node that would be
//! refused by every other does not start.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU16,
    path::PathBuf,
    time::Duration,
};

use starling_proto::{
    NodeId,
    members::{self, Addresses},
    ticket::{Admission, Ticket, cluster_key_from_text},
};

use super::{
    NodeSettings,
    reader::{Found, Section},
    sections::ADDRESS,
};
use crate::{clock::Clock, link};

/// Idle connections between nodes are closed after this.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A summary of a PoP goes out with every fourth heartbeat.
const HEARTBEATS_PER_SUMMARY: u64 = 4;
/// A leader that is silent for fewer heartbeats may only have lost one on the way.
const HEARTBEATS_PER_ELECTION: u32 = 3;
/// A shorter lease would run out between two answers of a region far away.
const FENCE_MIN: Duration = Duration::from_secs(1);
/// With a longer lease, purges that wait for `fenced` would wait for whoever is cut off as if there were no end.
const FENCE_MAX: Duration = Duration::from_secs(3600);

/// How a node takes part in a mesh.
#[derive(Clone, Debug)]
pub struct MeshSettings {
    /// The data plane: where it listens, how long it waits, how much it takes.
    pub link: link::Settings,
    /// The address that other nodes are told, when it is not that of the listeners.
    pub advertise: Option<IpAddr>,
    /// Where other nodes may be found, as `host:port`.
    pub peers: Vec<String>,
    /// Whom the node lets in.
    pub admission: Admission,
    /// The file of the ticket it shows; none in an open mesh, where tickets are unsigned.
    pub ticket: Option<PathBuf>,
    /// Its share of the ring beside its neighbours; 100 is usual.
    pub weight: u16,
    /// Heartbeats, silences and verdicts.
    pub members: members::Settings,
    /// Connections of the control plane to keep beyond those of the own PoP.
    pub connections_target: usize,
    /// Messages of one author that are read in a second.
    pub messages_per_s_max: u32,
    /// Objects longer than this are owned in pieces of this length, in bytes.
    pub shard_bytes: u64,
    /// Its part in the region's group.
    pub region: RegionSettings,
}

/// How a node takes part in its region's group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegionSettings {
    /// The group is formed when so many nodes of the region see each other; none: by whoever is there.
    pub expect: Option<usize>,
    /// Voters at most.
    pub voters_max: usize,
    /// Between two heartbeats of the leader.
    pub heartbeat: Duration,
    /// Silence of the leader after which others stand for election.
    pub election: Duration,
    /// How long a node may trust what it knows of the regions' heads.
    pub fence: Duration,
}

impl Default for RegionSettings {
    fn default() -> Self {
        Self {
            expect: None,
            voters_max: 5,
            heartbeat: Duration::from_millis(250),
            election: Duration::from_millis(2_000),
            fence: Duration::from_secs(5),
        }
    }
}

impl MeshSettings {
    /// Whether whoever reaches the listener is let in.
    pub fn is_open(&self) -> bool {
        matches!(self.admission, Admission::Open)
    }

    /// Where other nodes are told to come, when these are the listeners.
    pub fn addresses(&self, mesh: SocketAddr, link_quic: SocketAddr) -> Addresses {
        let told = |listener: SocketAddr| {
            // A mesh on every address is only there with one to be told.
            let own = if listener.ip().is_unspecified() { mesh.ip() } else { listener.ip() };
            SocketAddr::new(self.advertise.unwrap_or(own), listener.port())
        };
        Addresses { mesh: told(mesh), link_quic: told(link_quic) }
    }
}

/// Reads all three sections; none when the node stands alone.
pub(super) fn mesh(
    node: &Section<'_, '_>,
    section: &Section<'_, '_>,
    region: &Section<'_, '_>,
    who: &NodeSettings,
    slice_bytes: u32,
) -> Option<MeshSettings> {
    let listen = node.parsed::<SocketAddr>("mesh", ADDRESS);
    let peers = node.list("peers", "a host with a port, such as \"10.0.0.7:7000\"", peer);
    let cluster_key = node.string("cluster_key_pub");
    let ticket = node.string("ticket");
    let weight = node.number("weight", 1..1001, 100);
    let expect = node.parsed::<NonZeroU16>("region_expect", "a whole number from 1 to 65535");
    let is_wrong = node.is_set("mesh") && listen.is_none();
    if listen.is_none() && !is_wrong {
        let of_a_mesh = "means nothing without a mesh: set `mesh` (--mesh IP:PORT) too";
        if let Some(peers) = peers.as_ref().filter(|peers| !peers.value.is_empty()) {
            node.wrong(peers, of_a_mesh);
        }
        for found in [&cluster_key, &ticket].into_iter().flatten() {
            node.wrong(found, of_a_mesh);
        }
        if let Some(expect) = &expect {
            node.wrong(expect, of_a_mesh);
        }
    }
    let region = group(region, expect.map(|found| usize::from(found.value.get())));
    let members = members(section);
    let any = |of: &Found<SocketAddr>| SocketAddr::new(of.value.ip(), 0);
    let quic = section.parsed::<SocketAddr>("link_quic", ADDRESS);
    let advertise = section.parsed::<IpAddr>("advertise", "an IP address, without a port");
    let connections_max = section.number("connections_max", 1..1_000_001, 4096);
    let link = |listen: &Found<SocketAddr>| link::Settings {
        listen: listen.value,
        listen_quic: quic.as_ref().map_or_else(|| any(listen), |quic| quic.value),
        connect_timeout: section.duration("connect_timeout_ms", Duration::from_secs(2)),
        ack_timeout: section.duration("ack_timeout_ms", Duration::from_secs(1)),
        silence_timeout: section.duration("silence_timeout_ms", Duration::from_secs(2)),
        idle_timeout: IDLE_TIMEOUT,
        connections_max,
        questions_max: section.number("questions_max", 1..1_000_001, 1024),
    };
    // Read even when the node stands alone, so that a mistake in `[mesh]` is told all the same.
    let alone =
        Found { value: SocketAddr::from(([127, 0, 0, 1], 0)), place: node.place(), key: node.path("mesh") };
    let link = link(listen.as_ref().unwrap_or(&alone));
    let connections_target = section.number("connections_target", 1..100_001, 24);
    let messages_per_s_max = section.number("messages_per_s_max", 1..1_000_001, 50);
    let shard_bytes: u64 = section.bytes("shard_bytes", (1 << 20)..(1 << 50), 64 << 20);
    if connections_target > connections_max {
        section.problem("connections_target", "is larger than `connections_max`");
    }
    if !shard_bytes.is_multiple_of(u64::from(slice_bytes.max(1))) {
        section.problem("shard_bytes", format!("is not a multiple of `store.slice_bytes` ({slice_bytes})"));
    }
    section.close();

    let listen = listen?;
    if listen.value.ip().is_unspecified() && advertise.is_none() {
        let message = format!(
            "other nodes cannot be told {}: listen on one address, or set `mesh.advertise` to the one by which \
             this node is reached",
            listen.value.ip()
        );
        node.wrong(&listen, message);
    }
    if let Some(address) = advertise.as_ref().filter(|address| address.value.is_unspecified()) {
        section.wrong(address, "other nodes cannot be told this address");
    }
    let admission = match &cluster_key {
        Some(key) => Admission::Cluster(cluster(node, key)?),
        None => {
            for address in [Some(&listen), quic.as_ref()].into_iter().flatten() {
                needs_a_key(node, address, address.value.ip());
            }
            if let Some(address) = &advertise {
                needs_a_key(node, address, address.value);
            }
            Admission::Open
        }
    };
    let ticket = match (&cluster_key, ticket) {
        (Some(_), Some(ticket)) => Some(shown(node, &ticket, &admission, who)?),
        (Some(key), None) => {
            let message = "a node of a cluster shows a ticket: add `ticket` (--ticket FILE), made by \
                           `starling cluster admit`";
            node.wrong(key, message);
            None
        }
        (None, Some(ticket)) => {
            let message = "a ticket is checked with the cluster's public key: add `cluster_key_pub` \
                           (--cluster-key-pub FILE)";
            node.wrong(&ticket, message);
            None
        }
        (None, None) => None,
    };
    Some(MeshSettings {
        advertise: advertise.map(|address| address.value),
        link,
        peers: peers.map_or_else(Vec::new, |found| found.value.into_iter().map(|peer| peer.value).collect()),
        admission,
        ticket,
        weight,
        members,
        connections_target,
        messages_per_s_max,
        shard_bytes,
        region,
    })
}

fn group(section: &Section<'_, '_>, expect: Option<usize>) -> RegionSettings {
    let default = RegionSettings::default();
    let region = RegionSettings {
        expect,
        voters_max: section.number("voters_max", 1..10, default.voters_max),
        heartbeat: section.duration("heartbeat_ms", default.heartbeat),
        election: section.duration("election_ms", default.election),
        fence: section.duration("fence_ms", default.fence),
    };
    if region.voters_max.is_multiple_of(2) {
        let message = format!(
            "found {}, but this is an odd number: one voter more than an odd number of them survives no more losses",
            region.voters_max
        );
        section.problem("voters_max", message);
    }
    if region.election < region.heartbeat.saturating_mul(HEARTBEATS_PER_ELECTION) {
        let message =
            "is less than three heartbeats (`heartbeat_ms`): a lost message would cost the leader its place";
        section.problem("election_ms", message);
    }
    if region.fence < FENCE_MIN {
        let message = format!(
            "is less than {} ms: leases would run out on their way, and services with freshness = \"strict\" would ask \
             the origin for every hit",
            FENCE_MIN.as_millis()
        );
        section.problem("fence_ms", message);
    }
    if region.fence > FENCE_MAX {
        let message = format!(
            "is more than {} ms: a node that is cut off would trust what it has stored for as long, and purges that wait \
             for `fenced` would wait for it",
            FENCE_MAX.as_millis()
        );
        section.problem("fence_ms", message);
    }
    section.close();
    region
}

fn members(section: &Section<'_, '_>) -> members::Settings {
    let default = members::Settings::default();
    let millis = |key, default| {
        let default = Duration::from_millis(default);
        u64::try_from(section.duration(key, default).as_millis()).unwrap_or(u64::MAX)
    };
    let heartbeat_ms = millis("heartbeat_ms", default.heartbeat_ms);
    let members = members::Settings {
        heartbeat_ms,
        suspect_after_ms: millis("suspect_after_ms", default.suspect_after_ms),
        dead_after_ms: millis("dead_after_ms", default.dead_after_ms),
        forget_after_ms: millis("forget_after_ms", default.forget_after_ms),
        summary_ms: heartbeat_ms.saturating_mul(HEARTBEATS_PER_SUMMARY),
        previous_ring_ms: section.millis("previous_ring_ms", default.previous_ring_ms),
        members_max: default.members_max,
    };
    if members.suspect_after_ms < heartbeat_ms.saturating_mul(2) {
        let message = "is less than two heartbeats (`heartbeat_ms`): one lost message would raise suspicion";
        section.problem("suspect_after_ms", message);
    }
    if members.dead_after_ms <= members.suspect_after_ms {
        section.problem("dead_after_ms", "is not more than `suspect_after_ms`: no time is left to make sure");
    }
    if members.forget_after_ms < members.dead_after_ms {
        section.problem("forget_after_ms", "is less than `dead_after_ms`");
    }
    members
}

/// `host:port`, the host as a name or an address; IPv6 in brackets.
fn peer(text: &str) -> Option<String> {
    let (host, port) = text.rsplit_once(':')?;
    let has_port =
        port.bytes().all(|digit| digit.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|p| p > 0);
    let has_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            (1..=253).contains(&host.len())
                && host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        }
    };
    (has_port && has_host).then(|| text.to_owned())
}

fn needs_a_key<T>(node: &Section<'_, '_>, found: &Found<T>, address: IpAddr) {
    if !address.is_loopback() {
        let message = format!(
            "{address} can be reached from other machines, so the mesh needs a cluster key: make one with \
             `starling cluster init` and add `cluster_key_pub` and `ticket`; without it only loopback \
             addresses are allowed"
        );
        node.wrong(found, message);
    }
}

/// The cluster's public key, from its file.
fn cluster(node: &Section<'_, '_>, found: &Found<String>) -> Option<NodeId> {
    let text = read(node, found)?;
    cluster_key_from_text(&text)
        .inspect_err(|error| node.wrong(found, format!("{error}; `starling cluster init` writes it")))
        .ok()
}

/// The file of the node's ticket: good for this cluster, this node and now.
fn shown(
    node: &Section<'_, '_>,
    found: &Found<String>,
    admission: &Admission,
    who: &NodeSettings,
) -> Option<PathBuf> {
    let ticket: Ticket = read(node, found)?
        .parse()
        .inspect_err(|error| node.wrong(found, format!("{error}; `starling cluster admit` writes it")))
        .ok()?;
    let claim = &ticket.claim;
    // Whether the ticket is for this node's key is seen at the start, when the key is read.
    let checked = admission.check(&ticket, claim.node, Ipv4Addr::LOCALHOST.into(), Clock::start().now_ms());
    if let Err(error) = checked {
        node.wrong(found, error.to_string());
        return None;
    }
    let pairs = [
        ("name", &claim.name, &who.name),
        ("region", &claim.region, &who.region),
        ("pop", &claim.pop, &who.pop),
    ];
    for (key, claimed, said) in pairs.into_iter().filter(|(_, claimed, said)| claimed != said) {
        let message = format!("the ticket is for the {key} {claimed:?}, but `node.{key}` is {said:?}");
        node.wrong(found, message);
    }
    Some(PathBuf::from(&found.value))
}

fn read(node: &Section<'_, '_>, found: &Found<String>) -> Option<String> {
    std::fs::read_to_string(&found.value)
        .inspect_err(|error| node.wrong(found, format!("{:?} cannot be read: {error}", found.value)))
        .ok()
}
