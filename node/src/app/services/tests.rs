//! Services come, change, clash and go; who is asked what is at the end of each story.

use std::collections::BTreeSet;

use proptest::prelude::*;
use starling_proto::purge::{Entry, Region, Version};

use super::*;
use crate::origin::{OriginSettings, PoolSettings};

fn at(ms: u64) -> Hlc {
    Hlc { ms, count: 0, node: NodeId::from_bytes([1; 32]) }
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 32])
}

fn settings(name: &str, hosts: &[&str]) -> ServiceSettings {
    let origins = vec![OriginSettings { url: "http://127.0.0.1:1".to_owned(), priority: 0, weight: 1 }];
    let mut settings = ServiceSettings::catch_all(name, PoolSettings { origins, ..PoolSettings::default() });
    settings.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    settings
}

/// Definitions of these tests are hosts with spaces between; one with `?` is of a newer version.
fn parse(name: &str, text: &str) -> Result<ServiceSettings, String> {
    if text.contains('?') {
        return Err("what is `?`".to_owned());
    }
    Ok(settings(name, &text.split(' ').collect::<Vec<_>>()))
}

fn book(file: &[(&str, &[&str])]) -> Book {
    Book::new(file.iter().map(|(name, hosts)| settings(name, hosts)).collect(), Box::new(parse))
}

fn change(name: &str, at: Hlc, definition: Option<&str>) -> ServiceChange {
    ServiceChange { name: name.to_owned(), at, definition: definition.map(str::to_owned) }
}

fn tell(catalog: &mut Catalog, change: ServiceChange) {
    let version = Version { epoch: 1, index: 1 };
    let change = Change::Service(change);
    catalog.apply(&Entry { region: Region::new("eu"), version, at_ms: 0, key: 0, change });
}

fn catalog(changes: &[(&str, u64, Option<&str>)]) -> Catalog {
    let mut catalog = Catalog::default();
    changes.iter().for_each(|(name, ms, text)| tell(&mut catalog, change(name, at(*ms), *text)));
    catalog
}

/// Who is served with which hosts, and who is not.
fn told(book: &Book) -> Vec<String> {
    let line = |listed: &Listed| match (&listed.settings, &listed.problem) {
        (Some(settings), None) => format!("{}: {}", listed.name, settings.hosts.join(" ")),
        (Some(settings), Some(_)) => format!("{}: {} (!)", listed.name, settings.hosts.join(" ")),
        (None, _) => format!("{}: -", listed.name),
    };
    book.list().iter().map(line).collect()
}

#[test]
fn the_mesh_overrides_the_file_and_deletes_from_it() {
    let mut book = book(&[("shop", &["shop.org"]), ("blog", &["blog.org"])]);
    assert_eq!(told(&book), ["shop: shop.org", "blog: blog.org"]);
    book.learn(&catalog(&[
        ("shop", 1, Some("shop.org www.shop.org")),
        ("blog", 2, None),
        ("new", 3, Some("*")),
    ]));
    assert_eq!(told(&book), ["shop: shop.org www.shop.org", "new: *"]);
    book.learn(&catalog(&[("shop", 1, None), ("blog", 4, Some("other.org"))]));
    assert_eq!(told(&book), ["shop: shop.org www.shop.org", "new: *", "blog: other.org"]);
    book.learn(&catalog(&[("shop", 5, None)]));
    assert_eq!(told(&book), ["new: *", "blog: other.org"], "deleted, and not back as in the file");
}

#[test]
fn the_later_of_two_that_claim_a_host_is_left_out_as_a_whole() {
    let mut book = book(&[("file", &["file.org"])]);
    let clash =
        [("late", 3, Some("free.org x.org")), ("early", 2, Some("x.org")), ("local", 1, Some("file.org"))];
    book.learn(&catalog(&clash));
    assert_eq!(told(&book), ["file: file.org", "local: -", "early: x.org", "late: -"]);
    let problems: Vec<_> = book.list().into_iter().filter_map(|listed| listed.problem).collect();
    let says =
        "it is not served: the host \"x.org\" belongs to the service \"early\", which was set before it";
    assert_eq!(problems[1], says);
    book.learn(&catalog(&[("early", 4, Some("y.org"))]));
    assert_eq!(
        told(&book),
        ["file: file.org", "local: -", "late: free.org x.org", "early: y.org"],
        "it is free now"
    );
}

