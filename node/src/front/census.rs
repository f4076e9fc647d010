//! How many connections there are, in total and from one address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{counters::Counters, settings::Limits};

/// Counts connections against the limits.
#[derive(Clone)]
pub(crate) struct Census {
    people: Arc<Mutex<People>>,
    counters: Arc<Counters>,
    connections_max: usize,
    connections_per_address_max: usize,
}

#[derive(Default)]
struct People {
    total: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// Why a connection finds no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    Total,
    Address,
}

/// A place in the census; given back when dropped.
pub(crate) struct Seat {
    census: Census,
    address: IpAddr,
}

impl Census {
    pub(crate) fn new(limits: &Limits, counters: Arc<Counters>) -> Self {
        Self {
            people: Arc::default(),
            counters,
            connections_max: limits.connections_max,
            connections_per_address_max: limits.connections_per_address_max,
        }
    }

    /// Takes a place for a connection from `address`.
    pub(crate) fn admit(&self, address: IpAddr) -> Result<Seat, Full> {
        let address = block(address);
        let mut people = self.people.lock();
        if people.total >= self.connections_max {
            return Err(Full::Total);
        }
        let total = people.total;
        let here = people.by_address.entry(address).or_default();
        if *here >= self.connections_per_address_max {
            return Err(Full::Address);
        }
        *here += 1;
        people.total = total + 1;
        self.counters.connections_open.increment();
        Ok(Seat { census: self.clone(), address })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut people = self.census.people.lock();
        people.total -= 1;
        if let Some(here) = people.by_address.get_mut(&self.address) {
            *here -= 1;
            if *here == 0 {
                people.by_address.remove(&self.address);
            }
        }
        self.census.counters.connections_open.decrement();
    }
}

/// What counts as one address: a client is usually given a whole IPv6 /64.
fn block(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => IpAddr::V4(v4),
            None => {
                let [a, b, c, d, ..] = v6.segments();
                IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
            }
        },
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn census(connections_max: usize, connections_per_address_max: usize) -> Census {
        let limits = Limits { connections_max, connections_per_address_max, ..Limits::default() };
        Census::new(&limits, Arc::default())
    }

    #[test]
    fn places_are_limited_and_come_back() {
        let census = census(2, 2);
        let address = IpAddr::from([127, 0, 0, 1]);
        let first = census.admit(address);
        let second = census.admit(address);
        assert!(first.is_ok() && second.is_ok());
        assert_eq!(census.admit(address).err(), Some(Full::Total));
        drop(first);
        assert!(census.admit(address).is_ok());
    }

    #[test]
    fn a_slash_64_is_one_address() {
        let census = census(10, 1);
        let of = |text: &str| text.parse::<IpAddr>().unwrap();
        let _first = census.admit(of("2001:db8::1")).unwrap();
        assert_eq!(census.admit(of("2001:db8::ffff:1")).err(), Some(Full::Address));
        assert!(census.admit(of("2001:db8:0:1::1")).is_ok());
        let _v4 = census.admit(of("192.0.2.1")).unwrap();
        assert_eq!(census.admit(of("::ffff:192.0.2.1")).err(), Some(Full::Address));
        assert!(census.people.lock().by_address.len() == 2, "places given back leave nothing behind");
    }
}
