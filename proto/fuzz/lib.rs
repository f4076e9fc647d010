//! What the targets have in common: what must hold of any bytes whatsoever.

use std::fmt::Debug;

use starling_proto::wire::{self, Message};

/// Decodes; what comes out can be written again, no longer than it was, and is the same then. A length that is a
/// lie must not buy memory, which `-malloc_limit_mb` watches.
pub fn decodes<M: Message + PartialEq + Debug>(bytes: &[u8]) -> Option<M> {
    let message = wire::decode::<M>(bytes).ok()?;
    let again = wire::encode(&message).expect("what was read can be written");
    assert!(again.len() <= bytes.len(), "{} bytes became {}", bytes.len(), again.len());
    assert_eq!(wire::decode::<M>(&again).as_ref(), Ok(&message));
    Some(message)
}
