//! A response is stored for the method it answers, and for a request without a body.

use starling_tests::{Received, Reply, Request};

use crate::{reflect, stage};

#[tokio::test]
async fn a_method_override_does_not_change_what_get_stores() {
    let (_origin, node) = stage(|request: &Received| {
        let honoured = ["x-http-method-override", "x-http-method", "x-method-override"]
            .into_iter()
            .find_map(|name| request.header(name));
        match honoured {
            Some(method) => Reply::cacheable(format!("overridden by {method}")),
            None => Reply::cacheable("page"),
        }
    })
    .await;
    for name in ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"] {
        for method in ["POST", "DELETE", "HEAD"] {
            let target = format!("/page/{name}/{method}");
            node.get_with(&target, &[(name, method)]).await;
            assert_eq!(node.get(&target).await.text(), "page", "{name}: {method}");
        }
    }
}

#[tokio::test]
async fn a_body_of_a_get_does_not_change_what_is_stored() {
    let (_origin, node) = stage(reflect).await;
    for method in ["GET", "HEAD"] {
        let target = format!("/fat/{method}");
        let fat = Request::new(method, &target)
            .header("content-type", "application/x-www-form-urlencoded")
            .body("callback=evil");
        let _ = node.try_send(fat).await;
        assert!(!node.get(&target).await.expect_status(200).text().contains("evil"), "{method}");
    }
}

#[tokio::test]
async fn a_chunked_body_of_a_get_does_not_either() {
    let (_origin, node) = stage(reflect).await;
    let mut connection = node.connect().await;
    connection
        .write("GET /fat HTTP/1.1\r\nHost: victim.test\r\nTransfer-Encoding: chunked\r\n\r\nd\r\ncallback=evil\r\n0\r\n\r\n")
        .await
        .expect("the node reads");
    let _ = connection.read_response("GET").await;
    let victim = node.send(Request::get("/fat").host("victim.test")).await.expect_status(200);
    assert!(!victim.text().contains("evil"));
}

#[tokio::test]
async fn a_head_is_not_stored_as_an_empty_get() {
    let (_origin, node) = stage(reflect).await;
    node.send(Request::new("HEAD", "/page")).await.expect_status(200);
    assert!(node.get("/page").await.expect_status(200).text().starts_with("GET /page"));
    let head = node.send(Request::new("HEAD", "/page")).await.expect_status(200);
    assert!(head.body.is_empty());
    assert!(node.get("/page").await.text().starts_with("GET /page"));
}

#[tokio::test]
async fn answers_to_other_methods_are_not_stored_for_get() {
    let (_origin, node) = stage(reflect).await;
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO", "get", "PROPFIND", "QUERY"] {
        let target = format!("/page/{method}");
        node.send(Request::new(method, &target)).await;
        let victim = node.get(&target).await.expect_status(200);
        assert!(victim.text().starts_with("GET "), "{method}: {}", victim.text());
        // And the other way round: what is stored for GET answers nothing else.
        let other = node.send(Request::new(method, &target)).await.expect_status(200);
        assert!(other.text().starts_with(&format!("{method} ")), "{method}: {}", other.text());
    }
}
