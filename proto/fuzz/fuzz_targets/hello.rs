#![no_main]

use libfuzzer_sys::fuzz_target;
use starling_proto::wire::Hello;

fuzz_target!(|bytes: &[u8]| {
    targets::decodes::<Hello>(bytes);
});
