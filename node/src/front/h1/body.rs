//! Decodes request bodies: by length, and chunked (RFC 9112 sections 6 and 7).
//!
//! A decoder is fed with whatever arrived and gives the same bytes, or the same refusal, however the stream
//! was cut into pieces. Trailer fields are checked and dropped.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderName, HeaderValue};

use super::head::Length;
use crate::front::refusal::Refusal;

/// Longest chunk-size line, extensions included. The known attacks on chunk extensions need length or
/// bytes that are refused here; no known client needs either.
const SIZE_LINE_BYTES_MAX: usize = 256;
/// Longest trailer section.
const TRAILER_BYTES_MAX: usize = 8 << 10;
/// Hexadecimal digits of a 64-bit number.
const SIZE_DIGITS_MAX: usize = 16;

/// Decodes one body.
#[derive(Debug)]
pub(super) struct Decoder {
    state: State,
    bytes_left: u64,
    trailer_bytes: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    /// In a body of known length; `bytes_left` of it.
    Length,
    /// Before a chunk-size line.
    Size,
    /// In a chunk; `bytes_left` of it.
    Data,
    /// Before the CRLF that ends a chunk.
    DataEnd,
    /// In the trailer section.
    Trailer,
    End,
}

/// What a decoder made of its input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A part of the body, never empty.
    Data(Bytes),
    /// Nothing until more arrives.
    More,
    /// The body is complete; what is left of the input is the next request.
    End,
}

impl Decoder {
    pub(super) fn new(length: Length) -> Self {
        let (state, bytes_left) = match length {
            Length::Known(bytes) => (State::Length, bytes),
            Length::Chunked => (State::Size, 0),
        };
        Self { state, bytes_left, trailer_bytes: 0 }
    }

    /// Bytes still to come, when that is known.
    pub(super) fn bytes_left(&self) -> Option<u64> {
        match self.state {
            State::Length => Some(self.bytes_left),
            State::End => Some(0),
            _ => None,
        }
    }

    /// Bytes that the present chunk, or the whole of a body of known length, still promises.
    pub(super) fn bytes_promised(&self) -> u64 {
        match self.state {
            State::Length | State::Data => self.bytes_left,
            _ => 0,
        }
    }

    /// Takes the next piece from `input`. After a refusal the decoder is of no more use.
    pub(super) fn decode(&mut self, input: &mut BytesMut) -> Result<Piece, Refusal> {
        loop {
            match self.state {
                State::Length if self.bytes_left == 0 => self.state = State::End,
                State::Data if self.bytes_left == 0 => self.state = State::DataEnd,
                State::Length | State::Data => {
                    if input.is_empty() {
                        return Ok(Piece::More);
                    }
                    let bytes = input.len().min(usize::try_from(self.bytes_left).unwrap_or(usize::MAX));
                    self.bytes_left -= bytes as u64;
                    return Ok(Piece::Data(input.split_to(bytes).freeze()));
                }
                State::Size => {
                    let Some(line) = take_line(input, SIZE_LINE_BYTES_MAX)? else { return Ok(Piece::More) };
                    self.bytes_left = chunk_size(&line)?;
                    self.state = if self.bytes_left == 0 { State::Trailer } else { State::Data };
                }
                State::DataEnd => match &input[..] {
                    [b'\r', b'\n', ..] => {
                        input.advance(2);
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Ok(Piece::More),
                    _ => return Err(Refusal::Chunk),
                },
                State::Trailer => {
                    let room = TRAILER_BYTES_MAX - self.trailer_bytes;
                    let Some(line) = take_line(input, room)? else { return Ok(Piece::More) };
                    self.trailer_bytes += line.len();
                    if line.is_empty() {
                        self.state = State::End;
                    } else {
                        trailer(&line)?;
                    }
                }
                State::End => return Ok(Piece::End),
            }
        }
    }
}

/// Takes a line that ends with CRLF and has at most `bytes_max` before it.
fn take_line(input: &mut BytesMut, bytes_max: usize) -> Result<Option<BytesMut>, Refusal> {
    let window = &input[..input.len().min(bytes_max + 2)];
    match window.iter().position(|byte| *byte == b'\n') {
        Some(line_feed) if line_feed > 0 && window[line_feed - 1] == b'\r' => {
            let mut line = input.split_to(line_feed + 1);
            line.truncate(line_feed - 1);
            Ok(Some(line))
        }
        Some(_) => Err(Refusal::Chunk),
        None if window.len() == bytes_max + 2 => Err(Refusal::Chunk),
        None => Ok(None),
    }
}

/// `1*HEXDIG *( ";" token [ "=" token ] )`: extensions are ignored, as RFC 9112 section 7.1.1 demands, if
/// they are of the plain kind; quoted strings and whitespace are refused.
fn chunk_size(line: &[u8]) -> Result<u64, Refusal> {
    let mut parts = line.split(|byte| *byte == b';');
    let digits = parts.next().unwrap_or_default();
    if digits.is_empty() || digits.len() > SIZE_DIGITS_MAX || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(Refusal::Chunk);
    }
    let is_token = |token: &[u8]| HeaderName::from_bytes(token).is_ok();
    for extension in parts {
        let mut sides = extension.splitn(2, |byte| *byte == b'=');
        if !sides.all(is_token) {
            return Err(Refusal::Chunk);
        }
    }
    let digits = std::str::from_utf8(digits).map_err(|_| Refusal::Chunk)?;
    u64::from_str_radix(digits, 16).map_err(|_| Refusal::Chunk)
}

