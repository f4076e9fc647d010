//! Messages to test with: one fixed of each kind, and any at all.

use core::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use proptest::{
    collection::vec,
    option,
    prelude::{Just, Strategy, any, prop_oneof},
};

use super::*;
use crate::{
    Key, NodeId,
    members::{Addresses, HOT_KEYS_MAX, Health, Load, NodeState, PopSummary, Profile, RosterEntry, Status},
    purge::{
        Base, Batch, Change, Entry, EntryId, Hlc, Mode, Purge, Region, Selector, ServiceChange, Shield,
        Shields, Version, Versions,
    },
    ring::Hop,
    ticket::{Claim, Ticket},
};

pub(super) fn profile() -> Profile {
    let claim = Claim {
        node: NodeId::from_bytes([0xab; 32]),
        name: "lon-1".into(),
        region: "eu".into(),
        pop: "lon".into(),
        may_shield: true,
        expires_ms: 1_800_000_000_000,
    };
    let mesh = ([192, 0, 2, 1], 7000).into();
    let link_quic = "[2001:db8::1]:7001".parse().expect("an address");
    Profile {
        ticket: Ticket { claim, signature: Some(vec![0xcd; 64]) },
        incarnation: 1_700_000_000_000,
        addresses: Addresses { mesh, link_quic },
        weight: 100,
    }
}

pub(super) fn versions() -> Versions {
    let mut versions = Versions::default();
    versions.set(Region::new("eu:lon-1"), Version { epoch: 3, index: 300 });
    versions.set(Region::new("us"), Version { epoch: 1, index: 70_000 });
    versions
}

pub(super) fn load() -> Load {
    Load {
        cpu_permille: 250,
        in_flight: 12,
        peer_in_flight: 3,
        requests_per_s: 4_000,
        bytes_per_s: 5_000_000_000,
        memory_permille: 999,
    }
}

pub(super) fn state() -> NodeState {
    NodeState {
        profile: profile(),
        seq: 42,
        load: load(),
        health: Health { ready: true, draining: false, origins_ok: true, disk_ok: false },
        versions: versions(),
        hot: vec![Key::of("hot"), Key::of("hotter")],
        leaving: true,
    }
}

pub(super) fn hello() -> Hello {
    Hello { state: state(), roster: vec![RosterEntry { profile: profile(), status: Status::Suspect }] }
}

pub(super) fn fields() -> Vec<(String, Bytes)> {
    vec![("accept".into(), Bytes::from_static(b"*/*")), ("cookie".into(), Bytes::from_static(b"a=\xff"))]
}

pub(super) fn fetch() -> Fetch {
    Fetch {
        request: HttpRequest {
            method: "GET".into(),
            is_https: true,
            authority: "example.com:8443".into(),
            path_and_query: "/film?part=1".into(),
            version: 20,
            headers: fields(),
            client: "[2001:db8::2]:50000".parse().expect("an address"),
        },
        hop: Hop::Owner,
        stored_only: true,
        until: Some(64 << 20),
        versions: versions(),
        deadline_ms: 15_000,
        trace: 0x0123_4567_89ab_cdef,
    }
}

pub(super) fn answer() -> Answer {
    Answer {
        status: 206,
        headers: fields(),
        stored: Some(Provenance {
            stamp: versions(),
            resident_ms: 70_000,
            response_delay_ms: 30,
            initial_age_ms: 0,
            fetched: true,
        }),
        range: (10, u64::MAX),
        cache_status: "lon-1; hit; ttl=60".into(),
        source: "lon-1".into(),
    }
}

pub(super) fn summary() -> Gossip {
    Gossip::Summary(Box::new(PopSummary {
        region: "eu".into(),
        pop: "lon".into(),
        seq: 7,
        load: load(),
        roster: hello().roster,
        roster_hash: u64::MAX,
    }))
}

pub(super) fn id() -> EntryId {
    EntryId { region: Region::new("eu"), version: Version { epoch: 0x19a, index: 42 } }
}

