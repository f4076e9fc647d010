#![no_main]

use libfuzzer_sys::fuzz_target;
use starling_proto::wire::Reply;

fuzz_target!(|bytes: &[u8]| {
    targets::decodes::<Reply>(bytes);
});
