use proptest::prelude::*;

use super::{super::Change, *};

fn eu() -> Region {
    Region::new("eu")
}

fn entry(epoch: u64, index: u64, mode: Mode, selector: Selector) -> Entry {
    Entry {
        region: eu(),
        version: Version { epoch, index },
        at_ms: index * 10,
        key: 0,
        change: Change::Purge(Purge { service: "shop".to_owned(), selectors: vec![selector], mode }),
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
    assert_eq!(PurgeTable::new(stamp(1, 7), Versions::default()).apply(&hard(8, Selector::Service)), Ok(()));
}

#[test]
fn a_reborn_region_makes_old_objects_revalidate() {
    let table =
        table(&[hard(1, Selector::Service), entry(2, 1, Mode::Soft, Selector::Tag("green".to_owned()))]);
    assert_eq!(check(&table, &stamp(1, 1)), Purged::Unknown);
    assert_eq!(check(&table, &stamp(2, 0)), Purged::No);
    let other = Subject { service: "blog", url: "h/", tags: &[] };
    assert_eq!(table.check(other, &stamp(1, 1)), Purged::Unknown);
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
        let mut table = PurgeTable::new(stamp(2, 1), Versions::default());
        let seq = table.seq();
        order.into_iter().for_each(|entry| table.restore(entry));
        assert_eq!(table.applied(), &stamp(2, 1));
        assert_eq!(table.seq(), seq + 2);
        assert_eq!(check(&table, &stamp(2, 0)), Purged::Hard);
        assert_eq!(check(&table, &stamp(2, 1)), Purged::No);
        assert_eq!(check(&table, &stamp(1, 4)), Purged::Hard);
    }
}

/// A stamp that did not know the region once passed for newer than one that knew its former life.
#[test]
fn a_rebirth_reaches_objects_whose_stamp_does_not_know_the_region() {
    let older = Versions::default();
    let mut skipped = table(&[hard(1, Selector::Tag("green".to_owned()))]);
    assert_eq!(check(&skipped, &older), Purged::No);
    let mut applied = skipped.clone();
    skipped.skip(&eu(), Version { epoch: 2, index: 0 }).expect("it is later");
    applied.apply(&entry(2, 1, Mode::Hard, Selector::Tag("green".to_owned()))).expect("it is the first");
    for table in [skipped, applied] {
        assert_eq!(check(&table, &older), Purged::Unknown);
        assert_eq!(check(&table, &stamp(1, 1)), Purged::Unknown);
        assert_eq!(check(&table, &stamp(2, 0)), Purged::No);
    }
}

