//! The mesh as one of its nodes sees it: the JSON of its admin API.

use serde::Deserialize;

/// One line of `GET /v1/peers`.
#[derive(Clone, Debug, Deserialize)]
pub struct Peer {
    /// Its name.
    pub node: String,
    /// Its id.
    pub id: String,
    /// Its region.
    pub region: String,
    /// Its PoP.
    pub pop: String,
    /// `alive`, `suspect`, `dead` or `left`.
    pub status: String,
    /// Whether requests go elsewhere.
    pub passed_over: bool,
    /// Whether it is the node that was asked.
    #[serde(rename = "self")]
    pub is_self: bool,
    /// Whether it is in the ring of the node that was asked.
    pub in_ring: bool,
}

/// `GET /v1/peers`.
#[derive(Clone, Debug, Deserialize)]
pub struct Peers {
    /// The node that was asked.
    pub node: String,
    /// Every node it knows.
    pub peers: Vec<Peer>,
}

/// `GET /v1/ring`, with or without a key.
#[derive(Clone, Debug, Deserialize)]
pub struct Ring {
    /// The PoP whose ring it is.
    pub pop: String,
    /// Who is in it.
    pub nodes: Vec<RingNode>,
    /// The key, in hexadecimal.
    pub key: Option<String>,
    /// Who owns the key.
    pub owner: Option<String>,
    /// The owner and those who come after it.
    #[serde(default)]
    pub replicas: Vec<String>,
}

/// A node of a ring.
#[derive(Clone, Debug, Deserialize)]
pub struct RingNode {
    /// Its name.
    pub node: String,
    /// How much of the ring is its own.
    pub share_permille: f64,
}

impl Peers {
    /// What is known of this node.
    pub fn get(&self, name: &str) -> Option<&Peer> {
        self.peers.iter().find(|peer| peer.node == name)
    }

    /// The names of those that are alive, sorted.
    pub fn alive(&self) -> Vec<String> {
        self.names(|peer| peer.status == "alive")
    }

    /// The names of those in the ring, sorted.
    pub fn in_ring(&self) -> Vec<String> {
        self.names(|peer| peer.in_ring)
    }

    /// A line for messages.
    pub fn summary(&self) -> String {
        let one = |peer: &Peer| {
            let path = if peer.passed_over { ", passed over" } else { "" };
            let ring = if peer.in_ring { ", in the ring" } else { "" };
            format!("{} {}{path}{ring}", peer.node, peer.status)
        };
        format!("{} sees [{}]", self.node, self.peers.iter().map(one).collect::<Vec<_>>().join("; "))
    }

    fn names(&self, which: impl Fn(&Peer) -> bool) -> Vec<String> {
        let mut names: Vec<String> =
            self.peers.iter().filter(|peer| which(peer)).map(|peer| peer.node.clone()).collect();
        names.sort();
        names
    }
}

/// A URL as the value of a query parameter.
pub(super) fn query_value(url: &str) -> String {
    let keep = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    url.bytes()
        .map(|byte| if keep(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{Peers, query_value};

    #[test]
    fn a_url_becomes_a_query_value() {
        assert_eq!(query_value("http://a.b/c?d=1&e"), "http%3A%2F%2Fa.b%2Fc%3Fd%3D1%26e");
    }

    #[test]
    fn peers_are_told_apart_by_their_status() {
        let peer = |name: &str, status: &str, ring: bool| {
            serde_json::json!({"node": name, "id": "x", "region": "eu", "pop": "lon", "status": status,
                "passed_over": false, "self": name == "b", "in_ring": ring, "rtt_us": null})
        };
        let all = serde_json::json!({"node": "b", "id": "x",
            "peers": [peer("b", "alive", true), peer("a", "alive", true), peer("c", "suspect", true), peer("d", "dead", false)]});
        let peers: Peers = serde_json::from_value(all).expect("it is the JSON of the contract");
        assert_eq!(peers.alive(), ["a", "b"]);
        assert_eq!(peers.in_ring(), ["a", "b", "c"]);
        assert_eq!(peers.get("c").map(|peer| peer.status.as_str()), Some("suspect"));
        assert!(peers.get("e").is_none());
        assert!(peers.summary().contains("d dead"));
    }
}
