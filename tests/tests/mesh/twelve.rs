//! Twelve processes in two regions and four PoPs: all know all, each PoP has a ring of its own.

use starling_tests::{Mesh, Site, starling};

use super::{alone, get};

const POPS: [(&str, &str); 4] = [("eu", "lon"), ("eu", "par"), ("us", "nyc"), ("us", "sfo")];

#[tokio::test(flavor = "multi_thread")]
async fn twelve_nodes_in_four_pops_are_one_mesh_with_four_rings() {
    let _turn = alone().await;
    let site = Site::new(0);
    let origin = site.origin().await;
    let mesh = POPS
        .into_iter()
        .fold(Mesh::builder(), |builder, (region, pop)| builder.pop(region, pop, 3))
        .origin(origin.url())
        .args(&["--memory", "16MiB", "--disk", "64MiB"]);
    let begun = std::time::Instant::now();
    let mesh = mesh.start().await;
    println!("twelve nodes are one mesh {:?} after the first was started", begun.elapsed());
    for (region, pop) in POPS {
        let nodes = [format!("{pop}-1"), format!("{pop}-2"), format!("{pop}-3")];
        for name in &nodes {
            let peers = mesh.peers_at(name).await;
            let own = peers.get(name).expect("it knows itself");
            assert_eq!((own.region.as_str(), own.pop.as_str(), own.is_self), (region, pop, true));
            let ids: std::collections::BTreeSet<&str> =
                peers.peers.iter().map(|peer| peer.id.as_str()).collect();
            assert_eq!(ids.len(), 12, "{}", peers.summary());
        }
        the_ring_is_the_same_on(&mesh, &nodes, pop).await;
    }
    for name in mesh.names() {
        let response = get(&mesh, &name, "/1k/5").await.expect_status(200);
        assert_eq!(Some(response.body), site.body("/1k/5"), "{name}");
    }
    assert!(
        origin.count("/1k/5") <= POPS.len(),
        "{} requests, more than one of a PoP",
        origin.count("/1k/5")
    );
}

async fn the_ring_is_the_same_on(mesh: &Mesh, nodes: &[String], pop: &str) {
    let mut owned = std::collections::BTreeMap::<String, usize>::new();
    for number in 0..30 {
        let url = Site::url(&format!("/1k/{number}"));
        let first = mesh.ring_at(&nodes[0], &url).await;
        assert_eq!(first.pop, pop);
        let members: Vec<&str> = first.nodes.iter().map(|node| node.node.as_str()).collect();
        assert!(
            nodes.iter().all(|name| members.contains(&name.as_str())) && members.len() == 3,
            "{members:?}"
        );
        let shares: f64 = first.nodes.iter().map(|node| node.share_permille).sum();
        assert!((990.0..=1010.0).contains(&shares), "shares sum to {shares}");
        assert_eq!(first.owner.as_ref(), first.replicas.first());
        for name in &nodes[1..] {
            let other = mesh.ring_at(name, &url).await;
            assert_eq!(other.replicas, first.replicas, "{url} at {name} and {}", nodes[0]);
        }
        *owned.entry(first.owner.expect("somebody owns it")).or_default() += 1;
    }
    assert_eq!(owned.len(), 3, "each owns something of thirty: {owned:?}");
    let by_url = mesh.ring_at(&nodes[0], &Site::url("/1k/0")).await;
    let key = by_url.key.as_deref().expect("a URL has a key");
    assert_eq!(mesh.ring_of_key(&nodes[1], key).await.replicas, by_url.replicas, "{key}");
    let output = starling(&["ring", &Site::url("/1k/0"), "--admin", &mesh.node(&nodes[0]).admin_url()]).await;
    assert_eq!(output.code, Some(0), "{}", output.stderr);
    assert!(nodes.iter().all(|name| output.stdout.contains(name)), "{}", output.stdout);
}
