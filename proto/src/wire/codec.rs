//! Messages to bytes and back: [`VERSION`], then bincode (little-endian, integers of variable length).

use bincode::{
    config::{self, Configuration},
    error::DecodeError,
};
use serde::{Serialize, de::DeserializeOwned};

/// The version of this protocol; a peer that speaks another is refused at its greeting.
pub const VERSION: u8 = 2;

/// How bodies of messages are written. Part of the protocol: see [`VERSION`].
pub(super) const FORMAT: Configuration = config::standard();

/// Why bytes are no message, or a message cannot be sent. It is the sender's fault, and the same bytes are
/// never worth another try.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Of another version of the protocol.
    #[error("version {got} of the protocol, but {VERSION} is spoken here")]
    Version {
        /// What it begins with.
        got: u8,
    },
    /// Longer than its kind may be.
    #[error("{bytes} bytes, but at most {limit} are allowed")]
    TooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        limit: usize,
    },
    /// More of something than a message may name.
    #[error("{count} {what}, but at most {limit} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// Not what it should be.
    #[error("malformed")]
    Malformed,
}

/// A message with its greatest length, checked before anything is allocated. [`message!`] makes one.
pub trait Message: Serialize + DeserializeOwned {
    /// In bytes, encoded.
    const BYTES_MAX: usize;

    /// Whether no list in it is longer than it may be; asked before it is sent and after it was read.
    fn check(&self) -> Result<(), WireError>;

    /// Reads the message that `body` begins with, and tells how long it is.
    #[doc(hidden)]
    fn read(body: &[u8]) -> Result<(Self, usize), DecodeError>;
}

/// Makes a type a [`Message`] of at most so many bytes, with a check of its lists.
///
/// bincode has its limit as a constant of a type, which is why each kind needs code of its own. It counts what
/// strings claim before it makes room for them, but it also counts every integer at its full width, which is up
/// to eight times what it takes. No message within its counts comes to twice its length by that (a property
/// test holds it), so twice is the limit, and what one lie about a length can cost.
macro_rules! message {
    ($kind:ty, $bytes_max:expr, $check:expr) => {
        impl $crate::wire::Message for $kind {
            const BYTES_MAX: usize = $bytes_max;

            fn check(&self) -> Result<(), $crate::wire::WireError> {
                let check: fn(&Self) -> Result<(), $crate::wire::WireError> = $check;
                check(self)
            }

            fn read(body: &[u8]) -> Result<(Self, usize), bincode::error::DecodeError> {
                const LIMIT: usize = 2 * <$kind as $crate::wire::Message>::BYTES_MAX;
                let format = $crate::wire::codec::FORMAT.with_limit::<LIMIT>();
                bincode::serde::decode_from_slice(body, format)
            }
        }
    };
}
pub(super) use message;

/// The message as bytes: [`VERSION`], then bincode. Fails when it is longer than it may be.
pub fn encode<M: Message>(message: &M) -> Result<Vec<u8>, WireError> {
    message.check()?;
    let mut bytes = vec![VERSION];
    bincode::serde::encode_into_std_write(message, &mut bytes, FORMAT).map_err(|_| WireError::Malformed)?;
    check_length::<M>(&bytes)?;
    Ok(bytes)
}

/// The message in these bytes, all of them.
pub fn decode<M: Message>(bytes: &[u8]) -> Result<M, WireError> {
    check_length::<M>(bytes)?;
    let (version, body) = bytes.split_first().ok_or(WireError::Malformed)?;
    if *version != VERSION {
        return Err(WireError::Version { got: *version });
    }
    let (message, read) = M::read(body).map_err(|_| WireError::Malformed)?;
    if read != body.len() {
        return Err(WireError::Malformed);
    }
    message.check()?;
    Ok(message)
}

fn check_length<M: Message>(bytes: &[u8]) -> Result<(), WireError> {
    let (bytes, limit) = (bytes.len(), M::BYTES_MAX);
    if bytes > limit { Err(WireError::TooLong { bytes, limit }) } else { Ok(()) }
}
