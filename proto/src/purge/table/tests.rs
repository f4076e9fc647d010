use proptest::prelude::*;

use super::*;

fn eu() -> Region {
    Region::new("eu")
}

fn entry(epoch: u64, index: u64, mode: Mode, selector: Selector) -> Entry {
    Entry {
        region: eu(),
        version: Version { epoch, index },
        at_ms: index * 10,
        service: "shop".to_owned(),
        selectors: vec![selector],
        mode,
    }
}

fn hard(index: u64, selector: Selector) -> Entry {
    entry(1, index, Mode::Hard, selector)
}

fn stamp(epoch: u64, index: u64) -> Versions {
    let mut versions = Versions::default();
    versions.set(eu(), Version { epoch, index });
    versions
}

/// A table that applied these, in this order.
fn table(entries: &[Entry]) -> PurgeTable {
    let mut table = PurgeTable::default();
    for entry in entries {
        table.apply(entry).expect("entries follow each other");
    }
    table
}

fn tags() -> Vec<String> {
    vec!["red".to_owned(), "blue".to_owned()]
}

/// What the table says of `shop.org:8080/cart/x?y=1`, tagged red and blue.
fn check(table: &PurgeTable, stamp: &Versions) -> Purged {
    check_url(table, "shop.org:8080/cart/x?y=1", stamp)
}

fn check_url(table: &PurgeTable, url: &str, stamp: &Versions) -> Purged {
    table.check(Subject { service: "shop", url, tags: &tags() }, stamp)
}

fn naming() -> Vec<Selector> {
    vec![
        Selector::Service,
        Selector::Host("shop.org".to_owned()),
        Selector::Host("shop.org:8080".to_owned()),
        Selector::Url("shop.org:8080/cart/x?y=1".to_owned()),
        Selector::Tag("red".to_owned()),
        Selector::Tag("blue".to_owned()),
        Selector::Prefix("shop.org:8080/cart".to_owned()),
        Selector::Prefix("shop.org:8080/cart/x".to_owned()),
        Selector::Prefix(String::new()),
    ]
}

fn not_naming() -> Vec<Selector> {
    vec![
        Selector::Host("org".to_owned()),
        Selector::Host("shop.org:80".to_owned()),
        Selector::Url("shop.org:8080/cart/x".to_owned()),
        Selector::Url("shop.org/cart/x?y=1".to_owned()),
        Selector::Tag("green".to_owned()),
        Selector::Tag("re".to_owned()),
        Selector::Prefix("shop.org:8080/cart/x?".to_owned()),
        Selector::Prefix("hop.org".to_owned()),
        Selector::Prefix("shop.org:8080/cart/xy".to_owned()),
    ]
}

#[test]
fn a_purge_finds_what_was_fetched_before_it() {
    for selector in naming() {
        let table = table(&[hard(1, selector.clone())]);
        assert_eq!(check(&table, &stamp(1, 0)), Purged::Hard, "{selector:?}");
        assert_eq!(check(&table, &stamp(1, 1)), Purged::No, "{selector:?}");
        assert_eq!(check(&table, &stamp(1, 2)), Purged::No, "{selector:?}");
    }
}

#[test]
fn a_purge_leaves_what_it_does_not_name() {
    for selector in not_naming() {
        let table = table(&[hard(1, selector.clone())]);
        assert_eq!(check(&table, &stamp(1, 0)), Purged::No, "{selector:?}");
    }
}

#[test]
fn services_do_not_see_each_others_purges() {
    let table = table(&[hard(1, Selector::Service)]);
    let subject = Subject { service: "blog", url: "shop.org:8080/cart/x?y=1", tags: &[] };
    assert_eq!(table.check(subject, &stamp(1, 0)), Purged::No);
}

#[test]
fn a_stamp_that_does_not_know_the_region_is_before_all_its_purges() {
    let table = table(&[hard(1, Selector::Service)]);
    assert_eq!(check(&table, &Versions::default()), Purged::Hard);
}

#[test]
fn a_soft_purge_does_not_soften_a_hard_one() {
    let soft = entry(1, 2, Mode::Soft, Selector::Service);
    let table = table(&[hard(1, Selector::Service), soft]);
    assert_eq!(check(&table, &stamp(1, 0)), Purged::Hard);
    assert_eq!(check(&table, &stamp(1, 1)), Purged::Soft);
    assert_eq!(check(&table, &stamp(1, 2)), Purged::No);
}