fn trailer(line: &[u8]) -> Result<(), Refusal> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Refusal::Chunk)?;
    let is_field =
        HeaderName::from_bytes(&line[..colon]).is_ok() && HeaderValue::from_bytes(&line[colon + 1..]).is_ok();
    if is_field { Ok(()) } else { Err(Refusal::Chunk) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The decoded bytes and what was left of the input, or the refusal.
    type Outcome = Result<(Vec<u8>, Vec<u8>, bool), Refusal>;

    fn decode(length: Length, stream: &[u8], cuts: &[usize]) -> Outcome {
        let mut decoder = Decoder::new(length);
        let mut input = BytesMut::new();
        let mut body = Vec::new();
        let mut rest = stream;
        let mut cuts = cuts.iter();
        loop {
            match decoder.decode(&mut input)? {
                Piece::Data(bytes) => body.extend_from_slice(&bytes),
                Piece::End => return Ok((body, [&input[..], rest].concat(), true)),
                Piece::More if rest.is_empty() => return Ok((body, Vec::new(), false)),
                Piece::More => {
                    let size = cuts.next().copied().unwrap_or(usize::MAX).clamp(1, rest.len());
                    input.extend_from_slice(&rest[..size]);
                    rest = &rest[size..];
                }
            }
        }
    }

    fn whole(stream: &str) -> Outcome {
        decode(Length::Chunked, stream.as_bytes(), &[])
    }

    #[test]
    fn chunks_are_joined_and_the_rest_is_left() {
        let stream = "5\r\nhello\r\n1;a;b=c\r\n \r\n00005\r\nworld\r\n0\r\nX-Sum: 1\r\n\r\nGET /";
        assert_eq!(whole(stream), Ok((b"hello world".to_vec(), b"GET /".to_vec(), true)));
    }

    #[test]
    fn a_chunk_that_two_parsers_may_read_differently_is_refused() {
        for stream in [
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\r0\r\n\r\n",
            " 5\r\nhello\r\n0\r\n\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "5\t\r\nhello\r\n0\r\n\r\n",
            "+5\r\nhello\r\n0\r\n\r\n",
            "-5\r\nhello\r\n0\r\n\r\n",
            "0x5\r\nhello\r\n0\r\n\r\n",
            "5_0\r\nhello\r\n0\r\n\r\n",
            "\r\nhello\r\n0\r\n\r\n",
            "g\r\n",
            "10000000000000000\r\n",
            "00000000000000005\r\nhello\r\n0\r\n\r\n",
            "5;\r\nhello\r\n0\r\n\r\n",
            "5;a b\r\nhello\r\n0\r\n\r\n",
            "5;a=\"b\"\r\nhello\r\n0\r\n\r\n",
            "5;a\rb\r\nhello\r\n0\r\n\r\n",
            "5\r\r\nhello\r\n0\r\n\r\n",
            "0\r\nno-colon\r\n\r\n",
            "0\r\n folded: x\r\n\r\n",
            "0\r\na : x\r\n\r\n",
            "0\r\na: x\n\r\n",
            "0\r\na: x\0\r\n\r\n",
            "0\r\n\n",
        ] {
            assert_eq!(whole(stream), Err(Refusal::Chunk), "{stream:?}");
        }
    }

    #[test]
    fn size_lines_and_trailers_are_bounded() {
        let size = format!("5;{}", "a".repeat(SIZE_LINE_BYTES_MAX));
        assert_eq!(whole(&size), Err(Refusal::Chunk));
        let trailers = format!("0\r\n{}", "a: b\r\n".repeat(TRAILER_BYTES_MAX));
        assert_eq!(whole(&trailers), Err(Refusal::Chunk));
    }

    #[test]
    fn the_largest_chunk_size_is_no_overflow() {
        let (body, _, complete) = whole("ffffffffffffffff\r\nabc").unwrap();
        assert_eq!((body, complete), (b"abc".to_vec(), false));
    }

    proptest! {
        #[test]
        fn a_body_is_the_same_however_it_arrives(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..50), 0..8),
            cuts in prop::collection::vec(1_usize..20, 0..200),
        ) {
            let mut stream = Vec::new();
            for chunk in &chunks {
                stream.extend_from_slice(format!("{:X}\r\n", chunk.len()).as_bytes());
                stream.extend_from_slice(chunk);
                stream.extend_from_slice(b"\r\n");
            }
            stream.extend_from_slice(b"0\r\na: b\r\n\r\nrest");
            let expected = Ok((chunks.concat(), b"rest".to_vec(), true));
            prop_assert_eq!(decode(Length::Chunked, &stream, &cuts), expected.clone());
            let length = Length::Known(chunks.concat().len() as u64);
            let stream = [&chunks.concat()[..], b"rest"].concat();
            prop_assert_eq!(decode(length, &stream, &cuts), expected);
        }

        #[test]
        fn any_stream_decodes_alike_however_it_arrives(
            stream in "([0-9a-c]{1,2}|\r\n|\r|\n|;|=|a: b|[ -~]{0,9}){0,30}",
            cuts in prop::collection::vec(1_usize..9, 0..200),
        ) {
            let whole = decode(Length::Chunked, stream.as_bytes(), &[]);
            prop_assert_eq!(decode(Length::Chunked, stream.as_bytes(), &cuts), whole);
        }
    }
}