#[test]
fn what_is_not_understood_leaves_the_former_in_its_place() {
    let mut book = book(&[("shop", &["shop.org"])]);
    book.learn(&catalog(&[("shop", 1, Some("?")), ("new", 1, Some("?"))]));
    assert_eq!(told(&book), ["shop: shop.org (!)", "new: -"], "the file's, which it never replaced");
    book.learn(&catalog(&[("shop", 2, Some("two.org"))]));
    book.learn(&catalog(&[("shop", 3, Some("? three.org"))]));
    assert_eq!(told(&book), ["shop: two.org (!)", "new: -"]);
    assert!(book.list()[0].problem.as_ref().is_some_and(|problem| problem.ends_with("what is `?`")));
    book.learn(&catalog(&[("shop", 4, None)]));
    assert_eq!(told(&book), ["new: -"], "that it is gone is understood");
}

#[test]
fn hosts_of_others_are_refused_those_of_losers_too() {
    let mut book = book(&[("file", &["file.org"]), ("gone", &["gone.org"])]);
    let known = [("gone", 1, None), ("a", 2, Some("a.org")), ("loser", 3, Some("a.org b.org"))];
    book.learn(&catalog(&known));
    let check = |name: &str, text: &str| book.check(name, text).map(|settings| settings.hosts.len());
    assert_eq!(check("new", "new.org gone.org"), Ok(2));
    assert_eq!(check("file", "file.org *.file.org"), Ok(2), "a service keeps its own");
    let taken =
        |host, owner| Err(format!("service new: hosts: {host:?} belongs to the service {owner:?} already"));
    assert_eq!(check("new", "file.org"), taken("file.org", "file"));
    assert_eq!(check("new", "new.org b.org"), taken("b.org", "loser"));
    assert!(check("a", "a.org").is_err(), "set anew it would be the later one, and lose to the loser");
    assert_eq!(check("new", "?"), Err("what is `?`".to_owned()));
}

#[derive(Clone, Debug)]
struct Told {
    name: &'static str,
    ms: u64,
    hosts: Option<BTreeSet<&'static str>>,
}

