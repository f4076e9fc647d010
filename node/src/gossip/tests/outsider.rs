//! A bare swarm with a key of its choice, that says what it likes.

use futures_util::StreamExt;
use libp2p::{
    Swarm,
    gossipsub::{self, IdentTopic},
    identify,
    swarm::{SwarmEvent, dial_opts::DialOpts},
};
use starling_proto::{NodeId, wire};
use tokio::runtime::Runtime;

use super::{
    super::{
        Settings,
        swarm::{self, Behaviour, BehaviourEvent, Topics},
    },
    Node, PATIENCE, free_address, settings,
};
use crate::identity::Identity;

pub(super) struct Outsider {
    runtime: Runtime,
    swarm: Swarm<Behaviour>,
    pub topics: Topics,
}

/// What came of a dial.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Dialled {
    /// The other speaks gossip on both topics.
    IsIn,
    /// It ended without a word.
    Refused,
}

impl Outsider {
    pub fn new(identity: &Identity) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let inside = runtime.enter();
        let topics = Topics::of(&identity.ticket.claim);
        let settings: Settings = settings(free_address());
        let swarm = swarm::build(&identity.keypair, &topics, &settings).expect("a swarm");
        drop(inside);
        Self { runtime, swarm, topics }
    }

    /// Dials a node's swarm, and goes on until it is let in or sent away. Anything that it hears before is a leak.
    pub fn dial(&mut self, node: &Node) -> Dialled {
        let peer = node.id().peer_id();
        self.swarm.behaviour_mut().allowed.allow_peer(peer);
        let dial = DialOpts::peer_id(peer).addresses(vec![swarm::multiaddr(node.address())]).build();
        let swarm = &mut self.swarm;
        let inside = self.runtime.handle().clone();
        let dialled = inside.block_on(async {
            swarm.dial(dial).expect("a dial begins");
            let outcome = async {
                let mut topics = 0;
                loop {
                    match swarm.select_next_some().await {
                        SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. } => {
                            break Dialled::Refused;
                        }
                        SwarmEvent::Behaviour(BehaviourEvent::Gossip(gossipsub::Event::Subscribed {
                            ..
                        })) => {
                            topics += 1;
                            if topics == 2 {
                                break Dialled::IsIn;
                            }
                        }
                        SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received {
                            info,
                            ..
                        })) => assert_eq!(info.listen_addrs, [], "no addresses are told"),
                        _ => {}
                    }
                }
            };
            tokio::time::timeout(PATIENCE, outcome).await
        });
        dialled.expect("the dial has an outcome")
    }

    pub fn say(&mut self, topic: IdentTopic, message: &wire::Gossip) {
        self.say_bytes(topic, wire::encode(message).expect("it can be written"));
    }

    /// Says something, and sees to it that it is sent.
    pub fn say_bytes(&mut self, topic: IdentTopic, bytes: Vec<u8>) {
        let _inside = self.runtime.enter();
        // A full queue is a flood that is held back here; nobody subscribed, one that was sent away.
        let _ = self.swarm.behaviour_mut().gossip.publish(topic, bytes);
    }

    /// Goes on until `is_over`, or the connection with the node is gone.
    pub fn goes_on_until(&mut self, node: NodeId, is_over: impl Fn() -> bool) {
        let swarm = &mut self.swarm;
        let done = self.runtime.handle().block_on(async {
            let on = async {
                while swarm.is_connected(&node.peer_id()) && !is_over() {
                    let _ = tokio::time::timeout(std::time::Duration::from_millis(5), swarm.next()).await;
                }
            };
            tokio::time::timeout(PATIENCE, on).await
        });
        done.expect("it comes to an end");
    }

    pub fn is_connected(&self, node: NodeId) -> bool {
        self.swarm.is_connected(&node.peer_id())
    }
}
