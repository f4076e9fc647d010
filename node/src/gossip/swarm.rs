//! The libp2p swarm: what it is made of, where it listens, and how its topics are called.

use std::{
    collections::HashSet,
    net::{SocketAddr, UdpSocket},
    time::Duration,
};

use libp2p::{
    Multiaddr, Swarm, SwarmBuilder,
    allow_block_list::{self, AllowedPeers},
    connection_limits::{self, ConnectionLimits},
    gossipsub::{
        self, IdentTopic, MaxCountSubscriptionFilter, MessageAuthenticity, MessageId, PeerScoreParams,
        PeerScoreThresholds, TopicScoreParams, ValidationMode, WhitelistSubscriptionFilter,
    },
    identify,
    multiaddr::Protocol,
    ping,
    swarm::NetworkBehaviour,
};
use libp2p_identity::Keypair;
use starling_proto::{
    ticket::Claim,
    wire::{self, Message as _},
};

use super::{GossipError, Settings};

/// Connections that one peer may hold: both sides may have dialled at once, and an old one may linger.
const CONNECTIONS_PER_PEER_MAX: u32 = 4;

/// Connections in their handshake, in each direction: what strangers can make this node hold.
const HANDSHAKES_MAX: u32 = 1_024;

/// A handshake that takes longer is given up.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a gossipsub message has around its data: author, signature, topic, sequence number.
const ENVELOPE_BYTES_MAX: usize = 4 << 10;

/// Peers speak on a handful of topics; more are not listened to.
const TOPICS_PER_PEER_MAX: usize = 16;

/// Remembers only the topics this node has itself: those of other PoPs are none of its business.
type OwnTopics = MaxCountSubscriptionFilter<WhitelistSubscriptionFilter>;

/// What runs on every connection.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    /// Comes first: what it refuses, the others never see.
    pub allowed: allow_block_list::Behaviour<AllowedPeers>,
    pub limits: connection_limits::Behaviour,
    pub gossip: gossipsub::Behaviour<gossipsub::IdentityTransform, OwnTopics>,
    pub identify: identify::Behaviour,
    pub ping: ping::Behaviour,
}

/// The two topics of a node.
pub(super) struct Topics {
    /// Heartbeats of its PoP.
    pub pop: IdentTopic,
    /// Summaries of all PoPs.
    pub world: IdentTopic,
}

impl Topics {
    pub fn of(claim: &Claim) -> Self {
        Self {
            pop: IdentTopic::new(format!("pop/{}/{}", claim.region, claim.pop)),
            world: IdentTopic::new("world"),
        }
    }
}

/// A swarm that listens nowhere yet and lets nobody in.
pub(super) fn build(
    keypair: &Keypair,
    topics: &Topics,
    settings: &Settings,
) -> Result<Swarm<Behaviour>, GossipError> {
    let behaviour = behaviour(keypair, topics, settings).map_err(GossipError::Swarm)?;
    // The dead are found out by `Members`; this only frees what they held, and notices a path that broke.
    let idle_ms = settings.members.dead_after_ms.clamp(2_000, 30_000);
    let swarm = SwarmBuilder::with_existing_identity(keypair.clone())
        .with_tokio()
        .with_quic_config(|mut quic| {
            quic.handshake_timeout = HANDSHAKE_TIMEOUT;
            quic.max_idle_timeout = u32::try_from(idle_ms).expect("clamped to 30 s");
            quic.keep_alive_interval = Duration::from_millis(idle_ms / 4);
            quic.max_concurrent_stream_limit = 64;
            quic.max_stream_data = 1 << 20;
            quic.max_connection_data = 4 << 20;
            quic
        })
        .with_behaviour(|_| behaviour)
        .map_err(|error| GossipError::Swarm(error.to_string()))?
        // Connections are kept, busy or not: this room alone decides which there are.
        .with_swarm_config(|swarm| {
            swarm.with_idle_connection_timeout(Duration::from_secs(u64::from(u32::MAX)))
        })
        .build();
    Ok(swarm)
}

fn behaviour(keypair: &Keypair, topics: &Topics, settings: &Settings) -> Result<Behaviour, String> {
    let connections_max = u32::try_from(settings.connections_max).unwrap_or(u32::MAX);
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(HANDSHAKES_MAX))
        .with_max_pending_outgoing(Some(HANDSHAKES_MAX))
        .with_max_established(Some(connections_max))
        .with_max_established_per_peer(Some(CONNECTIONS_PER_PEER_MAX));
    // Only admitted peers ask, and they have all addresses from greetings: none are told here.
    let identify = identify::Config::new("/starling/1".to_owned(), keypair.public())
        .with_agent_version(format!("starling/{}", env!("CARGO_PKG_VERSION")))
        .with_hide_listen_addrs(true)
        .with_cache_size(0);
    Ok(Behaviour {
        allowed: allow_block_list::Behaviour::default(),
        limits: connection_limits::Behaviour::new(limits),
        gossip: gossip(keypair, topics, settings)?,
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new()),
    })
}

