#![no_main]

use libfuzzer_sys::fuzz_target;
use starling_proto::wire::{Answer, Refusal};

fuzz_target!(|bytes: &[u8]| {
    targets::decodes::<Refusal>(bytes);
    if let Some(answer) = targets::decodes::<Answer>(bytes)
        && let Ok(parts) = answer.into_parts()
    {
        assert_eq!(Answer::of(parts.clone()).and_then(Answer::into_parts), Ok(parts));
    }
});
