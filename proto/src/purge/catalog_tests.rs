use proptest::prelude::*;

use super::*;

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 32])
}

fn entry(region: &Region, index: u64, change: Change) -> Entry {
    let version = Version { epoch: 1 + index / 4, index: index % 4 + 1 };
    Entry { region: region.clone(), version, at_ms: 0, key: 0, change }
}

fn service(name: &str, at: Hlc, definition: Option<&str>) -> Change {
    let definition = definition.map(str::to_owned);
    Change::Service(ServiceChange { name: name.to_owned(), at, definition })
}

fn catalog<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> Catalog {
    let mut catalog = Catalog::default();
    entries.into_iter().for_each(|entry| {
        catalog.apply(entry);
    });
    catalog
}

#[test]
fn the_last_word_on_a_service_holds_also_when_it_deletes() {
    let eu = Region::new("eu");
    let first = Hlc { ms: 5, count: 0, node: node(1) };
    let second = first.next(node(2), 3);
    let set = entry(&eu, 0, service("shop", first, Some("a")));
    let deleted = entry(&eu, 1, service("shop", second, None));
    let mut catalog = catalog([&deleted]);
    assert!(!catalog.apply(&set), "it was said before the service was deleted");
    assert_eq!(catalog.service("shop").map(|change| change.definition.as_deref()), Some(None));
    assert_eq!(catalog.latest(), second);
    assert!(!catalog.apply(&deleted), "once");
}

#[test]
fn a_catalog_takes_so_many_names_and_so_much_text_and_can_always_be_made_smaller() {
    let at = |ms| Hlc { ms, count: 0, node: node(1) };
    let eu = Region::new("eu");
    let mut many = Catalog::default();
    for number in 0..Catalog::NAMES_MAX {
        let name = number.to_string();
        assert_eq!(many.room_for(&name, Some("")), Ok(()));
        many.apply(&entry(&eu, 0, service(&name, at(1), (number % 2 == 0).then_some(""))));
    }
    assert!(many.room_for("other", None).is_err_and(|why| why.contains("4096")));
    assert_eq!((many.room_for("0", None), many.room_for("1", Some("back"))), (Ok(()), Ok(())));

    let mut long = Catalog::default();
    let half = "x".repeat(Catalog::TEXT_BYTES_MAX / 2 - 1);
    long.apply(&entry(&eu, 0, service("a", at(1), Some(&half))));
    assert_eq!(long.room_for("b", Some(&half)), Ok(()), "to the last byte");
    assert!(long.room_for("b", Some(&format!("{half}x"))).is_err_and(|why| why.contains("1048576")));
    // Another region set it, and did not know of the first.
    long.apply(&entry(&eu, 0, service("b", at(1), Some(&format!("{half}xx")))));
    assert!(long.room_for("c", None).is_err() && long.room_for("a", Some(&format!("{half}x"))).is_err());
    assert_eq!((long.room_for("a", Some(&half)), long.room_for("b", None)), (Ok(()), Ok(())));
    let base = long.base(&eu);
    assert_eq!(base.text_bytes(), Catalog::TEXT_BYTES_MAX + 2);
    assert_eq!((base.room_for("c", None).is_err(), base.room_for("b", None)), (true, Ok(())));
}

#[test]
fn shields_of_a_later_life_or_entry_hold() {
    let eu = Region::new("eu");
    let of = |byte| Shields(vec![Shield { node: node(byte), weight: 100 }]);
    let shields = |epoch, index, byte| Entry {
        version: Version { epoch, index },
        ..entry(&eu, 0, Change::Shields(of(byte)))
    };
    let mut catalog = catalog([&shields(1, 9, 1), &shields(2, 1, 2)]);
    assert!(!catalog.apply(&shields(1, 10, 3)), "that life is over");
    assert!(!catalog.apply(&shields(2, 1, 2)), "once");
    assert!(
        !catalog
            .adopt(&eu, &Base { shields: Some((Version { epoch: 1, index: 12 }, of(4))), services: vec![] })
    );
    let known: Vec<_> =
        catalog.shields().map(|(region, version, shields)| (region, version.epoch, shields)).collect();
    assert_eq!(known, [(&eu, 2, &of(2))]);
}

