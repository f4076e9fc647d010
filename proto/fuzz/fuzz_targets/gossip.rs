#![no_main]

use libfuzzer_sys::fuzz_target;
use starling_proto::wire::Gossip;

fuzz_target!(|bytes: &[u8]| {
    targets::decodes::<Gossip>(bytes);
});
