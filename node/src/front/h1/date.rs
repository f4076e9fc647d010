//! The `Date` field (RFC 9110 section 6.6.1), written once per second and thread.

use std::{
    cell::RefCell,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::HeaderValue;

struct Cached {
    second: u64,
    value: HeaderValue,
}

thread_local! {
    static CACHED: RefCell<Cached> = RefCell::new(Cached { second: 0, value: written(0) });
}

/// The date now, as a field value.
pub(crate) fn now() -> HeaderValue {
    let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    CACHED.with_borrow_mut(|cached| {
        if cached.second != second {
            *cached = Cached { second, value: written(second) };
        }
        cached.value.clone()
    })
}

fn written(second: u64) -> HeaderValue {
    let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(second));
    HeaderValue::from_str(&date).expect("an HTTP date is visible ASCII")
}
