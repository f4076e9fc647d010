//! Objects that are owned by ranges.

use std::collections::BTreeSet;

use http::Method;
use starling_proto::ring::{Ring, shard_key};

use super::{
    origin::Page,
    world::{Fault, World, content, key_of, soon},
};

const SHARD: u64 = 64 << 10;
const BYTES: usize = 5 * SHARD as usize + 1_000;

async fn world() -> World {
    World::with(3, |settings| settings.shard_bytes = SHARD).await
}

/// Who owns a shard of the object at a path.
fn owner(world: &World, path: &str, shard: u64) -> usize {
    let ring: &Ring = &world.views[0].borrow().ring;
    let id = ring.replicas(&shard_key(key_of(path), shard), 1)[0];
    usize::from(id.as_bytes()[0]) - 1
}

#[tokio::test]
async fn each_owner_keeps_its_ranges_and_a_client_gets_the_whole() {
    let world = world().await;
    let path = world.path_of("film", 0);
    world.origin.put(&path, Page::new(content(BYTES)));
    for node in [1, 2, 0, 1] {
        assert_eq!(soon(world.get(node, &path)).await.whole(), &content(BYTES));
    }
    let asked = world.origin.asked(&path);
    assert_eq!(asked.len(), 6, "once for each shard: {asked:?}");
    let ranges: BTreeSet<_> = asked.iter().filter_map(|asked| asked.fields.get("range")).collect();
    assert_eq!(ranges.len(), 5);
    world.close().await;
}

#[tokio::test]
async fn a_range_goes_to_the_owner_of_its_shard() {
    let world = world().await;
    let path = world.path_of("film", 0);
    world.origin.put(&path, Page::new(content(BYTES)));
    let shard = (1..6).find(|shard| owner(&world, &path, *shard) != 1).expect("others own something");
    let first = shard * SHARD + 10;
    let range = format!("bytes={first}-{}", first + 99);
    let got = soon(world.ask(1, Method::GET, &path, &[("range", &range)])).await;
    assert_eq!(got.status, 206);
    assert_eq!(got.whole(), &content(BYTES).slice(first as usize..first as usize + 100));
    assert_eq!(world.net.questions(owner(&world, &path, shard)).len(), 1);
    assert_eq!(world.origin.count(&path), 1);
    world.close().await;
}

#[tokio::test]
async fn a_range_over_several_shards_is_put_together() {
    let world = world().await;
    let path = world.path_of("film", 0);
    world.origin.put(&path, Page::new(content(BYTES)));
    for range in [(SHARD - 10, 3 * SHARD + 10), (10, 2 * SHARD), (SHARD, 2 * SHARD)] {
        let (first, end) = (range.0 as usize, range.1 as usize);
        for node in [1, 2] {
            let field = format!("bytes={first}-{}", end - 1);
            let got = soon(world.ask(node, Method::GET, &path, &[("range", &field)])).await;
            assert_eq!(got.whole(), &content(BYTES).slice(first..end), "{field}");
            assert_eq!(got.field("content-range"), format!("bytes {first}-{}/{BYTES}", end - 1));
        }
    }
    let open = format!("bytes={}-", 4 * SHARD + 5);
    let got = soon(world.ask(1, Method::GET, &path, &[("range", &open)])).await;
    assert_eq!(got.whole(), &content(BYTES).slice(4 * SHARD as usize + 5..));
    world.close().await;
}

#[tokio::test]
async fn a_shard_whose_owner_is_gone_comes_from_elsewhere() {
    let world = world().await;
    let path = world.path_of("film", 0);
    world.origin.put(&path, Page::new(content(BYTES)));
    world.net.fail(0, Fault::DiesAfter(SHARD as usize / 2));
    world.net.fail(2, Fault::Gone);
    assert_eq!(soon(world.get(1, &path)).await.whole(), &content(BYTES));
    world.close().await;
}

/// An origin that says nothing of ranges: one owner has all of it.
#[tokio::test]
async fn what_cannot_be_had_by_range_has_one_owner() {
    let world = world().await;
    let path = world.path_of("film", 0);
    world.origin.put(&path, Page::new(content(BYTES)).with("accept-ranges", ""));
    for node in [1, 2, 0] {
        assert_eq!(soon(world.get(node, &path)).await.whole(), &content(BYTES));
    }
    assert_eq!(world.origin.count(&path), 1);
    world.close().await;
}

/// A part of a private answer is no answer to who asked for more.
#[tokio::test]
async fn a_private_range_is_not_cut() {
    let world = world().await;
    let path = world.path_of("film", 0);
    world.origin.put(&path, Page::new(content(BYTES)).with("cache-control", "private"));
    let field = format!("bytes={}-{}", SHARD - 10, SHARD + 9);
    let got = soon(world.ask(1, Method::GET, &path, &[("range", &field)])).await;
    let first = SHARD as usize - 10;
    assert_eq!(got.whole(), &content(BYTES).slice(first..first + 20));
    world.close().await;
}
