//! Services that change while requests are under way.

use std::sync::Arc;

use http::{Method, StatusCode};
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    super::{ServiceSettings, Services},
    origin::{Origin, Page},
    world::{World, ask, begin, content, read, soon},
};
use crate::origin::{OriginSettings, PoolSettings};

fn services_of(origin: &Origin) -> Services {
    let origins = vec![OriginSettings { url: origin.url.clone(), priority: 0, weight: 1 }];
    let pool = PoolSettings { origins, ..PoolSettings::default() };
    Services::build(vec![ServiceSettings::catch_all("shop", pool)]).expect("one service")
}

#[tokio::test]
async fn a_body_under_way_ends_whole_after_its_service_is_gone() {
    let world = World::new(1).await;
    let gate = Arc::new(Semaphore::new(0));
    let page = Page { within_body: Some((1_000, Arc::clone(&gate))), ..Page::new(content(50_000)) };
    world.origin.put("/page", page);
    let response = begin(world.edges[0].clone(), Method::GET, "/page".to_owned(), &[]).await;
    world.edges[0].set_services(Services::default());
    assert_eq!(world.get(0, "/page").await.status, StatusCode::MISDIRECTED_REQUEST);
    gate.add_permits(1);
    assert_eq!(soon(read(response)).await.whole(), &content(50_000));
    world.close().await;
}

#[tokio::test]
async fn a_question_under_way_is_answered_by_the_origin_it_was_asked_of() {
    let world = World::new(1).await;
    let other = Origin::start().await;
    other.put("/page", Page::new("other"));
    other.put("/next", Page::new("other"));
    let gate = Arc::new(Semaphore::new(0));
    world.origin.put("/page", Page { before_head: Some(Arc::clone(&gate)), ..Page::new("one") });
    let mut asked = JoinSet::new();
    let edge = world.edges[0].clone();
    asked.spawn(ask(edge, Method::GET, "/page".to_owned(), &[]));
    soon(async {
        while world.origin.count("/page") == 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    world.edges[0].set_services(services_of(&other));
    assert_eq!(world.get(0, "/next").await.whole(), "other");
    gate.add_permits(1);
    assert_eq!(soon(asked.join_next()).await.expect("asked").expect("answered").whole(), "one");
    assert_eq!(other.count("/page"), 0);
    world.close().await;
}
