//! Whose word counts: tickets, checked once and remembered until they expire.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use starling_proto::{
    NodeId, UnixMs,
    members::{Profile, RosterEntry},
    ticket::{Claim, Ticket, TicketError},
};

use crate::identity::Identity;

/// Remembers the tickets that were found good.
pub(super) struct Gate {
    identity: Arc<Identity>,
    /// Tickets remembered at most.
    good_max: usize,
    good: HashMap<NodeId, Good>,
}

/// A ticket that was found good. Another ticket of the same node is checked anew.
struct Good {
    ticket: Ticket,
    /// An open mesh looks at it.
    ip: IpAddr,
}

impl Gate {
    pub fn new(identity: Arc<Identity>, good_max: usize) -> Self {
        Self { identity, good_max, good: HashMap::new() }
    }

    /// Whether `profile` shows that `node`, which is where the profile says, belongs to this mesh.
    pub fn check(&mut self, profile: &Profile, node: NodeId, now: UnixMs) -> Result<(), TicketError> {
        let (ticket, ip) = (&profile.ticket, profile.addresses.mesh.ip());
        let is_known = self
            .good
            .get(&node)
            .is_some_and(|good| good.ip == ip && good.ticket == *ticket && !ticket.has_expired(now));
        if !is_known {
            self.identity.admission.check(ticket, node, ip, now)?;
            self.remember(node, ticket, ip);
        }
        Ok(())
    }

    fn remember(&mut self, node: NodeId, ticket: &Ticket, ip: IpAddr) {
        // Somebody may still show the one before.
        let expires_ms = |ticket: &Ticket| ticket.claim.expires_ms;
        if self.good.get(&node).is_some_and(|good| expires_ms(&good.ticket) > expires_ms(ticket)) {
            return;
        }
        if self.good.len() < self.good_max || self.good.contains_key(&node) {
            self.good.insert(node, Good { ticket: ticket.clone(), ip });
        }
    }

    /// Those entries whose tickets are still good. The first that was never good ends it: no honest node tells of
    /// such, and each costs a signature to check.
    pub fn sift(&mut self, entries: Vec<RosterEntry>, now: UnixMs) -> Result<Vec<RosterEntry>, TicketError> {
        let mut good = Vec::with_capacity(entries.len());
        for entry in entries {
            match self.check(&entry.profile, entry.profile.ticket.claim.node, now) {
                Ok(()) => good.push(entry),
                Err(TicketError::Expired { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(good)
    }

    /// What is claimed, and proven, of a node.
    pub fn claim(&self, node: NodeId) -> Option<&Claim> {
        self.good.get(&node).map(|good| &good.ticket.claim)
    }

    /// The node's name where it is known, its id otherwise.
    pub fn name(&self, node: NodeId) -> String {
        self.claim(node).map_or_else(|| node.to_string(), |claim| claim.name.clone())
    }

    /// Takes out those whose tickets have expired.
    pub fn expired(&mut self, now: UnixMs) -> Vec<(NodeId, String)> {
        let expired = self.good.extract_if(|_, good| good.ticket.has_expired(now));
        expired.map(|(node, good)| (node, good.ticket.claim.name)).collect()
    }

    /// Forgets a node.
    pub fn forget(&mut self, node: NodeId) {
        self.good.remove(&node);
    }
}
