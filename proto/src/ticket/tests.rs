//! Tickets: who is let in, and who is told why not.

use super::*;

const NOW: UnixMs = 1_800_000_000_000;
const AWAY: IpAddr = IpAddr::V4(core::net::Ipv4Addr::new(192, 0, 2, 7));
const HERE: IpAddr = IpAddr::V4(core::net::Ipv4Addr::LOCALHOST);

fn keypair(seed: u8) -> Keypair {
    Keypair::ed25519_from_bytes([seed; 32]).expect("any 32 bytes are a secret key")
}

fn id(seed: u8) -> NodeId {
    NodeId::of(&keypair(seed).public()).expect("it is an ed25519 key")
}

fn claim() -> Claim {
    Claim {
        node: id(1),
        name: "lon-1".into(),
        region: "eu".into(),
        pop: "lon".into(),
        may_shield: true,
        expires_ms: NOW + 1,
    }
}

fn ticket() -> Ticket {
    Ticket::issue(claim(), &keypair(9)).expect("the names are names")
}

fn closed() -> Admission {
    Admission::Cluster(id(9))
}

fn shown(ticket: &Ticket) -> Result<(), TicketError> {
    closed().check(ticket, id(1), AWAY, NOW)
}

fn not_ours() -> Result<(), TicketError> {
    Err(TicketError::NotOurs { name: "lon-1".into() })
}

#[test]
fn a_node_with_a_ticket_of_the_cluster_is_let_in_from_anywhere() {
    assert_eq!(shown(&ticket()), Ok(()));
    assert_eq!(closed().check(&ticket(), id(1), HERE, NOW), Ok(()));
}

#[test]
fn a_ticket_is_void_from_the_moment_it_names() {
    let late = closed().check(&ticket(), id(1), AWAY, NOW + 1);
    assert_eq!(late, Err(TicketError::Expired { name: "lon-1".into(), expires_ms: NOW + 1 }));
    let open = Admission::Open.check(&ticket(), id(1), HERE, NOW + 1);
    assert!(matches!(open, Err(TicketError::Expired { .. })));
    let forever = Ticket::issue(Claim { expires_ms: u64::MAX, ..claim() }, &keypair(9)).expect("names");
    assert_eq!(closed().check(&forever, id(1), AWAY, u64::MAX), Ok(()));
}

#[test]
fn a_ticket_of_another_cluster_is_worth_nothing() {
    let other = Ticket::issue(claim(), &keypair(8)).expect("the names are names");
    assert_eq!(shown(&other), not_ours());
}

#[test]
fn a_ticket_with_any_part_changed_is_worth_nothing() {
    type Change = fn(&mut Claim);
    let changes: [Change; 6] = [
        |claim| claim.name = "lon-2".into(),
        |claim| claim.region = "us".into(),
        |claim| claim.pop = "par".into(),
        |claim| claim.may_shield = false,
        |claim| claim.expires_ms += 1,
        // The bytes of the texts together are the same; only where one ends differs.
        |claim| (claim.region, claim.pop) = ("eul".into(), "on".into()),
    ];
    for change in changes {
        let mut ticket = ticket();
        change(&mut ticket.claim);
        let expected = Err(TicketError::NotOurs { name: ticket.claim.name.clone() });
        assert_eq!(shown(&ticket), expected, "{:?}", ticket.claim);
    }
    let mut taken_over = ticket();
    taken_over.claim.node = id(2);
    assert_eq!(closed().check(&taken_over, id(2), AWAY, NOW), not_ours());
}

#[test]
fn no_bit_of_a_signature_may_change_nor_its_length() {
    let whole = ticket().signature.expect("it is signed");
    let mut wrong: Vec<Vec<u8>> = (0..whole.len()).map(|at| whole.clone().tap(|s| s[at] ^= 1)).collect();
    wrong.extend([Vec::new(), whole[..63].to_vec(), [whole.as_slice(), &[0]].concat()]);
    for signature in wrong {
        assert_eq!(shown(&Ticket { signature: Some(signature), ..ticket() }), not_ours());
    }
}