fn changes() -> impl Strategy<Value = Vec<Told>> {
    let hosts = proptest::collection::btree_set(prop::sample::select(vec!["a", "b", "c", "d"]), 1..3);
    let one =
        (prop::sample::select(vec!["p", "q", "r", "s"]), 0..4u64, proptest::option::weighted(0.8, hosts));
    proptest::collection::vec(one.prop_map(|(name, ms, hosts)| Told { name, ms, hosts }), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Nodes hear of changes in different orders, and look in between.
    #[test]
    fn all_nodes_come_to_the_same_in_whatever_order_they_hear(
        (changes, order) in changes().prop_flat_map(|changes| {
            let order = Just((0..changes.len()).collect::<Vec<_>>()).prop_shuffle();
            (Just(changes), order)
        }),
    ) {
        let said = |number: usize| {
            let Told { name, ms, hosts } = &changes[number];
            let hosts = hosts.as_ref().map(|hosts| Vec::from_iter(hosts.iter().copied()).join(" "));
            // No two times of a clock are the same.
            change(name, Hlc { count: number as u32, ..at(*ms) }, hosts.as_deref())
        };
        let file: &[(&str, &[&str])] = &[("p", &["a"]), ("f", &["d"])];
        let (mut at_once, mut whole) = (book(file), Catalog::default());
        (0..changes.len()).for_each(|number| tell(&mut whole, said(number)));
        at_once.learn(&whole);
        let (mut one_by_one, mut heard) = (book(file), Catalog::default());
        for number in order {
            tell(&mut heard, said(number));
            one_by_one.learn(&heard);
        }
        prop_assert_eq!(at_once.list(), one_by_one.list());

        let list = at_once.list();
        let mut hosts = BTreeSet::new();
        for host in list.iter().filter_map(|listed| listed.settings.as_ref()).flat_map(|s| &s.hosts) {
            prop_assert!(hosts.insert(host.clone()), "{} is served twice: {:?}", host, list);
        }
        let first = whole.services().filter(|change| change.definition.is_some()).min_by_key(|change| change.at);
        if let Some(first) = first.filter(|first| !first.definition.as_ref().is_some_and(|d| d.contains('d'))) {
            let claims_a_of_p = first.name != "p" && first.definition.as_ref().is_some_and(|d| d.contains('a'));
            let is_served = list.iter().any(|listed| listed.name == first.name && listed.settings.is_some());
            prop_assert!(is_served || claims_a_of_p, "who was set first is served: {:?}", list);
        }
    }
}

const SHOP: &str = "hosts = 'shop.org'\norigins = 'http://127.0.0.1:1'\nhealth = { interval_ms = 10 }\n";

/// A catalog that changes, and what follows it.
struct Node {
    catalog: watch::Sender<Arc<Catalog>>,
    live: Live,
    services: Services,
}

fn start(known: Catalog) -> Node {
    let catalog = watch::Sender::new(Arc::new(known));
    let file = vec![settings("file", &["file.org"])];
    let (services, live) = begin(file, 86_400_000, catalog.subscribe()).expect("the file is right");
    Node { catalog, live, services }
}

fn names(views: &[ServiceView]) -> Vec<(&str, ServiceSource, bool)> {
    views.iter().map(|view| (view.name.as_str(), view.source, view.problem.is_some())).collect()
}

/// What was set before the node stopped is there from its first request on.
#[tokio::test]
async fn a_node_begins_with_what_it_knew() {
    let node = start(catalog(&[("shop", 1, Some(SHOP)), ("newer", 2, Some("magic = true"))]));
    assert!(
        node.services.for_authority("shop.org").is_some()
            && node.services.for_authority("file.org").is_some()
    );
    let views = node.live.views();
    let views = views.borrow();
    let (file, mesh) = (ServiceSource::File, ServiceSource::Mesh);
    assert_eq!(names(&views), [("file", file, false), ("shop", mesh, false), ("newer", mesh, true)]);
    assert_eq!(views[1].definition.as_deref(), Some(SHOP));
    assert!(views[2].hosts.is_empty() && views[2].problem.as_ref().unwrap().contains("magic"));
}

#[tokio::test]
async fn a_definition_is_checked_against_what_is_known_now() {
    let node = start(Catalog::default());
    let check = node.live.check();
    assert_eq!(check("shop", SHOP), Ok(()));
    node.catalog.send_replace(Arc::new(catalog(&[("first", 1, Some(SHOP))])));
    assert!(check("shop", SHOP).unwrap_err().contains("belongs to the service \"first\""));
    let unusable = "hosts = 'b.org'\norigins = 'https://a_b..c'\n";
    assert!(check("b", unusable).is_err(), "what the pool refuses is refused");
}

#[tokio::test]
async fn what_the_catalog_has_no_room_for_is_neither_checked_in_nor_proposed() {
    let full = "?".repeat(Catalog::TEXT_BYTES_MAX - "full".len());
    let node = start(catalog(&[("full", 1, Some(&full))]));
    let refused = node.live.check()("shop", SHOP).expect_err("there is no room");
    assert!(refused.contains("1048576"), "{refused}");
    let propose: Propose =
        Arc::new(|_| Box::pin(async { Err(CommandError::Unavailable("asked".to_owned())) }));
    let setter = node.live.setter(super::tests::node(1), Clock::start(), propose);
    for (name, definition) in [("shop", Some(SHOP)), ("file", None)] {
        let refused = setter.set(name.to_owned(), definition.map(str::to_owned)).await;
        assert!(matches!(refused, Err(CommandError::Failed(why)) if why.contains("1048576")), "{name}");
    }
    let less = setter.set("full".to_owned(), None).await;
    assert!(matches!(less, Err(CommandError::Unavailable(_))), "what takes less is proposed");
}

/// Health checks run for what is served, and for as long as it is.
#[tokio::test]
async fn health_checks_come_and_go_with_their_service() {
    let mut checks =
        Checks { running: Vec::new(), tracker: TaskTracker::new(), stop: CancellationToken::new() };
    let checked = |name: &str, host: &str| {
        let mut settings = settings(name, &[host]);
        settings.pool.health = Some(Default::default());
        settings
    };
    let both = Services::build(vec![checked("a", "a.org"), checked("b", "b.org")]).unwrap();
    checks.follow(&both);
    // For each origin: one that checks it, and one that closes idle connections.
    assert_eq!(checks.tracker.len(), 4);
    let stop_a = checks.running[0].1.clone();
    let (moved, _) = Services::rebuild(&both, vec![checked("a", "other.org"), checked("b", "b.org")]);
    checks.follow(&moved);
    assert_eq!(checks.tracker.len(), 4, "nothing began anew");
    assert!(!stop_a.is_cancelled());
    let (one, _) = Services::rebuild(&moved, vec![checked("b", "b.org")]);
    checks.follow(&one);
    assert!(stop_a.is_cancelled());
    assert_eq!(checks.running.len(), 1);
    assert!(!checks.running[0].1.is_cancelled());
    checks.stop.cancel();
    checks.tracker.close();
    checks.tracker.wait().await;
}

fn edge(store: &crate::store::Store, services: Services) -> Edge {
    let parts = super::super::purging::PurgingParts {
        store: store.clone(),
        clock: Clock::start(),
        me: node(1),
        name: "n".to_owned(),
        mesh: None,
    };
    Edge::new(crate::edge::EdgeParts {
        node: "n".to_owned(),
        store: store.clone(),
        services,
        clock: Clock::start(),
        access_log: crate::access_log::AccessLog::open(&Default::default()).unwrap(),
        purge_guard: Arc::new(|_, _| false),
        purger: Arc::new(super::super::purging::Purging::new(parts)),
        trust: crate::trust::Trust::alone(),
        mesh: None,
    })
}

/// From the API to the edge: it is served when it is answered, and what did not change is untouched.
#[tokio::test]
async fn what_is_set_is_served_when_that_is_answered() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::start();
    let settings = crate::store::Settings { dir: dir.path().to_owned(), ..Default::default() };
    let store = crate::store::Store::open(settings, clock.now_ms()).await.unwrap();
    let Node { catalog, live, services } = start(Catalog::default());
    let edge = edge(&store, services);
    let sender = catalog.clone();
    let propose: Propose = Arc::new(move |change| {
        let version = Version { epoch: 1, index: 1 };
        let entry = Entry { region: Region::new("eu"), version, at_ms: 0, key: 0, change };
        sender.send_if_modified(|catalog| Arc::make_mut(catalog).apply(&entry));
        Box::pin(async move { Ok(entry.id()) })
    });
    let setter = live.setter(node(1), clock, propose);
    let (views, tracker, stop) = (live.views(), TaskTracker::new(), CancellationToken::new());
    tracker.spawn(live.run(edge.clone(), tracker.clone(), stop.clone()));

    let file = Arc::clone(edge.services().by_name("file").unwrap());
    setter.set("shop".to_owned(), Some(SHOP.to_owned())).await.unwrap();
    assert!(edge.services().for_authority("shop.org").is_some());
    assert_eq!(views.borrow().len(), 2);
    assert!(Arc::ptr_eq(&file, edge.services().by_name("file").unwrap()));
    let shop = Arc::clone(edge.services().by_name("shop").unwrap());
    setter.set("shop".to_owned(), Some(format!("{SHOP}debug = true\n"))).await.unwrap();
    let now = Arc::clone(edge.services().by_name("shop").unwrap());
    assert!(now.settings.debug && now.pool.is(&shop.pool));
    setter.set("shop".to_owned(), None).await.unwrap();
    setter.set("file".to_owned(), None).await.unwrap();
    assert!(edge.services().iter().next().is_none() && views.borrow().is_empty());
    stop.cancel();
    tracker.close();
    tracker.wait().await;
    edge.drain(Duration::from_secs(5)).await;
    store.close().await;
}

