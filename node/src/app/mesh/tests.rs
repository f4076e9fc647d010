//! Which life of the node begins, and who is asked first.

use super::*;

fn node(data: &Path) -> NodeSettings {
    NodeSettings {
        name: "lon-1".to_owned(),
        region: "eu".to_owned(),
        pop: "lon".to_owned(),
        data: data.to_owned(),
    }
}

/// A torn write once kept the node from starting until somebody removed the file.
#[test]
fn every_life_is_later_than_the_one_before_and_a_torn_file_stops_none() {
    let dir = tempfile::tempdir().expect("a directory");
    let (node, path) = (node(dir.path()), dir.path().join("incarnation"));
    assert_eq!(incarnation(&node, 1_000).expect("begins"), 1_000);
    assert_eq!(incarnation(&node, 500).expect("begins"), 1_001, "the clock was set back");
    for torn in [&b""[..], b"garbled", b"\xff\xfe", b"-7"] {
        std::fs::write(&path, torn).expect("writes");
        assert_eq!(incarnation(&node, 2_000).expect("begins"), 2_000);
        assert_eq!(std::fs::read_to_string(&path).expect("reads"), "2000", "and it is whole again");
    }
}

#[test]
fn the_nearest_is_asked_first_and_one_of_each_region_before_a_second() {
    let id = |seed: u8| NodeId::from_bytes([seed; 32]);
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let member = |(seed, region, rtt_us, status): (u8, &str, Option<u32>, Status)| {
        let claim = Claim {
            node: id(seed),
            name: format!("n{seed}"),
            region: region.to_owned(),
            pop: "p".to_owned(),
            may_shield: true,
            expires_ms: u64::MAX,
        };
        let profile = Profile {
            ticket: starling_proto::ticket::Ticket { claim, signature: None },
            incarnation: 1,
            addresses: Addresses { mesh: nowhere, link_quic: nowhere },
            weight: 100,
        };
        (id(seed), Member { passed_over: false, rtt_us, ..Member::new(profile, status) })
    };
    let view = View {
        me: id(1),
        members: [
            (1, "eu", None, Status::Alive),
            (2, "eu", Some(10), Status::Alive),
            (3, "us", Some(300), Status::Alive),
            (4, "us", Some(200), Status::Alive),
            (5, "ap", Some(900), Status::Alive),
            (6, "ap", Some(100), Status::Suspect),
            (7, "ap", None, Status::Dead),
        ]
        .into_iter()
        .map(member)
        .collect(),
        ring: Arc::new(Ring::new(&[])),
        previous: None,
        hot: Arc::default(),
    };
    assert_eq!(nearest(&view, |claim| claim.region == "us"), [id(4), id(3)]);
    assert_eq!(nearest_of_each(&view), [4, 5, 3, 6].map(id), "those that are suspected come last");
    assert_eq!((view.name_of(&id(4)), view.name_of(&id(9))), ("n4".to_owned(), id(9).to_string()));
}