/// The count once stayed at its end: two times were the same.
#[test]
fn the_clock_goes_on_where_its_count_ends() {
    let last = Hlc { ms: 7, count: u32::MAX, node: node(9) };
    assert!(last.next(node(1), 3) > last);
}

/// A log: what each entry changes. A clock that was seen goes on, by a wall clock that may step back.
fn any_log() -> impl Strategy<Value = Vec<(u8, bool, u64)>> {
    proptest::collection::vec((0u8..5, any::<bool>(), 0u64..20), 0..10)
}

/// The entries of a region's log; times are of the region's own node, so no two are the same.
fn entries(name: &str, log: &[(u8, bool, u64)]) -> Vec<Entry> {
    let region = Region::new(name);
    let me = node(name.as_bytes()[0]);
    let mut clock = Hlc::default();
    let mut changes = Vec::new();
    for (what, is_deleted, now) in log {
        clock = clock.next(me, *now);
        changes.push(match what {
            0 => Change::Nothing,
            1 => {
                Change::Shields(Shields(vec![Shield { node: me, weight: u16::try_from(*now).unwrap_or(1) }]))
            }
            _ => service(&what.to_string(), clock, (!is_deleted).then_some(name)),
        });
    }
    (0..).zip(changes).map(|(index, change)| entry(&region, index, change)).collect()
}

/// Both logs in one order, each in its own.
fn merged<'a>(one: &'a [Entry], other: &'a [Entry], turns: &[bool]) -> Vec<&'a Entry> {
    let (mut one, mut other) = (one.iter(), other.iter());
    let mut all = Vec::new();
    for turn in turns {
        all.extend(if *turn { one.next() } else { other.next() });
    }
    all.into_iter().chain(one).chain(other).collect()
}

fn any_turns() -> impl Strategy<Value = Vec<bool>> {
    proptest::collection::vec(any::<bool>(), 0..20)
}

proptest! {
    #[test]
    fn all_nodes_come_to_the_same_in_whatever_order_the_logs_come(
        eu in any_log(), us in any_log(), one in any_turns(), other in any_turns(),
    ) {
        let (eu, us) = (entries("eu", &eu), entries("us", &us));
        prop_assert_eq!(catalog(merged(&eu, &us, &one)), catalog(merged(&eu, &us, &other)));
    }

    /// Who steps over entries takes the base of a node that applied them, and perhaps more of other logs.
    #[test]
    fn a_base_and_the_rest_are_the_whole(
        eu in any_log(), us in any_log(), turns in any_turns(), over in 0usize..10, theirs in 0usize..10, later in any::<bool>(),
    ) {
        let (eu, us) = (entries("eu", &eu), entries("us", &us));
        let over = over.min(eu.len());
        let base = catalog(eu[..over].iter().chain(&us[..theirs.min(us.len())])).base(&Region::new("eu"));
        let mut stepped = if later { catalog(&us) } else { Catalog::default() };
        stepped.adopt(&Region::new("eu"), &base);
        prop_assert!(!stepped.adopt(&Region::new("eu"), &base), "once");
        merged(&eu[over..], &us, &turns).into_iter().for_each(|entry| { stepped.apply(entry); });
        prop_assert_eq!(stepped, catalog(eu.iter().chain(&us)));
    }

    #[test]
    fn the_clock_never_goes_back(
        eu in any_log(), us in any_log(), turns in any_turns(), now in 0u64..20, ms in 0u64..20, count in any::<u32>(),
    ) {
        let (eu, us) = (entries("eu", &eu), entries("us", &us));
        let mut seen = Catalog::default();
        for entry in merged(&eu, &us, &turns) {
            let before = seen.latest();
            let was = seen.clone();
            prop_assert_eq!(seen.apply(entry), seen != was);
            prop_assert!(seen.latest() >= before && seen.latest().next(node(0), now) > seen.latest());
        }
        let at = Hlc { ms, count, node: node(200) };
        let next = at.next(node(0), now);
        prop_assert!(next > at && next.ms >= now);
    }
}