/// Two changes at once from one node had the same time, and the second was lost.
#[tokio::test]
async fn each_change_from_here_is_after_the_one_before_it_also_while_none_is_applied() {
    let Node { live, .. } = start(Catalog::default());
    let said = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&said);
    let propose: Propose = Arc::new(move |change| {
        noted.lock().push(change);
        Box::pin(async { Err(CommandError::Unavailable("no quorum".to_owned())) })
    });
    let setter = live.setter(node(1), Clock::start(), propose);
    for _ in 0..50 {
        assert!(setter.set("a".to_owned(), None).await.is_err());
    }
    let said = said.lock();
    let times = said.iter().map(|change| match change {
        Change::Service(change) => change.at,
        other => panic!("{other:?}"),
    });
    let times: Vec<Hlc> = times.collect();
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
}

#[test]
fn a_change_is_after_all_that_is_known_also_when_the_clock_is_behind() {
    let known = catalog(&[("a", 1_000, None)]).latest();
    let behind = service_change(known, node(9), 10, "a".to_owned(), None);
    assert!(behind.at > known);
    assert_eq!(behind.at, Hlc { ms: 1_000, count: 1, node: node(9) });
    let ahead = service_change(known, node(9), 2_000, "a".to_owned(), None);
    assert_eq!(ahead.at, Hlc { ms: 2_000, count: 0, node: node(9) });
}