fn gossip(
    keypair: &Keypair,
    topics: &Topics,
    settings: &Settings,
) -> Result<gossipsub::Behaviour<gossipsub::IdentityTransform, OwnTopics>, String> {
    let heartbeat_ms = settings.members.heartbeat_ms.clamp(100, 1_000);
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Strict)
        .validate_messages()
        .message_id_fn(message_id)
        .max_transmit_size(wire::Gossip::BYTES_MAX + ENVELOPE_BYTES_MAX)
        // A heartbeat goes to every neighbour at once, and again over the mesh of the topic: the way through
        // others is what tells a lossy path from a dead node. A PoP is small enough for both.
        .flood_publish(true)
        .heartbeat_initial_delay(Duration::from_millis(heartbeat_ms / 2))
        .heartbeat_interval(Duration::from_millis(heartbeat_ms))
        .duplicate_cache_time(Duration::from_secs(60))
        .max_publish_messages(512)
        .connection_handler_queue_len(1024)
        .build()
        .map_err(|error| error.to_string())?;
    let filter = MaxCountSubscriptionFilter {
        filter: WhitelistSubscriptionFilter(HashSet::from([topics.pop.hash(), topics.world.hash()])),
        max_subscribed_topics: TOPICS_PER_PEER_MAX,
        max_subscriptions_per_request: TOPICS_PER_PEER_MAX,
    };
    let signed = MessageAuthenticity::Signed(keypair.clone());
    let mut gossip = gossipsub::Behaviour::new_with_subscription_filter(signed, config, filter)?;
    gossip.with_peer_score(score(topics), thresholds())?;
    for topic in [&topics.pop, &topics.world] {
        gossip.subscribe(topic).map_err(|error| error.to_string())?;
    }
    Ok(gossip)
}

/// Only what cannot happen to an honest node counts against a peer: messages that every node must reject.
/// How quiet it is, or from where, does not: PoPs are small, quiet, and often behind one address.
fn score(topics: &Topics) -> PeerScoreParams {
    let topic = TopicScoreParams {
        topic_weight: 1.0,
        time_in_mesh_weight: 0.0,
        first_message_deliveries_weight: 0.0,
        mesh_message_deliveries_weight: 0.0,
        mesh_failure_penalty_weight: 0.0,
        // Nine at once are past the thresholds; they are forgotten within half a minute.
        invalid_message_deliveries_weight: -1.0,
        invalid_message_deliveries_decay: 0.9,
        ..TopicScoreParams::default()
    };
    PeerScoreParams {
        topics: [&topics.pop, &topics.world].map(|name| (name.hash(), topic.clone())).into(),
        ip_colocation_factor_weight: 0.0,
        behaviour_penalty_weight: -1.0,
        behaviour_penalty_threshold: 6.0,
        behaviour_penalty_decay: 0.9,
        retain_score: Duration::from_secs(60),
        ..PeerScoreParams::default()
    }
}

fn thresholds() -> PeerScoreThresholds {
    PeerScoreThresholds { opportunistic_graft_threshold: 0.0, ..PeerScoreThresholds::default() }
}

/// Author and sequence number: what strict validation makes every message have.
fn message_id(message: &gossipsub::Message) -> MessageId {
    let mut id = message.source.map(|author| author.to_bytes()).unwrap_or_default();
    id.extend_from_slice(&message.sequence_number.unwrap_or_default().to_be_bytes());
    MessageId::from(id)
}

/// Has the swarm listen: when this returns, the port is taken. Port 0 takes any that is free.
pub(super) fn listen(swarm: &mut Swarm<Behaviour>, address: SocketAddr) -> Result<SocketAddr, GossipError> {
    // The transport tells which port it was given only later; a port that is found first is known at once.
    const TRIES: usize = 16;
    let failed = |detail: String| GossipError::Listen { address, detail };
    let mut last = String::new();
    for _ in 0..if address.port() == 0 { TRIES } else { 1 } {
        let mut address = address;
        if address.port() == 0 {
            let free = UdpSocket::bind(address).and_then(|socket| socket.local_addr());
            address.set_port(free.map_err(|error| failed(error.to_string()))?.port());
        }
        match swarm.listen_on(multiaddr(address)) {
            Ok(_) => return Ok(address),
            Err(error) => last = error.to_string(),
        }
    }
    Err(failed(last))
}

/// Where a swarm listens, as libp2p writes it.
pub(super) fn multiaddr(address: SocketAddr) -> Multiaddr {
    Multiaddr::from(address.ip()).with(Protocol::Udp(address.port())).with(Protocol::QuicV1)
}
