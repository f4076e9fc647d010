//! Who this node is to other nodes: its key, its ticket, and whom it lets in.
//!
//! The key is made at the first start and stays in the data directory, readable by its owner alone. The ticket
//! comes from who runs the cluster, as one line in a file; in an open mesh the node makes its own, unsigned.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use libp2p_identity::Keypair;
use starling_proto::{
    NodeId, UnixMs,
    ticket::{Admission, Claim, Ticket, TicketError},
};

use crate::clock::Clock;

/// The file of the node's key, in its data directory: the ed25519 secret seed in hex.
pub const KEY_FILE: &str = "node.key";

/// The node's identity; made once at start, shared by link and gossip.
#[derive(Clone)]
pub struct Identity {
    /// Its ed25519 key.
    pub keypair: Keypair,
    /// The public half.
    pub id: NodeId,
    /// Its ticket; unsigned in an open mesh.
    pub ticket: Ticket,
    /// Whom it lets in.
    pub admission: Admission,
}

/// Why a node has no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The key file holds something else.
    #[error("{} holds no node key: it should be 64 hex digits; to make a new one, move it away", path.display())]
    NoKey {
        /// Which.
        path: PathBuf,
    },
    /// Others could read the key.
    #[error("{} may be read by others than its owner (mode {mode:03o}): set it to 600", path.display())]
    KeyExposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// The ticket file holds something else.
    #[error("{} holds no ticket: {why}", path.display())]
    NoTicket {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: TicketError,
    },
    /// A name of the node cannot stand in a ticket.
    #[error("the node cannot be named so: {0}")]
    Name(TicketError),
    /// A cluster lets nobody in without one.
    #[error("this cluster asks for tickets, and the node was given none: see `starling cluster admit`")]
    TicketMissing,
    /// The ticket is of no use here.
    #[error("the ticket in {} is of no use to node {node}: {why}", path.display())]
    TicketRefused {
        /// Which file.
        path: PathBuf,
        /// This node.
        node: NodeId,
        /// What is wrong.
        why: Box<TicketError>,
    },
    /// The ticket speaks of other names.
    #[error("the ticket in {} is for {what} {ticket:?}, but this node's is {here:?}", path.display())]
    TicketNames {
        /// Which file.
        path: PathBuf,
        /// Which name: `name`, `region` or `PoP`.
        what: &'static str,
        /// In the ticket.
        ticket: String,
        /// As configured.
        here: String,
    },
}

impl Identity {
    /// Loads the key, or makes it; loads the ticket and checks it as others will, or writes an unsigned one
    /// for an open mesh.
    pub fn load(
        data_dir: &Path,
        name: &str,
        region: &str,
        pop: &str,
        ticket_file: Option<&Path>,
        admission: Admission,
    ) -> Result<Self, IdentityError> {
        Self::load_at(data_dir, [name, region, pop], ticket_file, admission, Clock::start().now_ms())
    }

    fn load_at(
        data_dir: &Path,
        names: [&str; 3],
        ticket_file: Option<&Path>,
        admission: Admission,
        now_ms: UnixMs,
    ) -> Result<Self, IdentityError> {
        let keypair = load_key(data_dir)?;
        let id = NodeId::of(&keypair.public()).expect("a node's key is ed25519");
        let ticket = match (ticket_file, admission) {
            (Some(path), _) => {
                let ticket = read_ticket(path)?;
                check_ticket(&ticket, path, id, names, &admission, now_ms)?;
                ticket
            }
            (None, Admission::Cluster(_)) => return Err(IdentityError::TicketMissing),
            (None, Admission::Open) => {
                let [name, region, pop] = names.map(str::to_owned);
                let may_shield = true;
                let claim = Claim { node: id, name, region, pop, may_shield, expires_ms: UnixMs::MAX };
                Ticket::open(claim).map_err(IdentityError::Name)?
            }
        };
        Ok(Self { keypair, id, ticket, admission })
    }
}

/// The node's key in this data directory; made, with the directory, when there is none.
pub fn load_key(data_dir: &Path) -> Result<Keypair, IdentityError> {
    let path = data_dir.join(KEY_FILE);
    match read_key(&path) {
        Err(IdentityError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            make_key(&path)
        }
        read => read,
    }
}

/// The key in this file; refused when others than its owner could read it.
pub fn read_key(path: &Path) -> Result<Keypair, IdentityError> {
    let failed = |source| IdentityError::Read { path: path.to_owned(), source };
    let text = fs::read_to_string(path).map_err(failed)?;
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(IdentityError::KeyExposed { path: path.to_owned(), mode });
    }
    let seed = unhex(text.trim()).filter(|seed| seed.len() == 32);
    let mut seed = seed.ok_or_else(|| IdentityError::NoKey { path: path.to_owned() })?;
    Ok(Keypair::ed25519_from_bytes(&mut seed).expect("any 32 bytes are an ed25519 seed"))
}

/// Makes a key and writes it to this file, which must not be there; its directory is made.
pub fn make_key(path: &Path) -> Result<Keypair, IdentityError> {
    let keypair = Keypair::generate_ed25519();
    let seed = keypair.clone().try_into_ed25519().expect("it was made as ed25519").secret();
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))
        .and_then(|()| write_secret(path, &format!("{}\n", hex(seed.as_ref()))))
        .map_err(|source| IdentityError::Write { path: path.to_owned(), source })?;
    Ok(keypair)
}

