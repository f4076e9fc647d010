//! Opening a TCP connection: addresses of both families, raced with a small head start for the one before
//! (RFC 8305). The name is resolved anew for each connection, so that a change of DNS is followed.

use std::{io, net::SocketAddr, time::Duration};
use tokio::{
    net::{TcpStream, lookup_host},
    task::JoinSet,
    time::timeout,
};

/// How long an attempt is alone before the next address is tried beside it (RFC 8305 section 5).
const HEAD_START: Duration = Duration::from_millis(250);
/// Addresses tried for one connection.
const ADDRESSES_MAX: usize = 16;

/// Connects to the first address that answers. The caller bounds the time.
pub(super) async fn dial(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut addresses = alternate(lookup_host((host, port)).await?.take(ADDRESSES_MAX)).into_iter();
    let mut error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let mut attempts = JoinSet::new();
    loop {
        let next = addresses.next();
        let is_last = next.is_none();
        if let Some(address) = next {
            attempts.spawn(TcpStream::connect(address));
        }
        let joined = if is_last {
            attempts.join_next().await
        } else {
            match timeout(HEAD_START, attempts.join_next()).await {
                Ok(joined) => joined,
                Err(_) => continue,
            }
        };
        match joined {
            None => return Err(error),
            Some(Ok(Ok(stream))) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Some(Ok(Err(failed))) => error = failed,
            Some(Err(failed)) => error = io::Error::other(failed),
        }
    }
}

/// The families in turn, the resolver's order within each (RFC 8305 section 4).
fn alternate(addresses: impl Iterator<Item = SocketAddr>) -> Vec<SocketAddr> {
    let mut addresses: Vec<_> = addresses.collect();
    let Some(first_is_v6) = addresses.first().map(SocketAddr::is_ipv6) else { return addresses };
    let mut same = 0;
    let mut other = 0;
    addresses.sort_by_cached_key(|address| {
        let is_first_family = address.is_ipv6() == first_is_v6;
        let nth = if is_first_family { &mut same } else { &mut other };
        *nth += 1;
        (*nth, !is_first_family)
    });
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let all = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "1.1.1.2:1"];
        let all = all.map(|a| a.parse::<SocketAddr>().expect("an address"));
        let order = alternate(all.into_iter());
        assert_eq!(order, [all[0], all[3], all[1], all[4], all[2]]);
    }

    #[tokio::test]
    async fn a_dead_address_does_not_hide_a_living_one() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let port = listener.local_addr().expect("bound").port();
        // `localhost` may resolve to both families; only one listens.
        dial("localhost", port).await.expect("connected");
    }

    #[tokio::test]
    async fn nobody_there_is_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
        let port = listener.local_addr().expect("bound").port();
        drop(listener);
        assert_eq!(
            dial("127.0.0.1", port).await.map(drop).map_err(|e| e.kind()),
            Err(io::ErrorKind::ConnectionRefused)
        );
    }
}
