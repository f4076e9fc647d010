//! The mesh, for people.

use serde_json::Value;

use super::{
    read, size,
    table::{Column, table},
};
use crate::admin::{MeshStatus, PeerState, PeerStatus, PeersReport, RegionStatus, RingReport, StatusReport};

/// Every node, one line each; `*` marks the one that was asked.
pub(in crate::cli) fn peers(answer: &Value) -> String {
    read(answer, |report: PeersReport| {
        let rows: Vec<_> = report.peers.iter().map(peer).collect();
        let columns = [
            Column::Left("NODE"),
            Column::Left("REGION/POP"),
            Column::Left("STATUS"),
            Column::Left("RING"),
            Column::Left("ADDRESS"),
            Column::Right("HEARD"),
            Column::Right("RTT"),
            Column::Right("CPU"),
            Column::Right("REQ/S"),
            Column::Right("SENT/S"),
            Column::Left("ID"),
        ];
        table(columns, &rows)
    })
}

fn peer(peer: &PeerStatus) -> [String; 11] {
    let none = || "-".to_owned();
    let status = match (peer.status, peer.passed_over) {
        (PeerState::Alive, true) => "alive, passed over",
        (state, _) => state.as_str(),
    };
    let load =
        |tell: fn(&starling_proto::members::Load) -> String| peer.load.as_ref().map_or_else(none, tell);
    [
        format!("{}{}", peer.node, if peer.is_self { " *" } else { "" }),
        format!("{}/{}", peer.region, peer.pop),
        status.to_owned(),
        if peer.in_ring { "yes" } else { "-" }.to_owned(),
        peer.address.map_or_else(none, |address| address.to_string()),
        if peer.is_self { none() } else { ago(peer.heard_ms_ago) },
        peer.rtt_us.map_or_else(none, |us| format!("{:.1} ms", f64::from(us) / 1000.0)),
        load(|load| format!("{:.0} %", f64::from(load.cpu_permille) / 10.0)),
        load(|load| load.requests_per_s.to_string()),
        load(|load| size(load.bytes_per_s)),
        peer.id.clone(),
    ]
}

fn ago(ms: u64) -> String {
    match ms {
        0..1_000 => format!("{ms} ms"),
        1_000..120_000 => format!("{:.1} s", ms as f64 / 1000.0),
        _ => format!("{} min", ms / 60_000),
    }
}

/// The ring of the PoP, and who owns what was asked about.
pub(in crate::cli) fn ring(answer: &Value) -> String {
    read(answer, |report: RingReport| {
        let rows: Vec<_> = report
            .nodes
            .iter()
            .map(|node| {
                let share = format!("{:.1} %", f64::from(node.share_permille) / 10.0);
                [node.node.clone(), node.weight.to_string(), share, node.id.clone()]
            })
            .collect();
        let columns =
            [Column::Left("NODE"), Column::Right("WEIGHT"), Column::Right("SHARE"), Column::Left("ID")];
        let mut text = format!("the ring of {}, as {} sees it", report.pop, report.node);
        if report.previous {
            text.push_str("; it changed lately, and the ring before it is still asked");
        }
        text.push('\n');
        text.push_str(&table(columns, &rows));
        if let Some(key) = report.key {
            let owner = report.owner.as_deref().unwrap_or("nobody");
            text.push_str(&format!("{key} is owned by {owner}"));
            let others = report.replicas.unwrap_or_default();
            if let Some(others) = others.get(1..).filter(|others| !others.is_empty()) {
                text.push_str(&format!(", then {}", others.join(", then ")));
            }
        }
        text
    })
}

/// The line of `starling status` about the mesh.
pub(super) fn line(mesh: &MeshStatus) -> String {
    let mut text = format!("{} alive", mesh.alive);
    for (count, what) in [(mesh.suspect, "suspect"), (mesh.dead, "dead"), (mesh.left, "left")] {
        if count > 0 {
            text.push_str(&format!(", {count} {what}"));
        }
    }
    let ring = match mesh.ring_nodes {
        1 => "1 node".to_owned(),
        nodes => format!("{nodes} nodes"),
    };
    let open = if mesh.open { "open" } else { "by ticket" };
    format!("{text}; {ring} in the ring; {} ({open})", mesh.address)
}

/// The lines of `starling status` about the region's group.
pub(super) fn group(group: &RegionStatus) -> Vec<String> {
    let role = match (group.role.as_str(), &group.leader) {
        ("none", None) => "not in the group".to_owned(),
        ("none", Some(leader)) => format!("not in the group, whose leader is {leader}"),
        ("leader", _) => "leader".to_owned(),
        (role, Some(leader)) => format!("{role}, the leader is {leader}"),
        (role, None) => format!("{role}, no leader is known"),
    };
    let committed = group.committed.as_deref().unwrap_or("nothing");
    let mut lines =
        vec![format!("{role}; term {}, epoch {}, committed {committed}", group.term, group.epoch)];
    let named = |nodes: &[String]| if nodes.is_empty() { "none".to_owned() } else { nodes.join(", ") };
    let mut members = format!("voters {}", named(&group.voters));
    if !group.learners.is_empty() {
        members.push_str(&format!("; learners {}", named(&group.learners)));
    }
    lines.push(members);
    lines.extend(group.problem.as_ref().map(|problem| format!("problem: {problem}")));
    lines
}

/// The line of `starling status` about what the node may do with what it has stored.
pub(super) fn trust(status: &StatusReport) -> String {
    if !status.caught_up {
        return "catching up: everything stored is revalidated before it is served".to_owned();
    }
    match status.fence_valid {
        true => format!("caught up, fence valid for {}", ago(status.fence_remaining_ms)),
        false => "caught up, no fence: services with freshness = \"strict\" revalidate every hit".to_owned(),
    }
}
