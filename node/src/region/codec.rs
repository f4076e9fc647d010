//! How the group writes to its disk and to its members: one schema byte, then bincode in serde mode.
//!
//! This is the one module of the group that names bincode. What is of another schema, does not decode within the
//! limit or leaves bytes over is an error, never skipped.

use serde::{Serialize, de::DeserializeOwned};

const SCHEMA: u8 = 1;

/// What a damaged length can make us allocate is bounded. A call has a smaller bound of its own; what stands on disk
/// may be larger than a call, for Raft sends a snapshot in pieces: regions that did not hear of each other may each
/// have set as many services as one catalog takes.
const BYTES_MAX: usize = 64 << 20;

/// `value` in bytes.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    let mut bytes = vec![SCHEMA];
    bincode::serde::encode_into_std_write(value, &mut bytes, config()).map_err(|error| error.to_string())?;
    match bytes.len() {
        0..=BYTES_MAX => Ok(bytes),
        length => Err(format!("{length} bytes are more than the group takes")),
    }
}

/// The value that `bytes` are.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let Some((&SCHEMA, rest)) = bytes.split_first() else {
        return Err(format!("schema {:?} is not {SCHEMA}", bytes.first()));
    };
    let (value, used) =
        bincode::serde::decode_from_slice(rest, config()).map_err(|error| error.to_string())?;
    match rest.len() - used {
        0 => Ok(value),
        over => Err(format!("{over} bytes are left over")),
    }
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<BYTES_MAX>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_larger_than_a_call_stands_on_disk_all_the_same() {
        let snapshot = vec![7u8; 5 << 20];
        let bytes = encode(&snapshot).expect("is written");
        assert_eq!(decode(&bytes), Ok(snapshot));
        assert!(encode(&vec![0u8; BYTES_MAX]).is_err(), "and still there is a bound");
    }
}