#[test]
fn a_host_of_address_form_has_its_port_apart() {
    let table = table(&[hard(1, Selector::Host("[::1]".to_owned()))]);
    assert_eq!(check_url(&table, "[::1]/", &stamp(1, 0)), Purged::Hard);
    assert_eq!(check_url(&table, "[::1]:8080/", &stamp(1, 0)), Purged::Hard);
    assert_eq!(check_url(&table, "[::2]/", &stamp(1, 0)), Purged::No);
}

#[test]
fn a_prefix_that_ends_inside_a_character_matches_nothing() {
    let table = table(&[hard(1, Selector::Prefix("h/aa".to_owned()))]);
    assert_eq!(check_url(&table, "h/aé", &stamp(1, 0)), Purged::No);
}

#[test]
fn entries_apply_in_order_and_once() {
    let mut table = table(&[hard(1, Selector::Service)]);
    let (seq, applied) = (table.seq(), table.applied().clone());
    let again = ApplyError::Old { region: eu(), got: 1 };
    let gap = ApplyError::Gap { region: eu(), applied: 1, got: 3 };
    assert_eq!(table.apply(&hard(1, Selector::Tag("red".to_owned()))), Err(again));
    assert_eq!(table.apply(&hard(3, Selector::Tag("red".to_owned()))), Err(gap));
    assert_eq!((table.seq(), table.applied(), table.len()), (seq, &applied, 1), "a refusal changes nothing");
    assert_eq!(table.apply(&hard(2, Selector::Service)), Ok(()));
    assert_eq!(table.seq(), seq + 1);
}

/// The table once took any index as the first of a region or epoch: the purges before it were never
/// applied, and nobody asked for them.
#[test]
fn a_region_or_epoch_begins_with_its_first_entry() {
    let gap = Err(ApplyError::Gap { region: eu(), applied: 0, got: 2 });
    assert_eq!(PurgeTable::default().apply(&hard(2, Selector::Service)), gap);
    let mut reborn = table(&[hard(1, Selector::Service)]);
    assert_eq!(reborn.apply(&entry(9, 2, Mode::Hard, Selector::Service)), gap);
    assert_eq!(reborn.apply(&entry(9, 1, Mode::Hard, Selector::Service)), Ok(()));
    assert_eq!(reborn.applied().get(&eu()), Some(Version { epoch: 9, index: 1 }));
    assert_eq!(PurgeTable::new(stamp(1, 7)).apply(&hard(8, Selector::Service)), Ok(()));
}

#[test]
fn a_reborn_region_makes_old_objects_revalidate() {
    let table =
        table(&[hard(1, Selector::Service), entry(2, 1, Mode::Soft, Selector::Tag("green".to_owned()))]);
    assert_eq!(check(&table, &stamp(1, 1)), Purged::Soft);
    assert_eq!(check(&table, &stamp(2, 0)), Purged::No);
    let other = Subject { service: "blog", url: "h/", tags: &[] };
    assert_eq!(table.check(other, &stamp(1, 1)), Purged::Soft);
}

/// The rebirth once hid the purges after it: a hard-purged object was revalidated, and a 304 brought it back.
#[test]
fn a_hard_purge_after_a_rebirth_is_hard_for_objects_from_before_it() {
    let table =
        table(&[hard(1, Selector::Tag("green".to_owned())), entry(2, 1, Mode::Hard, Selector::Service)]);
    assert_eq!(check(&table, &stamp(1, 1)), Purged::Hard);
    assert_eq!(check(&table, &stamp(2, 0)), Purged::Hard);
    assert_eq!(check(&table, &stamp(2, 1)), Purged::No);
}

/// A restored mark of the old life once replaced the one of the new, and with it its purge.
#[test]
fn entries_of_two_lives_are_restored_in_any_order() {
    let (old, new) = (hard(5, Selector::Service), entry(2, 1, Mode::Hard, Selector::Service));
    for order in [[&old, &new], [&new, &old]] {
        let mut table = PurgeTable::new(stamp(2, 1));
        let seq = table.seq();
        order.into_iter().for_each(|entry| table.restore(entry));
        assert_eq!(table.applied(), &stamp(2, 1));
        assert_eq!(table.seq(), seq + 2);
        assert_eq!(check(&table, &stamp(2, 0)), Purged::Hard);
        assert_eq!(check(&table, &stamp(2, 1)), Purged::No);
        assert_eq!(check(&table, &stamp(1, 4)), Purged::Hard);
    }
}