/// A batch with a base, and an entry for each kind of change, and of a purge for each kind of selector.
pub(super) fn batch() -> Batch {
    let node = NodeId::from_bytes([7; 32]);
    let shields = Shields(vec![Shield { node, weight: 100 }]);
    let service = |definition: Option<&str>| ServiceChange {
        name: "shop".into(),
        at: Hlc { ms: 1_700_000_000_000, count: 2, node },
        definition: definition.map(String::from),
    };
    let changes = [
        purge(),
        Change::Nothing,
        Change::Service(service(Some("hosts = 'shop.org'"))),
        Change::Shields(shields.clone()),
    ];
    let EntryId { region, version } = id();
    let entries = changes.into_iter().zip(version.index..).map(|(change, index)| Entry {
        region: region.clone(),
        version: Version { index, ..version },
        at_ms: 1_700_000_000_000,
        key: u128::MAX - 1,
        change,
    });
    Batch {
        region: region.clone(),
        since: 0x199,
        after: Version { index: version.index - 1, ..version },
        base: Some(Base { shields: Some((version, shields)), services: vec![service(None)] }),
        entries: entries.collect(),
    }
}

fn purge() -> Change {
    let selectors = vec![
        Selector::Url("shop.org/a?b=1".into()),
        Selector::Tag("article-7".into()),
        Selector::Host("shop.org".into()),
        Selector::Prefix("shop.org/img/".into()),
        Selector::Service,
    ];
    Change::Purge(Purge { service: "shop".into(), selectors, mode: Mode::Soft })
}

pub(super) fn push() -> Call {
    Call::Push { batch: batch(), relay: vec![NodeId::from_bytes([8; 32])] }
}

pub(super) fn propose() -> Call {
    Call::Propose(Proposal { key: 7, at_ms: 1_700_000_000_000, change: purge(), deadline_ms: 5_000 })
}

pub(super) fn proposed() -> Reply {
    Reply::Proposed(Ok(Committed { id: id(), at_ms: 1_700_000_000_000, fence_ms: 5_000 }))
}

pub(super) fn lease() -> Lease {
    Lease { region: id().region, head: id().version, remaining_ms: 4_210 }
}

pub(super) fn receipt() -> Receipt {
    Receipt { applied: vec![(NodeId::from_bytes([7; 32]), 71)], missing: vec![NodeId::from_bytes([8; 32])] }
}

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![Just(String::new()), "[ -~]{0,40}", "\\PC{0,10}"]
}

fn any_node() -> impl Strategy<Value = NodeId> {
    any::<[u8; 32]>().prop_map(NodeId::from_bytes)
}

/// Numbers that are written in one, three, five and nine bytes.
fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![0..4_u64, 0..70_000_u64, any::<u64>(), Just(u64::MAX)]
}

fn any_versions(most: usize) -> impl Strategy<Value = Versions> {
    vec((any_text(), any_number(), any_number()), 0..=most).prop_map(|entries| {
        let mut versions = Versions::default();
        for (region, epoch, index) in entries {
            versions.set(Region::new(&region), Version { epoch, index });
        }
        versions
    })
}

/// Zones and flow labels of IPv6 are not written: they mean nothing to another machine.
fn any_address() -> impl Strategy<Value = SocketAddr> {
    (any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from)
}

fn any_profile() -> impl Strategy<Value = Profile> {
    let names = (any_text(), any_text(), any_text());
    let signature = option::of(vec(any::<u8>(), 0..80));
    let addresses = (any_address(), any_address());
    (any_node(), names, any::<bool>(), any_number(), signature, addresses, any::<u16>()).prop_map(
        |(node, (name, region, pop), may_shield, number, signature, (mesh, link_quic), weight)| Profile {
            ticket: Ticket {
                claim: Claim { node, name, region, pop, may_shield, expires_ms: number },
                signature,
            },
            incarnation: number,
            addresses: Addresses { mesh, link_quic },
            weight,
        },
    )
}

fn any_roster(most: usize) -> impl Strategy<Value = Vec<RosterEntry>> {
    let status =
        prop_oneof![Just(Status::Alive), Just(Status::Suspect), Just(Status::Dead), Just(Status::Left)];
    vec((any_profile(), status).prop_map(|(profile, status)| RosterEntry { profile, status }), 0..=most)
}

