use std::fmt::Debug;

use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::{samples::*, *};
use crate::{
    Key, NodeId,
    members::{HOT_KEYS_MAX, Status},
    purge::{Base, Batch, Region, Shield, Shields, Version, Versions},
};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The message is written as these bytes, and they are read as the message.
fn is_written_as<M: Message + PartialEq + Debug>(message: &M, golden: &[u8]) {
    let bytes = encode(message).expect("a small message");
    assert_eq!(
        hex(&bytes),
        hex(golden),
        "{message:?} is written otherwise than nodes of version {VERSION} do"
    );
    assert_eq!(decode::<M>(golden).as_ref(), Ok(message));
}

/// Nodes of one version understand each other. Who changes a message on purpose raises [`VERSION`] and puts the
/// new bytes, which a failure prints, into the files; the fuzzer starts from the same.
#[test]
fn every_kind_of_message_is_written_as_it_always_was() {
    is_written_as(&hello(), include_bytes!("../../fuzz/seeds/hello/full"));
    is_written_as(&fetch(), include_bytes!("../../fuzz/seeds/fetch/full"));
    is_written_as(&answer(), include_bytes!("../../fuzz/seeds/answer/full"));
    is_written_as(
        &Call::PingFor(NodeId::from_bytes([7; 32])),
        include_bytes!("../../fuzz/seeds/call/ping_for"),
    );
    is_written_as(
        &Reply::PongOf(NodeId::from_bytes([7; 32]), true),
        include_bytes!("../../fuzz/seeds/reply/pong_of"),
    );
    is_written_as(
        &Reply::Refused(Refusal::Failed("no route".into())),
        include_bytes!("../../fuzz/seeds/reply/refused"),
    );
    is_written_as(&push(), include_bytes!("../../fuzz/seeds/call/push"));
    is_written_as(&propose(), include_bytes!("../../fuzz/seeds/call/propose"));
    is_written_as(&Call::Head, &[VERSION, 6]);
    is_written_as(&Call::Leases, &[VERSION, 7]);
    is_written_as(
        &Call::Receipt { id: id(), wait_ms: 5_000 },
        include_bytes!("../../fuzz/seeds/call/receipt"),
    );
    is_written_as(&Reply::Batches(vec![batch()]), include_bytes!("../../fuzz/seeds/reply/batches"));
    is_written_as(&proposed(), include_bytes!("../../fuzz/seeds/reply/proposed"));
    is_written_as(&Reply::Head(Some(lease())), include_bytes!("../../fuzz/seeds/reply/head"));
    is_written_as(&Reply::Leases(vec![lease()]), include_bytes!("../../fuzz/seeds/reply/leases"));
    is_written_as(&Reply::Receipt(Some(receipt())), include_bytes!("../../fuzz/seeds/reply/receipt"));
    is_written_as(&Gossip::State(Box::new(state())), include_bytes!("../../fuzz/seeds/gossip/state"));
    is_written_as(&summary(), include_bytes!("../../fuzz/seeds/gossip/summary"));
    is_written_as(&Call::Ping, &[VERSION, 0]);
    is_written_as(&Reply::Pong, &[VERSION, 0]);
    let refusals = [Refusal::NotStored, Refusal::Busy, Refusal::Draining, Refusal::NotServed];
    refusals.iter().zip(0..).for_each(|(refusal, number)| is_written_as(refusal, &[VERSION, number]));
    is_written_as(&Refusal::Failed("é".into()), &[VERSION, 4, 2, 0xc3, 0xa9]);
}

#[test]
fn another_version_is_told_from_nonsense() {
    assert_eq!(decode::<Call>(&[1, 0]), Err(WireError::Version { got: 1 }));
    assert_eq!(decode::<Call>(&[]), Err(WireError::Malformed));
    assert_eq!(decode::<Call>(&[VERSION]), Err(WireError::Malformed));
    assert_eq!(decode::<Call>(&[VERSION, 9]), Err(WireError::Malformed), "there is no tenth question");
    assert_eq!(decode::<Call>(&[VERSION, 0, 0]), Err(WireError::Malformed), "something follows");
    assert_eq!(decode::<Refusal>(&[VERSION, 4, 2, 0xc3, 0x28]), Err(WireError::Malformed), "no UTF-8");
}