/// The second rebirth once made a hard purge soft for objects from before the first.
#[test]
fn a_hard_purge_stays_hard_over_two_rebirths() {
    let table = table(&[
        hard(1, Selector::Tag("green".to_owned())),
        entry(2, 1, Mode::Hard, Selector::Service),
        entry(3, 1, Mode::Soft, Selector::Tag("green".to_owned())),
    ]);
    assert_eq!(check(&table, &stamp(1, 1)), Purged::Hard);
    assert_eq!(check(&table, &stamp(2, 1)), Purged::Unknown);
    assert_eq!(check(&table, &stamp(3, 0)), Purged::No);
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

#[test]
fn a_full_table_makes_the_older_purges_those_of_the_whole_service() {
    let tag = |index: u64| Selector::Tag(index.to_string());
    let mut table = table(&(1..=100).map(|index| hard(index, tag(index))).collect::<Vec<_>>());
    let mut other = entry(1, 101, Mode::Soft, Selector::Prefix("h/".to_owned()));
    let Change::Purge(purge) = &mut other.change else { unreachable!("it is a purge") };
    purge.service = "blog".to_owned();
    table.apply(&other).expect("follows");
    let (seq, applied) = (table.seq(), table.applied().clone());
    assert_eq!((table.compact(101), table.len()), (0, 101));
    assert_eq!((table.compact(100), table.len()), (50, 51), "51 went, and one came for them");
    assert_eq!((table.seq(), table.applied()), (seq, &applied));
    assert_eq!(
        check(&table, &stamp(1, 50)),
        Purged::Hard,
        "entry 51 went, and named something of the service"
    );
    assert_eq!(check(&table, &stamp(1, 51)), Purged::No);
    let last = Subject { service: "shop", url: "h/", tags: &["100".to_owned()] };
    assert_eq!(table.check(last, &stamp(1, 99)), Purged::Hard);
    let blog = |url| Subject { service: "blog", url, tags: &[] };
    assert_eq!(table.check(blog("h/a"), &stamp(1, 0)), Purged::Soft);
    assert_eq!(table.check(blog("x/a"), &stamp(1, 0)), Purged::No, "another service is not touched");
    table.compact(0);
    assert_eq!(table.len(), 2, "one for each service");
    assert_eq!(table.check(blog("x/a"), &stamp(1, 0)), Purged::Soft);
    assert_eq!((table.sweep(u64::MAX), table.len()), (2, 0));
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

/// What happens to a log as a node sees it.
#[derive(Clone, Debug)]
enum Step {
    /// The next entry is applied.
    Entry(Selector, Mode),
    /// So many entries are stepped over.
    Over(u64),
    /// The log begins anew, so many entries ago.
    Anew(u64),
}

fn any_step() -> impl Strategy<Value = (usize, Step)> {
    let mode = prop_oneof![Just(Mode::Hard), Just(Mode::Soft)];
    let step = prop_oneof![
        6 => (any_selector(), mode).prop_map(|(selector, mode)| Step::Entry(selector, mode)),
        1 => (0u64..3).prop_map(Step::Over),
        1 => (0u64..2).prop_map(Step::Anew),
    ];
    (0usize..2, step)
}

fn any_stamp() -> impl Strategy<Value = Versions> {
    proptest::collection::vec(proptest::option::of((1u64..4, 0u64..8)), 2).prop_map(|places| {
        let mut stamp = Versions::default();
        for (region, place) in regions().into_iter().zip(places) {
            place.into_iter().for_each(|(epoch, index)| stamp.set(region.clone(), Version { epoch, index }));
        }
        stamp
    })
}

fn regions() -> [Region; 2] {
    [eu(), Region::new("us")]
}

/// The logs as they are, and a table that came by them step by step.
#[derive(Default)]
struct Story {
    table: PurgeTable,
    entries: Vec<Entry>,
    /// Places before which entries may be missing.
    gaps: Vec<(Region, Version)>,
    /// Lives that the node stood in.
    lives: Vec<(Region, u64)>,
}

impl Story {
    fn tell(steps: &[(usize, Step)]) -> Self {
        let mut story = Self::default();
        for (number, (region, step)) in steps.iter().enumerate() {
            story.step(&regions()[*region], step, 10 * number as u64);
        }
        story
    }

    fn step(&mut self, region: &Region, step: &Step, at_ms: UnixMs) {
        let stood = self.table.applied().get(region);
        let at = stood.unwrap_or(Version { epoch: 1, index: 0 });
        match step {
            Step::Entry(selector, mode) => {
                let version = Version { index: at.index + 1, ..at };
                let entry = Entry {
                    region: region.clone(),
                    at_ms,
                    ..entry(at.epoch, version.index, *mode, selector.clone())
                };
                self.table.apply(&entry).expect("it is the next");
                self.entries.push(entry);
            }
            Step::Over(many) => self.over(region, Version { index: at.index + many, ..at }, *many > 0),
            Step::Anew(index) => {
                let to = Version { epoch: at.epoch + 1, index: *index };
                self.over(region, to, stood.is_some() || *index > 0);
            }
        }
        self.lives.extend(self.table.applied().get(region).map(|at| (region.clone(), at.epoch)));
    }

    fn over(&mut self, region: &Region, to: Version, leaves_out: bool) {
        self.table.skip(region, to).expect("it is not behind");
        self.gaps.extend(leaves_out.then(|| (region.clone(), to)));
    }

    /// By definition: the hardest entry not before `oldest_ms` that is above the stamp and names the object; and
    /// what may be missing is soft.
    fn says(&self, subject: Subject<'_>, stamp: &Versions, oldest_ms: UnixMs) -> Purged {
        let is_above = |region: &Region, version: Version| stamp.get(region).is_none_or(|at| at < version);
        let named = self
            .entries
            .iter()
            .filter(|entry| entry.at_ms >= oldest_ms && is_above(&entry.region, entry.version))
            .filter_map(Entry::purge)
            .filter(|purge| names(&purge.selectors[0], subject.url, subject.tags))
            .map(|purge| if purge.mode == Mode::Hard { Purged::Hard } else { Purged::Soft })
            .max()
            .unwrap_or(Purged::No);
        let is_missing = self.gaps.iter().any(|(region, version)| is_above(region, *version));
        let is_of_other_life = |(region, at): (&Region, Version)| {
            self.table.applied().get(region).is_some_and(|now| now.epoch != at.epoch)
        };
        let is_unknown = is_missing || stamp.iter().any(is_of_other_life);
        if is_unknown { named.max(Purged::Unknown) } else { named }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// The table against its definition, over regions, lives and entries that were stepped over; and again after a
    /// restart, whatever order the entries come back in.
    #[test]
    fn the_table_says_what_the_logs_say(
        steps in proptest::collection::vec(any_step(), 0..16),
        url in "[ab]/[ab]{0,3}(\\?[ab])?",
        tags in proptest::collection::vec("[ab]", 0..3),
        stamp in any_stamp(),
        other in any_stamp(),
        turn in 0usize..16,
        oldest_ms in 0u64..160,
    ) {
        let story = Story::tell(&steps);
        let subject = Subject { service: "shop", url: &url, tags: &tags };
        let expected = story.says(subject, &stamp, 0);
        prop_assert_eq!(story.table.check(subject, &stamp), expected);

        let mut restored = PurgeTable::new(story.table.applied().clone(), story.table.floors().clone());
        let mut entries = story.entries.clone();
        entries.reverse();
        entries.rotate_left(turn.min(story.entries.len()));
        entries.iter().for_each(|entry| restored.restore(entry));
        prop_assert_eq!(restored.check(subject, &stamp), expected);
        prop_assert_eq!(restored.applied(), story.table.applied());
        prop_assert_eq!(restored.len(), story.table.len());

        // What was fetched earlier is purged at least as hard, as far as the lives of its logs are known here.
        let is_known = |(region, at): (&Region, Version)| story.lives.contains(&(region.clone(), at.epoch));
        if stamp.iter().all(is_known) {
            prop_assert!(restored.check(subject, &stamp.meet(&other)) >= expected);
        }

        // The sweep may leave a purge, and takes none that is young enough.
        restored.sweep(oldest_ms);
        let swept = restored.check(subject, &stamp);
        prop_assert!(swept <= expected && swept >= story.says(subject, &stamp, oldest_ms));
    }

    /// What is purged stays purged, as hard as it was, however little room there is.
    #[test]
    fn a_full_table_purges_more_and_not_less(
        log in proptest::collection::vec(((any_selector(), any::<bool>()), 1u64..4), 0..24),
        url in "[ab]/[ab]{0,3}(\\?[ab])?",
        tags in proptest::collection::vec("[ab]", 0..3),
        at in (0u64..4, 0u64..9),
        room in 0usize..12,
    ) {
        let mut table = PurgeTable::default();
        let mut logs = log.clone();
        logs.sort_by_key(|(_, epoch)| *epoch);
        for (index, ((selector, soft), epoch)) in (1..).zip(logs) {
            let mode = if soft { Mode::Soft } else { Mode::Hard };
            table.restore(&entry(epoch, index % 9, mode, selector));
        }
        let subject = Subject { service: "shop", url: &url, tags: &tags };
        let stamp = if at.0 == 0 { Versions::default() } else { stamp(at.0, at.1) };
        let before = table.check(subject, &stamp);
        let gone = table.compact(room);
        prop_assert!(table.len() <= room.max(1), "{gone} went");
        prop_assert!(table.check(subject, &stamp) >= before);
    }
}