#[test]
fn the_sweep_takes_what_is_older_than_any_object() {
    let entries: Vec<_> = (1..).zip(naming()).map(|(index, selector)| hard(index, selector)).collect();
    let mut table = table(&entries);
    let all = entries.len();
    assert_eq!((table.len(), table.sweep(0)), (all, 0));
    assert_eq!(table.sweep(30), 2, "those of 10 and 20 ms");
    assert_eq!(check(&table, &stamp(1, 0)), Purged::Hard);
    assert_eq!(table.sweep(1000), all - 2);
    assert!(table.is_empty());
    assert_eq!(check(&table, &stamp(1, 0)), Purged::No);
    assert_eq!(table.applied(), &stamp(1, all as u64), "how far the log is applied is not forgotten");
}

#[test]
fn the_sweep_does_not_come_early_for_a_clock_that_stepped_back() {
    let later = Entry { at_ms: 500, ..hard(1, Selector::Service) };
    let earlier = Entry { at_ms: 100, ..hard(2, Selector::Service) };
    let mut table = table(&[later, earlier]);
    table.sweep(300);
    assert_eq!(check(&table, &stamp(1, 1)), Purged::Hard);
}

#[test]
fn a_prefix_length_is_forgotten_with_its_last_prefix() {
    let mut table =
        table(&[hard(1, Selector::Prefix("ab".to_owned())), hard(2, Selector::Prefix("cd".to_owned()))]);
    table.sweep(20);
    assert_eq!(check_url(&table, "cd/", &stamp(1, 0)), Purged::Hard);
    table.sweep(30);
    assert!(table.is_empty());
}

fn any_selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        Just(Selector::Service),
        "[ab]".prop_map(Selector::Host),
        "[ab]/[ab]{0,2}(\\?[ab])?".prop_map(Selector::Url),
        "[ab]".prop_map(Selector::Tag),
        "[ab]?/?[ab]{0,2}".prop_map(Selector::Prefix),
    ]
}

fn any_entry() -> impl Strategy<Value = (Selector, bool)> {
    (any_selector(), any::<bool>())
}

fn names(selector: &Selector, url: &str, tags: &[String]) -> bool {
    match selector {
        Selector::Service => true,
        Selector::Host(host) => url.split('/').next() == Some(host),
        Selector::Url(named) => named == url,
        Selector::Tag(tag) => tags.contains(tag),
        Selector::Prefix(prefix) => {
            url.split('?').next().is_some_and(|path| path.starts_with(prefix.as_str()))
        }
    }
}

proptest! {
    /// The table against its definition: walk the log, take the hardest entry above the stamp that names it.
    #[test]
    fn the_table_says_what_the_log_says(
        log in proptest::collection::vec(any_entry(), 0..12),
        url in "[ab]/[ab]{0,3}(\\?[ab])?",
        tags in proptest::collection::vec("[ab]", 0..3),
        at in 0u64..13,
    ) {
        let entries: Vec<Entry> = (1..)
            .zip(&log)
            .map(|(index, (selector, soft))| {
                entry(1, index, if *soft { Mode::Soft } else { Mode::Hard }, selector.clone())
            })
            .collect();
        let expected = entries
            .iter()
            .filter(|entry| entry.version.index > at && names(&entry.selectors[0], &url, &tags))
            .map(|entry| if entry.mode == Mode::Hard { Purged::Hard } else { Purged::Soft })
            .max()
            .unwrap_or(Purged::No);
        let subject = Subject { service: "shop", url: &url, tags: &tags };
        prop_assert_eq!(table(&entries).check(subject, &stamp(1, at)), expected);

        let mut restored = PurgeTable::new(stamp(1, entries.len() as u64));
        entries.iter().rev().for_each(|entry| restored.restore(entry));
        prop_assert_eq!(restored.check(subject, &stamp(1, at)), expected);
    }
}
