//! Where connections wait until it is known whose they are: few places, fewer for one address. So strangers that
//! hold connections take no seat of a peer.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

/// Connections that wait for their greeting, at most.
const PLACES_MAX: usize = 1_024;
/// Of one address, or one /64 of IPv6; those of this machine are not told apart.
const PLACES_OF_ONE_MAX: usize = 64;

/// The places; a cheap handle.
#[derive(Clone, Default)]
pub(super) struct Lobby(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// A place, free again when dropped.
pub(super) struct Place {
    lobby: Lobby,
    address: IpAddr,
}

impl Lobby {
    /// A place for a connection from `address`, if there is one.
    pub fn enter(&self, address: IpAddr) -> Option<Place> {
        let address = network_of(address);
        let mut waiting = self.0.lock();
        let of_one = waiting.by_address.get(&address).copied().unwrap_or_default();
        if waiting.all >= PLACES_MAX || (of_one >= PLACES_OF_ONE_MAX && !address.is_loopback()) {
            return None;
        }
        waiting.all += 1;
        waiting.by_address.insert(address, of_one + 1);
        Some(Place { lobby: self.clone(), address })
    }

    /// Whether more than half of the places are taken.
    pub fn is_crowded(&self) -> bool {
        self.0.lock().all > PLACES_MAX / 2
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.lobby.0.lock();
        waiting.all -= 1;
        if let Some(of_one) = waiting.by_address.get_mut(&self.address) {
            *of_one -= 1;
            if *of_one == 0 {
                waiting.by_address.remove(&self.address);
            }
        }
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) if !address.is_loopback() => {
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & (u128::MAX << 64)))
        }
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_takes_few_places_and_leaves_the_rest_to_others() {
        let lobby = Lobby::default();
        let address = |last: u16| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, last / 100, 0, 0, 0, last));
        let taken: Vec<_> = (0..100).filter_map(|last| lobby.enter(address(last))).collect();
        assert_eq!(taken.len(), PLACES_OF_ONE_MAX, "they are of one network");
        let other = lobby.enter(address(100));
        assert!(other.is_some());
        drop(taken);
        assert_eq!(lobby.0.lock().all, 1);
        assert_eq!(lobby.0.lock().by_address.len(), 1, "nothing is remembered of those that left");
    }

    #[test]
    fn the_places_are_bounded_wherever_their_takers_come_from() {
        let lobby = Lobby::default();
        let here = IpAddr::from([127, 0, 0, 1]);
        let taken: Vec<_> = (0..PLACES_MAX + 5).filter_map(|_| lobby.enter(here)).collect();
        assert_eq!(taken.len(), PLACES_MAX);
        assert!(lobby.is_crowded());
        drop(taken);
        assert!(!lobby.is_crowded() && lobby.enter(here).is_some());
    }
}
