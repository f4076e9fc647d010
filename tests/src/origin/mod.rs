//! An origin in the test's own process that answers by script and remembers what it was asked.

mod gate;
mod reply;
mod request;

pub use gate::Gate;
pub use reply::Reply;
pub use request::Received;

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::BufReader,
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::timeout,
};

use crate::PATIENCE;

type Handler = Arc<dyn Fn(&Received) -> Reply + Send + Sync>;

/// A scripted HTTP/1.1 origin on a loopback port. It stops when dropped.
pub struct TestOrigin {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: JoinHandle<()>,
}

struct Shared {
    handler: Mutex<Handler>,
    requests: Mutex<Vec<Received>>,
    count: watch::Sender<usize>,
    body_bytes: AtomicU64,
}

impl TestOrigin {
    /// Starts an origin that answers every request by `handler`.
    pub async fn start(handler: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), handler).await
    }

    /// Starts an origin at an address where one stood before.
    pub async fn start_at(
        address: SocketAddr,
        handler: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = listen(address).unwrap_or_else(|error| panic!("the origin cannot listen: {error}"));
        let address = listener.local_addr().expect("a listener has an address");
        let shared = Arc::new(Shared {
            handler: Mutex::new(Arc::new(handler)),
            requests: Mutex::default(),
            count: watch::Sender::new(0),
            body_bytes: AtomicU64::new(0),
        });
        let serving = tokio::spawn(serve(listener, shared.clone()));
        Self { address, shared, serving }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers by `handler` from the next request on.
    pub fn answer(&self, handler: impl Fn(&Received) -> Reply + Send + Sync + 'static) {
        *lock(&self.shared.handler) = Arc::new(handler);
    }

    /// All requests so far, in the order in which their heads were read.
    pub fn requests(&self) -> Vec<Received> {
        lock(&self.shared.requests).clone()
    }

    /// How many requests there were for this target (path and query).
    pub fn count(&self, target: &str) -> usize {
        lock(&self.shared.requests).iter().filter(|request| request.target == target).count()
    }

    /// How many requests there were.
    pub fn total(&self) -> usize {
        lock(&self.shared.requests).len()
    }

    /// How many bytes of bodies were written so far, whether or not they arrived.
    pub fn body_bytes(&self) -> u64 {
        self.shared.body_bytes.load(Ordering::Relaxed)
    }

    /// The last request for this target.
    pub fn last(&self, target: &str) -> Option<Received> {
        lock(&self.shared.requests).iter().rev().find(|request| request.target == target).cloned()
    }

    /// Waits until there were `count` requests for this target.
    pub async fn asked(&self, target: &str, count: usize) {
        let mut changed = self.shared.count.subscribe();
        let wait = changed.wait_for(|_| self.count(target) >= count);
        if timeout(PATIENCE, wait).await.is_err() {
            panic!("the origin was asked {} times for {target}, not {count}", self.count(target));
        }
    }

    /// Closes the listener and every connection at once.
    pub async fn stop(mut self) {
        self.serving.abort();
        let _ = (&mut self.serving).await;
    }
}

impl Drop for TestOrigin {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

/// A backlog for a thousand clients at once; `TcpListener::bind` has a smaller one.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(4096)
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    // Dropped with this task: an aborted origin takes its connections with it.
    let mut connections = JoinSet::new();
    let mut id = 0;
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        while connections.try_join_next().is_some() {}
        id += 1;
        connections.spawn(converse(stream, id, shared.clone()));
    }
}

async fn converse(stream: TcpStream, connection: u64, shared: Arc<Shared>) {
    let _ = stream.set_nodelay(true);
    let mut stream = BufReader::new(stream);
    while let Ok(Some(request)) = Received::read(&mut stream, connection).await {
        lock(&shared.requests).push(request.clone());
        shared.count.send_modify(|count| *count += 1);
        let handler = lock(&shared.handler).clone();
        let reply = handler(&request);
        match reply.play(&request, stream.get_mut(), &shared.body_bytes).await {
            Ok(true) => {}
            Ok(false) | Err(_) => return,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
