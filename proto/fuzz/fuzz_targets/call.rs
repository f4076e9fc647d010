#![no_main]

use libfuzzer_sys::fuzz_target;
use starling_proto::wire::Call;

fuzz_target!(|bytes: &[u8]| {
    targets::decodes::<Call>(bytes);
});
