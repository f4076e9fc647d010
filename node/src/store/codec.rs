//! How records are written in the index: one schema byte, then bincode in serde mode.
//!
//! This is the one module that names bincode, so that it can be exchanged. A record of another schema, or
//! one that does not decode within the limit, is an error; callers treat it as absent.

use serde::{Serialize, de::DeserializeOwned};

/// The schema of everything this version writes. A record with another is a miss.
const SCHEMA: u8 = 2;

/// The schema of the versions whose logs held nothing but purges.
const FORMER_SCHEMA: u8 = 1;

/// No record is larger: bounds what a damaged length can make us allocate.
const RECORD_BYTES_MAX: usize = 8 << 20;

/// Why a record was not encoded or decoded.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Written by another version.
    #[error("schema {0:?} is not {SCHEMA}")]
    Schema(Option<u8>),
    /// More than a record may have.
    #[error("{0} bytes are more than a record may have")]
    TooLarge(usize),
    /// Bytes remain after the value.
    #[error("{0} bytes remain after the record")]
    Trailing(usize),
    /// Could not be encoded.
    #[error(transparent)]
    Encode(#[from] bincode::error::EncodeError),
    /// Could not be decoded.
    #[error(transparent)]
    Decode(#[from] bincode::error::DecodeError),
}

/// `value` as a record.
pub(super) fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    let mut bytes = vec![SCHEMA];
    bincode::serde::encode_into_std_write(value, &mut bytes, config())?;
    if bytes.len() > RECORD_BYTES_MAX {
        return Err(CodecError::TooLarge(bytes.len()));
    }
    Ok(bytes)
}

/// The value of a record.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_as(SCHEMA, bytes)
}

/// Whether a record is of the versions whose logs held nothing but purges.
pub(super) fn is_former(bytes: &[u8]) -> bool {
    bytes.first() == Some(&FORMER_SCHEMA)
}

/// The value of a record of those versions: for values whose layout is what it was.
pub(super) fn decode_former<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    decode_as(FORMER_SCHEMA, bytes)
}

fn decode_as<T: DeserializeOwned>(schema: u8, bytes: &[u8]) -> Result<T, CodecError> {
    let Some((_, record)) = bytes.split_first().filter(|(found, _)| **found == schema) else {
        return Err(CodecError::Schema(bytes.first().copied()));
    };
    let (value, used) = bincode::serde::decode_from_slice(record, config())?;
    if used != record.len() {
        return Err(CodecError::Trailing(record.len() - used));
    }
    Ok(value)
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<RECORD_BYTES_MAX>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was() {
        let value = (7_u64, "text".to_owned(), vec![Some(1_u32), None]);
        let bytes = encode(&value).expect("encodes");
        assert_eq!(decode::<(u64, String, Vec<Option<u32>>)>(&bytes).expect("decodes"), value);
    }

    #[test]
    fn another_schema_and_a_cut_or_longer_record_are_refused() {
        let bytes = encode(&"some text").expect("encodes");
        let mut other = bytes.clone();
        other[0] = SCHEMA + 1;
        assert!(matches!(decode::<String>(&other), Err(CodecError::Schema(Some(_)))));
        assert!(matches!(decode::<String>(&[]), Err(CodecError::Schema(None))));
        assert!(decode::<String>(&bytes[..bytes.len() - 1]).is_err());
        let longer = [&bytes[..], &[0]].concat();
        assert!(matches!(decode::<String>(&longer), Err(CodecError::Trailing(1))));
    }

    #[test]
    fn a_damaged_length_does_not_allocate_past_the_limit() {
        // 0xfd announces a u64 length.
        let bytes = [&[SCHEMA, 0xfd][..], &u64::MAX.to_le_bytes()].concat();
        assert!(decode::<Vec<u8>>(&bytes).is_err());
    }
}