/// Writes a file that only its owner can read, whole or not at all; an existing one is left alone, with an error.
pub fn write_secret(path: &Path, text: &str) -> io::Result<()> {
    let beside = path.with_extension("new");
    // What a start that was cut short left behind.
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    let linked = fs::hard_link(&beside, path);
    fs::remove_file(&beside)?;
    linked?;
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => fs::File::open(dir)?.sync_all(),
        _ => Ok(()),
    }
}

fn read_ticket(path: &Path) -> Result<Ticket, IdentityError> {
    let text =
        fs::read_to_string(path).map_err(|source| IdentityError::Read { path: path.to_owned(), source })?;
    text.parse().map_err(|why| IdentityError::NoTicket { path: path.to_owned(), why })
}

/// What every peer would say of this ticket is said here, at the start, with the file's name.
fn check_ticket(
    ticket: &Ticket,
    path: &Path,
    node: NodeId,
    [name, region, pop]: [&str; 3],
    admission: &Admission,
    now_ms: UnixMs,
) -> Result<(), IdentityError> {
    // Where the node will be seen from is not known yet, and is no property of the ticket.
    let anywhere = IpAddr::from(Ipv4Addr::LOCALHOST);
    admission.check(ticket, node, anywhere, now_ms).map_err(|why| IdentityError::TicketRefused {
        path: path.to_owned(),
        node,
        why: Box::new(why),
    })?;
    let claim = &ticket.claim;
    let names = [("name", &claim.name, name), ("region", &claim.region, region), ("PoP", &claim.pop, pop)];
    match names.into_iter().find(|(_, ticket, here)| *ticket != here) {
        None => Ok(()),
        Some((what, ticket, here)) => Err(IdentityError::TicketNames {
            path: path.to_owned(),
            what,
            ticket: ticket.clone(),
            here: here.to_owned(),
        }),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes all writes");
        text
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> =
        text.chars().map(|c| c.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
    digits.len().is_multiple_of(2).then(|| digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = 1_000;

    fn load(dir: &Path, ticket: Option<&Path>, admission: Admission) -> Result<Identity, IdentityError> {
        Identity::load_at(dir, ["lon-1", "eu", "lon"], ticket, admission, NOW)
    }

    fn said(result: Result<Identity, IdentityError>) -> String {
        result.map(|_| ()).expect_err("refused").to_string()
    }

    fn claim(node: NodeId) -> Claim {
        let [name, region, pop] = ["lon-1", "eu", "lon"].map(str::to_owned);
        Claim { node, name, region, pop, may_shield: false, expires_ms: NOW + 1 }
    }

    #[test]
    fn a_key_is_made_once_and_is_for_its_owner_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let data = dir.path().join("deep/data");
        let first = load(&data, None, Admission::Open).expect("made");
        let mode = fs::metadata(data.join(KEY_FILE)).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let again = load(&data, None, Admission::Open).expect("found");
        assert_eq!(first.id, again.id);
        assert_eq!(first.ticket.claim.node, first.id);
        assert_eq!(fs::read_dir(&data).expect("listed").count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_key_that_is_none_or_open_to_others_is_refused_by_name_and_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join(KEY_FILE);
        for bad in ["", "zz", "00", "not a key"] {
            let _ = fs::remove_file(&path);
            write_secret(&path, bad).expect("written");
            assert!(said(load(dir.path(), None, Admission::Open)).contains("node.key holds no node key"));
            assert_eq!(fs::read_to_string(&path).expect("kept"), bad);
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("set");
        let error = said(load(dir.path(), None, Admission::Open));
        assert!(error.contains("node.key") && error.contains("640"), "{error}");
        assert!(write_secret(&path, "other").is_err(), "a key is never overwritten");
    }

    #[test]
    fn a_ticket_must_be_of_this_cluster_this_node_and_these_names() {
        let dir = tempfile::tempdir().expect("a directory");
        let [cluster, other] = [Keypair::generate_ed25519(), Keypair::generate_ed25519()];
        let admission = Admission::Cluster(NodeId::of(&cluster.public()).expect("ed25519"));
        assert!(said(load(dir.path(), None, admission)).contains("given none"));
        let me = NodeId::of(&load_key(dir.path()).expect("made").public()).expect("ed25519");
        let stranger = NodeId::of(&other.public()).expect("ed25519");

        let file = dir.path().join("ticket.json");
        let try_with = |ticket: Ticket| {
            fs::write(&file, ticket.to_text()).expect("written");
            load(dir.path(), Some(&file), admission)
        };
        let issue = |claim, by: &Keypair| Ticket::issue(claim, by).expect("good names");
        let good = issue(claim(me), &cluster);
        assert_eq!(try_with(good.clone()).expect("good").ticket, good);
        let elsewhere = Claim { pop: "par".to_owned(), ..claim(me) };
        let expired = Claim { expires_ms: NOW, ..claim(me) };
        let bad = [
            (issue(claim(me), &other), "cluster"),
            (issue(claim(stranger), &cluster), "12D3KooW"),
            (issue(elsewhere, &cluster), "is for PoP \"par\""),
            (issue(expired, &cluster), "expired"),
            (Ticket::open(claim(me)).expect("good names"), "sign"),
        ];
        for (ticket, word) in bad {
            let error = said(try_with(ticket));
            assert!(error.contains("ticket.json") && error.contains(word), "{error}");
        }
        fs::write(&file, "{}").expect("written");
        assert!(said(load(dir.path(), Some(&file), admission)).contains("ticket.json holds no ticket"));
    }
}