trait Tap: Sized {
    fn tap(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

impl Tap for Vec<u8> {}

#[test]
fn a_stolen_ticket_does_not_open_the_door() {
    let stolen = TicketError::OtherNode { claimed: id(1), shown_by: id(2) };
    assert_eq!(closed().check(&ticket(), id(2), AWAY, NOW), Err(stolen.clone()));
    assert_eq!(Admission::Open.check(&ticket(), id(2), HERE, NOW), Err(stolen));
}

#[test]
fn a_closed_mesh_takes_no_ticket_that_nobody_signed() {
    let open = Ticket::open(claim()).expect("the names are names");
    let refused = TicketError::Unsigned { name: "lon-1".into() };
    assert_eq!(closed().check(&open, id(1), HERE, NOW), Err(refused));
}

#[test]
fn a_word_that_the_cluster_key_gave_for_something_else_is_no_ticket() {
    let bare = keypair(9).sign(&encode(&claim())).expect("ed25519 keys sign");
    assert_eq!(shown(&Ticket { signature: Some(bare), ..ticket() }), not_ours());
}

#[test]
fn an_open_mesh_takes_anybody_from_this_machine_and_nobody_else() {
    let open = Ticket::open(claim()).expect("the names are names");
    for loopback in ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"] {
        let from = loopback.parse().expect("an address");
        assert_eq!(Admission::Open.check(&open, id(1), from, NOW), Ok(()), "{from}");
        assert_eq!(Admission::Open.check(&ticket(), id(1), from, NOW), Ok(()), "signed, {from}");
    }
    for away in ["192.0.2.7", "10.0.0.1", "0.0.0.0", "::", "fe80::1", "::ffff:192.0.2.7"] {
        let from = away.parse().expect("an address");
        let refused = Err(TicketError::NotLoopback { from });
        assert_eq!(Admission::Open.check(&open, id(1), from, NOW), refused);
        assert_eq!(Admission::Open.check(&ticket(), id(1), from, NOW), refused);
    }
}

#[test]
fn names_are_short_and_plain() {
    let long = "a".repeat(NAME_BYTES_MAX + 1);
    for bad in ["", "a b", "a/b", "ä", "a\n", "a:b", long.as_str()] {
        for part in ["name", "region", "pop"] {
            let mut claim = claim();
            match part {
                "name" => claim.name = bad.into(),
                "region" => claim.region = bad.into(),
                _ => claim.pop = bad.into(),
            }
            let text = bad.chars().take(NAME_BYTES_MAX).collect();
            let refused = TicketError::Name { part, text };
            assert_eq!(Ticket::issue(claim.clone(), &keypair(9)), Err(refused.clone()));
            assert_eq!(Ticket::open(claim.clone()), Err(refused.clone()));
            let forged = Ticket { claim, signature: None };
            assert_eq!(forged.to_text().parse::<Ticket>(), Err(refused.clone()), "{bad:?}");
            assert_eq!(Admission::Open.check(&forged, id(1), HERE, NOW), Err(refused));
        }
    }
    let longest = Claim { name: "a".repeat(NAME_BYTES_MAX), pop: "A-z_0.9".into(), ..claim() };
    assert!(Ticket::issue(longest, &keypair(9)).is_ok());
}

#[test]
fn a_ticket_comes_back_from_its_text() {
    for ticket in [ticket(), Ticket::open(claim()).expect("the names are names")] {
        assert_eq!(ticket.to_text().parse(), Ok(ticket.clone()));
        assert_eq!(format!("\n {}\r\n", ticket.to_text()).parse(), Ok(ticket));
    }
}

#[test]
fn garbage_is_no_ticket() {
    let text = ticket().to_text();
    let cut: Vec<String> = (0..text.len()).map(|end| text[..end].to_owned()).collect();
    let long = format!("{TICKET_WORD} {}", "00".repeat(TEXT_BYTES_MAX));
    let odd = [
        text.replace("v1", "v2"),
        format!("{text}00"),
        format!("{text}0"),
        text.replacen(' ', "", 1),
        format!("{TICKET_WORD} zz"),
        format!("{TICKET_WORD} é0"),
        // The length of the name says 2^64 - 1: nothing of that size may be made room for.
        format!("{TICKET_WORD} {}fdffffffffffffffff", "00".repeat(32)),
        long,
    ];
    for garbage in cut.iter().chain(&odd) {
        assert_eq!(garbage.parse::<Ticket>(), Err(TicketError::Text), "{garbage}");
    }
}

#[test]
fn what_is_signed_and_written_never_changes() {
    let text = ticket().to_text();
    let digest = blake3::hash(text.as_bytes()).to_hex();
    assert_eq!(digest.as_str(), "683f902f398d9ea7d868886456fccade324d6ef1edf4109ed2a7662ec5f20224", "{text}");
}

#[test]
fn the_public_key_of_a_cluster_comes_back_from_its_text() {
    let text = cluster_key_to_text(id(9));
    assert!(text.starts_with("starling-cluster-v1 12D3KooW"));
    assert_eq!(cluster_key_from_text(&text), Ok(id(9)));
    assert_eq!(cluster_key_from_text(&format!("{text}\n")), Ok(id(9)));
    assert_eq!(cluster_key_from_text(&format!(" {}\n", id(9))), Ok(id(9)));
    for wrong in ["", "starling-cluster-v1", "starling-cluster-v1 x", "starling-cluster-v2 12D3KooW", "12D3"]
    {
        assert_eq!(cluster_key_from_text(wrong), Err(TicketError::ClusterText), "{wrong:?}");
    }
}
