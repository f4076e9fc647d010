use proptest::{collection::vec, prelude::*};

use super::*;
use crate::wire::samples;

fn request() -> RequestParts {
    samples::fetch().request.into_parts().expect("the sample is well-formed")
}

fn headers(fields: &[(&'static str, &'static str)]) -> HeaderMap {
    let field = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    fields.iter().map(field).collect()
}

#[test]
fn a_request_arrives_as_it_was_sent() {
    for (version, written) in
        [(Version::HTTP_10, 10), (Version::HTTP_11, 11), (Version::HTTP_2, 20), (Version::HTTP_3, 30)]
    {
        let mut parts = request();
        parts.version = version;
        parts.headers.append("accept", HeaderValue::from_static("text/html"));
        let sent = HttpRequest::of(parts.clone()).expect("well-formed");
        assert_eq!(sent.version, written);
        assert_eq!(sent.into_parts(), Ok(parts));
    }
}

#[test]
fn an_answer_arrives_as_it_was_sent() {
    let parts = samples::answer().into_parts().expect("the sample is well-formed");
    assert_eq!(parts.status, 206);
    assert_eq!(parts.headers["cookie"].as_bytes(), b"a=\xff", "bytes that are no text stay");
    assert_eq!(Answer::of(parts.clone()).and_then(Answer::into_parts), Ok(parts));
}

#[test]
fn hop_by_hop_fields_are_left_behind_and_refused_when_they_come() {
    let mut parts = request();
    parts.headers = headers(&[("connection", "x-secret"), ("x-secret", "1"), ("te", "trailers"), ("a", "b")]);
    let mut sent = HttpRequest::of(parts).expect("well-formed");
    assert_eq!(sent.headers, [("a".to_owned(), Bytes::from_static(b"b"))]);
    sent.headers.push(("transfer-encoding".into(), Bytes::from_static(b"chunked")));
    assert_eq!(sent.into_parts(), Err(HeadError::Field("transfer-encoding".into())));
}

#[test]
fn what_is_no_request_is_refused_by_what_is_wrong_with_it() {
    let refused = |change: fn(&mut HttpRequest)| {
        let mut request = samples::fetch().request;
        change(&mut request);
        request.into_parts().expect_err("it is wrong")
    };
    assert_eq!(refused(|it| it.method = "POST".into()), HeadError::Method("POST".into()));
    assert_eq!(refused(|it| it.method = "get".into()), HeadError::Method("get".into()));
    assert_eq!(refused(|it| it.version = 9), HeadError::Version(9));
    for wrong in ["", "a/b", "a b", "A", "u@a", "a\r\n", "é"] {
        let mut request = samples::fetch().request;
        request.authority = wrong.into();
        assert_eq!(request.into_parts(), Err(HeadError::Authority(wrong.into())));
    }
    for wrong in ["", "x", "*", "/a b", "/a\r\nb", "/a#b", "/\u{7f}"] {
        let mut request = samples::fetch().request;
        request.path_and_query = wrong.into();
        assert_eq!(request.into_parts(), Err(HeadError::PathAndQuery(wrong.into())));
    }
    for (name, value) in
        [("Accept", "a"), ("", "a"), ("a b", "a"), ("a", "x\r\ny"), ("a", "\0"), (":path", "/")]
    {
        let mut request = samples::fetch().request;
        request.headers.push((name.into(), Bytes::from_static(value.as_bytes())));
        assert_eq!(request.into_parts(), Err(HeadError::Field(name.into())));
    }
}

#[test]
fn what_no_peer_could_take_is_not_sent() {
    let mut parts = request();
    parts.method = Method::POST;
    assert_eq!(HttpRequest::of(parts), Err(HeadError::Method("POST".into())));
    let mut parts = request();
    let many = |count| (0..count).map(|_| (HeaderName::from_static("a"), HeaderValue::from_static("b")));
    parts.headers = many(FIELDS_MAX + 1).collect();
    assert_eq!(HttpRequest::of(parts.clone()), Err(HeadError::TooManyFields(FIELDS_MAX + 1)));
    parts.headers = many(FIELDS_MAX).collect();
    assert!(HttpRequest::of(parts).is_ok());
}

#[test]
fn what_is_no_answer_is_refused_by_what_is_wrong_with_it() {
    for status in [0, 99, 100, 103, 199, 600, 1000] {
        let wrong = Answer { status, ..samples::answer() };
        assert_eq!(wrong.into_parts(), Err(HeadError::Status(status)));
    }
    let wrong = Answer { range: (5, 4), ..samples::answer() };
    assert_eq!(wrong.into_parts(), Err(HeadError::Range(5, 4)));
    let wrong = Answer { cache_status: "a\r\nb".into(), ..samples::answer() };
    assert_eq!(wrong.into_parts(), Err(HeadError::CacheStatus("a\r\nb".into())));
    let empty = Answer { range: (5, 5), cache_status: String::new(), ..samples::answer() };
    assert!(empty.into_parts().is_ok());
}

proptest! {
    /// What was parsed once is the same ever after, and whatever comes, nothing panics.
    #[test]
    fn a_parsed_head_is_sent_on_as_it_is(
        mut request in samples::any_fetch().prop_map(|fetch| fetch.request),
        answer in samples::any_answer(),
        names in vec("[a-z-]{1,9}", 12),
    ) {
        request.method = "HEAD".into();
        request.headers.iter_mut().zip(names).for_each(|(field, name)| field.0 = name);
        if let Ok(parts) = request.into_parts() {
            prop_assert_eq!(HttpRequest::of(parts.clone()).and_then(HttpRequest::into_parts), Ok(parts));
        }
        if let Ok(parts) = answer.into_parts() {
            prop_assert_eq!(Answer::of(parts.clone()).and_then(Answer::into_parts), Ok(parts));
        }
    }
}
