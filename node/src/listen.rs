//! How TCP listeners are made, for clients and for other nodes.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// A listener at `address`, for which the system holds up to `backlog` connections until they are accepted. An
/// address that was listened at a moment ago is free at once.
pub fn tcp(address: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // `[::]` is for IPv6 alone, so that it can be listed beside `0.0.0.0`.
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(backlog)?;
    TcpListener::from_std(StdListener::from(socket))
}