fn any_load() -> impl Strategy<Value = Load> {
    (any::<[u16; 2]>(), any::<[u32; 3]>(), any_number()).prop_map(|(permille, counts, bytes_per_s)| Load {
        cpu_permille: permille[0],
        in_flight: counts[0],
        peer_in_flight: counts[1],
        requests_per_s: counts[2],
        bytes_per_s,
        memory_permille: permille[1],
    })
}

fn any_state() -> impl Strategy<Value = NodeState> {
    let hot = vec(any::<[u8; 16]>().prop_map(Key::from_bytes), 0..=HOT_KEYS_MAX);
    (any_profile(), any_number(), any_load(), any::<[bool; 5]>(), any_versions(4), hot).prop_map(
        |(profile, seq, load, [ready, draining, origins_ok, disk_ok, leaving], versions, hot)| NodeState {
            profile,
            seq,
            load,
            health: Health { ready, draining, origins_ok, disk_ok },
            versions,
            hot,
            leaving,
        },
    )
}

pub(super) fn any_hello() -> impl Strategy<Value = Hello> {
    (any_state(), any_roster(5)).prop_map(|(state, roster)| Hello { state, roster })
}

fn any_fields() -> impl Strategy<Value = Vec<(String, Bytes)>> {
    vec((any_text(), vec(any::<u8>(), 0..20).prop_map(Bytes::from)), 0..12)
}

pub(super) fn any_fetch() -> impl Strategy<Value = Fetch> {
    let hop = prop_oneof![Just(Hop::Client), Just(Hop::Owner), Just(Hop::Shield), Just(Hop::Origin)];
    let request =
        (any_text(), any::<bool>(), any_text(), any_text(), any::<u8>(), any_fields(), any_address());
    let request =
        request.prop_map(|(method, is_https, authority, path_and_query, version, headers, client)| {
            HttpRequest { method, is_https, authority, path_and_query, version, headers, client }
        });
    (request, hop, any::<bool>(), option::of(any_number()), any_versions(4), any::<u32>(), any::<u64>())
        .prop_map(|(request, hop, stored_only, until, versions, deadline_ms, trace)| Fetch {
            request,
            hop,
            stored_only,
            until,
            versions,
            deadline_ms,
            trace,
        })
}

pub(super) fn any_answer() -> impl Strategy<Value = Answer> {
    let stored = (any_versions(4), any_number(), any_number(), any_number(), any::<bool>()).prop_map(
        |(stamp, resident_ms, response_delay_ms, initial_age_ms, fetched)| Provenance {
            stamp,
            resident_ms,
            response_delay_ms,
            initial_age_ms,
            fetched,
        },
    );
    (any::<u16>(), any_fields(), option::of(stored), (any_number(), any_number()), any_text(), any_text())
        .prop_map(|(status, headers, stored, range, cache_status, source)| Answer {
            status,
            headers,
            stored,
            range,
            cache_status,
            source,
        })
}

pub(super) fn any_refusal() -> impl Strategy<Value = Refusal> {
    prop_oneof![
        Just(Refusal::NotStored),
        Just(Refusal::Busy),
        Just(Refusal::Draining),
        Just(Refusal::NotServed),
        any_text().prop_map(Refusal::Failed),
    ]
}

pub(super) fn any_call() -> impl Strategy<Value = Call> {
    prop_oneof![
        Just(Call::Ping),
        any_node().prop_map(Call::PingFor),
        (any_batch(), vec(any_node(), 0..3)).prop_map(|(batch, relay)| Call::Push { batch, relay }),
        any_versions(4).prop_map(Call::Missing),
        any_bytes().prop_map(Call::Group),
        (any::<u128>(), any_number(), any_change(), any::<u32>()).prop_map(
            |(key, at_ms, change, deadline_ms)| Call::Propose(Proposal { key, at_ms, change, deadline_ms })
        ),
        Just(Call::Head),
        Just(Call::Leases),
        (any_id(), any::<u32>()).prop_map(|(id, wait_ms)| Call::Receipt { id, wait_ms }),
    ]
}

fn any_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn any_version() -> impl Strategy<Value = Version> {
    (any_number(), any_number()).prop_map(|(epoch, index)| Version { epoch, index })
}

fn any_region() -> impl Strategy<Value = Region> {
    any_text().prop_map(|name| Region::new(&name))
}

fn any_id() -> impl Strategy<Value = EntryId> {
    (any_region(), any_version()).prop_map(|(region, version)| EntryId { region, version })
}

