#![no_main]

use libfuzzer_sys::fuzz_target;
use starling_proto::wire::{Fetch, HttpRequest};

fuzz_target!(|bytes: &[u8]| {
    if let Some(fetch) = targets::decodes::<Fetch>(bytes)
        && let Ok(parts) = fetch.request.into_parts()
    {
        let again = HttpRequest::of(parts.clone()).and_then(HttpRequest::into_parts);
        assert_eq!(again, Ok(parts));
    }
});