#[test]
fn what_is_too_long_is_neither_sent_nor_looked_at() {
    let limit = Refusal::BYTES_MAX;
    // Version, variant, and three bytes of length stand before the text.
    let fits = Refusal::Failed("x".repeat(limit - 5));
    assert_eq!(decode(&encode(&fits).expect("it just fits")), Ok(fits));
    let too_long = WireError::TooLong { bytes: limit + 1, limit };
    assert_eq!(encode(&Refusal::Failed("x".repeat(limit - 4))), Err(too_long.clone()));
    assert_eq!(decode::<Refusal>(&vec![9; limit + 1]), Err(too_long), "not even its version is read");
}

#[test]
fn a_length_that_is_a_lie_is_found_out() {
    // `Failed`, and a text of 2^64 - 1, 2^32, or a million bytes, of which none follows.
    for length in [
        &[253, 255, 255, 255, 255, 255, 255, 255, 255][..],
        &[253, 0, 0, 0, 0, 1, 0, 0, 0],
        &[252, 64, 66, 15, 0],
    ] {
        assert_eq!(decode::<Refusal>(&[&[VERSION, 4], length].concat()), Err(WireError::Malformed));
    }
}

#[test]
fn lists_longer_than_they_may_be_are_neither_sent_nor_read() {
    let too_many = |what, limit: usize| WireError::TooMany { what, count: limit + 1, limit };

    let mut fetch = fetch();
    fetch.request.headers = vec![("a".into(), Bytes::new()); FIELDS_MAX];
    assert_eq!(decode(&encode(&fetch).expect("as many as may be")), Ok(fetch.clone()));
    fetch.request.headers.push(("a".into(), Bytes::new()));
    assert_eq!(encode(&fetch), Err(too_many("fields", FIELDS_MAX)));
    assert_eq!(decode::<Fetch>(&unchecked(&fetch)), Err(WireError::Malformed));

    let mut answer = answer();
    answer.headers = fetch.request.headers;
    assert_eq!(encode(&answer), Err(too_many("fields", FIELDS_MAX)));
    assert_eq!(decode::<Answer>(&unchecked(&answer)), Err(WireError::Malformed));

    let mut greeting = hello();
    greeting.roster = vec![greeting.roster[0].clone(); ROSTER_MAX + 1];
    assert_eq!(encode(&greeting), Err(too_many("nodes", ROSTER_MAX)));
    greeting.roster.pop();
    assert!(encode(&greeting).is_ok(), "a full roster of usual names fits");

    let mut state = state();
    state.hot = vec![Key::of("hot"); HOT_KEYS_MAX + 1];
    let gossip = Gossip::State(Box::new(state));
    assert_eq!(encode(&gossip), Err(too_many("hot keys", HOT_KEYS_MAX)));
    assert_eq!(decode::<Gossip>(&unchecked(&gossip)), Err(too_many("hot keys", HOT_KEYS_MAX)));
}

#[test]
fn more_shields_than_a_region_may_have_are_neither_sent_nor_read() {
    let shield = Shield { node: NodeId::from_bytes([7; 32]), weight: 1 };
    let pushed = |count: usize| {
        let base =
            Base { shields: Some((Version::default(), Shields(vec![shield; count]))), services: vec![] };
        Call::Push { batch: Batch { base: Some(base), ..batch() }, relay: vec![] }
    };
    let limit = 4_096;
    assert_eq!(decode(&encode(&pushed(limit)).expect("as many as may be")), Ok(pushed(limit)));
    let too_many = WireError::TooMany { what: "shields", count: limit + 1, limit };
    assert_eq!(encode(&pushed(limit + 1)), Err(too_many.clone()));
    assert_eq!(decode::<Call>(&unchecked(&pushed(limit + 1))), Err(too_many));
}

/// As a peer would write it that keeps to no limits.
fn unchecked<M: Message>(message: &M) -> Vec<u8> {
    let body = bincode::serde::encode_to_vec(message, codec::FORMAT).expect("memory takes all");
    [&[VERSION][..], &body].concat()
}