fn any_shields() -> impl Strategy<Value = Shields> {
    vec((any_node(), any::<u16>()).prop_map(|(node, weight)| Shield { node, weight }), 0..4).prop_map(Shields)
}

fn any_service() -> impl Strategy<Value = ServiceChange> {
    (any_text(), any_number(), any::<u32>(), any_node(), option::of(any_text())).prop_map(
        |(name, ms, count, node, definition)| ServiceChange { name, at: Hlc { ms, count, node }, definition },
    )
}

fn any_change() -> impl Strategy<Value = Change> {
    let selector = prop_oneof![any_text().prop_map(Selector::Tag), Just(Selector::Service)];
    let mode = prop_oneof![Just(Mode::Soft), Just(Mode::Hard)];
    let purge = (any_text(), vec(selector, 0..3), mode).prop_map(|(service, selectors, mode)| Purge {
        service,
        selectors,
        mode,
    });
    prop_oneof![
        Just(Change::Nothing),
        purge.prop_map(Change::Purge),
        any_service().prop_map(Change::Service),
        any_shields().prop_map(Change::Shields),
    ]
}

fn any_batch() -> impl Strategy<Value = Batch> {
    let entry = (any_region(), any_version(), any_number(), any::<u128>(), any_change())
        .prop_map(|(region, version, at_ms, key, change)| Entry { region, version, at_ms, key, change });
    let base = (option::of((any_version(), any_shields())), vec(any_service(), 0..3))
        .prop_map(|(shields, services)| Base { shields, services });
    (any_region(), any_number(), any_version(), option::of(base), vec(entry, 0..4))
        .prop_map(|(region, since, after, base, entries)| Batch { region, since, after, base, entries })
}

fn any_receipt() -> impl Strategy<Value = Receipt> {
    (vec((any_node(), any_number()), 0..3), vec(any_node(), 0..3))
        .prop_map(|(applied, missing)| Receipt { applied, missing })
}

fn any_lease() -> impl Strategy<Value = Lease> {
    (any_region(), any_version(), any_number()).prop_map(|(region, head, remaining_ms)| Lease {
        region,
        head,
        remaining_ms,
    })
}

fn any_proposed() -> impl Strategy<Value = Result<Committed, NotCommitted>> {
    prop_oneof![
        (any_id(), any_number(), any_number()).prop_map(|(id, at_ms, fence_ms)| Ok(Committed {
            id,
            at_ms,
            fence_ms
        })),
        (any_region(), any_text()).prop_map(|(region, why)| Err(NotCommitted::NoQuorum { region, why })),
        (any_text(), any_text()).prop_map(|(node, why)| Err(NotCommitted::NotDurable { node, why })),
        any_text().prop_map(|why| Err(NotCommitted::Unknown(why))),
        any_text().prop_map(|why| Err(NotCommitted::Refused(why))),
    ]
}

pub(super) fn any_reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        Just(Reply::Pong),
        (any_node(), any::<bool>()).prop_map(|(node, answered)| Reply::PongOf(node, answered)),
        any_refusal().prop_map(Reply::Refused),
        vec((any_node(), option::of(any_version())).prop_map(|(node, at)| Reach { node, at }), 0..4)
            .prop_map(Reply::Reached),
        vec(any_batch(), 0..3).prop_map(Reply::Batches),
        any_bytes().prop_map(Reply::Group),
        any_proposed().prop_map(Reply::Proposed),
        option::of(any_lease()).prop_map(Reply::Head),
        vec(any_lease(), 0..4).prop_map(Reply::Leases),
        option::of(any_receipt()).prop_map(Reply::Receipt),
    ]
}

pub(super) fn any_gossip() -> impl Strategy<Value = Gossip> {
    let summary = (any_text(), any_text(), any_number(), any_load(), any_roster(5), any_number()).prop_map(
        |(region, pop, seq, load, roster, roster_hash)| PopSummary {
            region,
            pop,
            seq,
            load,
            roster,
            roster_hash,
        },
    );
    prop_oneof![
        any_state().prop_map(|state| Gossip::State(Box::new(state))),
        summary.prop_map(|summary| Gossip::Summary(Box::new(summary))),
    ]
}
