//! Responses of the origin that two parsers might read differently: none of them is passed on, stored, or left to
//! answer somebody else's request (RFC 9112 sections 5, 6.3 and 11.1).

use starling_tests::{Received, Reply, Request};

use crate::stage;

#[tokio::test]
async fn a_response_with_odd_framing_is_refused() {
    let heads: [&str; 13] = [
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 5, 6\r\n\r\nhello!",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: +5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 0x5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: chunked, identity\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: xchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: cow\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding : chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nA: b\0c\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nA B: c\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 2000 OK\r\nCache-Control: max-age=600\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/7.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 5\r\n\r\nhello",
        "not http at all\r\n\r\n",
    ];
    let (origin, node) = stage(|_: &Received| Reply::drop_connection()).await;
    for (index, head) in heads.into_iter().enumerate() {
        let target = format!("/page/{index}");
        origin.answer(move |_: &Received| Reply::raw(head));
        let first = node.try_send(Request::get(&target)).await;
        if let Ok(first) = &first {
            assert!(first.status >= 500, "{head:?} was passed on: {first:?}");
        }
        origin.answer(|_: &Received| Reply::cacheable("page"));
        assert_eq!(node.get(&target).await.expect_status(200).text(), "page", "{head:?} was stored");
    }
}

#[tokio::test]
async fn a_response_cannot_split_itself() {
    let heads: [&str; 4] = [
        "HTTP/1.1 200 OK\r\nLocation: /a\rSet-Cookie: evil=1\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nLocation: /a\r\n Set-Cookie: evil=1\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 O\rSet-Cookie: evil=1\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 200 OK\r\nSurrogate-Key: a\rSet-Cookie: evil=1\r\nContent-Length: 5\r\n\r\nhello",
    ];
    let (origin, node) = stage(|_: &Received| Reply::drop_connection()).await;
    for head in heads {
        origin.answer(move |_: &Received| Reply::raw(head));
        if let Ok(response) = node.try_send(Request::get("/page")).await {
            assert_eq!(response.header("set-cookie"), None, "{head:?}");
            assert!(response.headers.iter().all(|(_, value)| !value.contains('\r')), "{head:?}");
        }
    }
}

#[tokio::test]
async fn bytes_behind_a_response_answer_nobody() {
    let evil = "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 4\r\n\r\nevil";
    let ends: [&str; 4] = [
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 204 No Content\r\nCache-Control: no-store\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ];
    for end in ends {
        let (origin, node) = stage(move |_: &Received| Reply::raw(format!("{end}{evil}"))).await;
        let _ = node.try_send(Request::get("/first")).await;
        origin.answer(|_: &Received| Reply::cacheable("page"));
        for index in 0..5 {
            assert_eq!(
                node.get(&format!("/page/{index}")).await.expect_status(200).text(),
                "page",
                "{end:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_short_body_is_never_whole() {
    let cut: [&str; 2] = [
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nContent-Length: 10\r\n\r\nshort",
        "HTTP/1.1 200 OK\r\nCache-Control: max-age=600\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n",
    ];
    let (origin, node) = stage(|_: &Received| Reply::drop_connection()).await;
    for (index, head) in cut.into_iter().enumerate() {
        let target = format!("/page/{index}");
        origin.answer(move |_: &Received| Reply::raw(head));
        if let Ok(response) = node.try_send(Request::get(&target)).await {
            assert!(response.status >= 500, "a short body was passed on as whole: {head:?}");
        }
        origin.answer(|_: &Received| Reply::cacheable("page"));
        assert_eq!(node.get(&target).await.expect_status(200).text(), "page", "{head:?} was stored");
    }
}

#[tokio::test]
async fn hop_by_hop_fields_are_not_stored() {
    let (_origin, node) = stage(|_: &Received| {
        Reply::cacheable("page")
            .header("connection", "X-Hop, Keep-Alive")
            .header("x-hop", "1")
            .header("keep-alive", "timeout=5")
            .header("proxy-authenticate", "Basic")
            .header("upgrade", "h2c")
    })
    .await;
    for _ in 0..2 {
        let response = node.get("/page").await.expect_status(200);
        for field in ["x-hop", "keep-alive", "proxy-authenticate", "upgrade"] {
            assert_eq!(response.header(field), None, "{field}");
        }
    }
}