/// bincode counts numbers at their full width: what is nearly all small numbers must be read all the same.
#[test]
fn a_message_up_to_its_limit_is_read_however_small_its_parts_are() {
    let mut versions = Versions::default();
    (0..4096).for_each(|number| {
        versions.set(
            Region::new(&char::from_u32(number).map_or("lone".into(), String::from)),
            Version::default(),
        );
    });
    let mut fetch = fetch();
    fetch.versions = versions;
    fetch.request.headers = vec![(String::new(), Bytes::new()); FIELDS_MAX];
    fetch.request.path_and_query = "/".repeat(Fetch::BYTES_MAX - encode(&fetch).expect("small").len());
    let bytes = encode(&fetch).expect("up to the limit");
    assert!(bytes.len() > Fetch::BYTES_MAX - 32);
    assert_eq!(decode(&bytes), Ok(fetch));

    let mut greeting = hello();
    let entry = &mut greeting.roster[0];
    (entry.status, entry.profile.incarnation, entry.profile.weight) = (Status::Alive, 0, 0);
    let claim = &mut entry.profile.ticket.claim;
    (claim.name, claim.region, claim.pop, claim.expires_ms) = Default::default();
    entry.profile.ticket.signature = None;
    greeting.roster = vec![entry.clone(); ROSTER_MAX];
    let claim = &mut greeting.state.profile.ticket.claim;
    claim.name = "x".repeat(Hello::BYTES_MAX - encode(&hello()).expect("small").len() - ROSTER_MAX * 70);
    assert_eq!(decode(&encode(&greeting).expect("up to the limit")), Ok(greeting));
}

/// It comes back as it was; no proper beginning of it is a message, nor is it with more behind it.
fn round_trip<M: Message + PartialEq + Debug>(message: &M, cut: Index) -> Result<(), TestCaseError> {
    let mut bytes = encode(message).expect("a small message");
    let decoded = decode::<M>(&bytes);
    prop_assert_eq!(decoded.as_ref(), Ok(message));
    prop_assert_eq!(decode::<M>(&bytes[..cut.index(bytes.len())]), Err(WireError::Malformed));
    bytes.push(0);
    prop_assert_eq!(decode::<M>(&bytes), Err(WireError::Malformed));
    Ok(())
}

/// What is read from whatever bytes can be written and read again; heads are parsed or refused.
fn survives<M: Message + PartialEq + Debug>(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(message) = decode::<M>(bytes) {
        let again = encode(&message).expect("what was read can be written: never longer than it was");
        prop_assert!(again.len() <= bytes.len());
        prop_assert_eq!(decode::<M>(&again), Ok(message));
    }
    Ok(())
}

fn survives_as_any(bytes: &[u8]) -> Result<(), TestCaseError> {
    survives::<Hello>(bytes)?;
    survives::<Fetch>(bytes)?;
    survives::<Answer>(bytes)?;
    survives::<Refusal>(bytes)?;
    survives::<Call>(bytes)?;
    survives::<Reply>(bytes)?;
    survives::<Gossip>(bytes)
}

fn any_encoded() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any_hello().prop_map(|message| encode(&message)),
        any_fetch().prop_map(|message| encode(&message)),
        any_answer().prop_map(|message| encode(&message)),
        any_reply().prop_map(|message| encode(&message)),
        any_gossip().prop_map(|message| encode(&message)),
    ]
    .prop_map(|bytes| bytes.expect("small messages"))
}

proptest! {
    #[test]
    fn greetings_come_back(message in any_hello(), cut: Index) { round_trip(&message, cut)?; }

    #[test]
    fn fetches_come_back(message in any_fetch(), cut: Index) { round_trip(&message, cut)?; }

    #[test]
    fn answers_come_back(message in any_answer(), cut: Index) { round_trip(&message, cut)?; }

    #[test]
    fn calls_and_replies_come_back(
        call in any_call(), reply in any_reply(), refusal in any_refusal(), cut: Index,
    ) {
        round_trip(&call, cut)?;
        round_trip(&reply, cut)?;
        round_trip(&refusal, cut)?;
    }

    #[test]
    fn gossip_comes_back(message in any_gossip(), cut: Index) { round_trip(&message, cut)?; }

    #[test]
    fn bytes_of_any_kind_do_no_harm(mut bytes in vec(any::<u8>(), 1..400)) {
        survives_as_any(&bytes)?;
        bytes[0] = VERSION;
        survives_as_any(&bytes)?;
    }

    /// Bytes are changed, among them to the marks of long numbers, and the end is cut off.
    #[test]
    fn damaged_messages_do_no_harm(
        mut bytes in any_encoded(),
        changes in vec((any::<Index>(), prop_oneof![any::<u8>(), 249..=255_u8]), 1..8),
        keep: Index,
    ) {
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        survives_as_any(&bytes)?;
        bytes.truncate(keep.index(bytes.len()));
        survives_as_any(&bytes)?;
    }
}
