//! The promises, as they hold in every state, and states that must be reached for that to mean anything.

use starling_proto::purge::{Mode, Purged, Versions};
use stateright::Property;

use super::mesh::{Event, Fill, Mesh, Node, Object, State, is_level, place};

pub const NO_WAY_BACK: &str = "P1: no node serves what a purge that it applied names";
pub const READ_YOUR_PURGE: &str = "P2: the shield gives nobody what a purge that they applied names";
pub const REJOIN: &str = "P4: who restarts serves nothing that a purge names which all others had applied";
pub const REBORN: &str = "P6: who knows that a log began anew serves nothing from before that";

/// Those that this mesh must have.
pub fn of(mesh: &Mesh) -> Vec<Property<Mesh>> {
    let mut properties = of_all();
    if mesh.restarts() {
        properties.extend(of_restarts());
    }
    if mesh.script.iter().any(|event| matches!(event, Event::Compact(_))) {
        properties.extend(of_steps());
    }
    properties
}

fn of_all() -> Vec<Property<Mesh>> {
    vec![
        Property::always(NO_WAY_BACK, |mesh, state| {
            serving(mesh, state).all(|(node, object)| !mesh.is_back(state, node.applied(), node, object))
        }),
        Property::always(READ_YOUR_PURGE, read_your_purge),
        Property::always(REJOIN, |mesh, state| {
            serving(mesh, state).all(|(node, object)| {
                let mut owed =
                    node.owes.iter().filter(|event| matches!(mesh.script[**event], Event::Purge(..)));
                owed.all(|event| object.validated > *event)
            })
        }),
        Property::always(REBORN, |mesh, state| {
            serving(mesh, state).all(|(node, object)| {
                let mut births = (0..state.past).filter(|event| {
                    matches!(mesh.script[*event], Event::Reborn(_)) && is_known(mesh, node.applied(), *event)
                });
                births.all(|event| object.validated > event)
            })
        }),
        Property::sometimes("a node hits", |mesh, state: &State| {
            state.nodes.iter().any(|node| node.fill.is_none() && mesh.served(node).next().is_some())
        }),
        Property::sometimes("a purge is applied while the origin is asked", |_, state: &State| {
            let is_overtaken = |node: &Node| matches!(&node.fill, Some(Fill::Origin { stamp, .. }) if **stamp != *node.applied());
            state.nodes.iter().any(is_overtaken)
        }),
        Property::sometimes("a body arrives that is purged", |mesh, state: &State| {
            let is_late = |node: &Node| match &node.fill {
                Some(Fill::Arriving(object)) => mesh.purged(&node.disk.known, &object.stamp) != Purged::No,
                _ => false,
            };
            state.nodes.iter().any(is_late)
        }),
        Property::sometimes("an edge asks who is behind it", |mesh: &Mesh, state: &State| {
            let shield = &state.nodes[mesh.edges];
            let is_ahead = |node: &Node| match &node.fill {
                Some(Fill::Asked { versions, .. }) => !is_level(shield.applied(), versions),
                _ => false,
            };
            state.nodes.iter().any(is_ahead)
        }),
        Property::sometimes("an old body is served that was validated after a purge", |mesh, state| {
            serving(mesh, state).any(|(_, object)| {
                (object.born..object.validated).any(|event| matches!(mesh.script[event], Event::Purge(..)))
            })
        }),
        Property::sometimes("a node serves what it fetched after a purge", |mesh, state| {
            serving(mesh, state).any(|(_, object)| {
                (0..object.born).any(|event| matches!(mesh.script[event], Event::Purge(..)))
            })
        }),
    ]
}

/// States that a mesh with restarts must reach.
fn of_restarts() -> [Property<Mesh>; 2] {
    [
        Property::sometimes(
            "a node restarts while the others have applied a purge that it lacks",
            |_, state: &State| state.nodes.iter().any(|node| !node.owes.is_empty()),
        ),
        Property::sometimes("a node serves from a disk that outlived a restart", |mesh, state: &State| {
            state.has_restarted()
                && serving(mesh, state).any(|(node, _)| node.fill.is_none() && node.is_level)
        }),
    ]
}

/// States that a mesh whose log is compacted must reach.
fn of_steps() -> [Property<Mesh>; 2] {
    [
        Property::sometimes("a node holds what is below its floor", |mesh, state: &State| {
            let is_below = |node: &Node| {
                let known = &node.disk.known;
                let purged = |object: &Object| mesh.purged(known, &object.stamp) != Purged::No;
                !known.table.floors().is_empty() && node.disk.object.as_ref().is_some_and(purged)
            };
            state.nodes.iter().any(is_below)
        }),
        Property::sometimes("a node serves above its floor", |mesh, state| {
            serving(mesh, state).any(|(node, _)| !node.disk.known.table.floors().is_empty())
        }),
    ]
}

fn serving<'a>(mesh: &'a Mesh, state: &'a State) -> impl Iterator<Item = (&'a Node, &'a Object)> {
    state.nodes.iter().flat_map(|node| mesh.served(node).map(move |object| (node, object)))
}

fn read_your_purge(mesh: &Mesh, state: &State) -> bool {
    let shield = &state.nodes[mesh.edges];
    state.nodes.iter().all(|node| {
        let Some(Fill::Asked { versions, .. }) = &node.fill else { return true };
        let mut given = mesh.served(shield).filter(|_| mesh.may_answer(shield, versions));
        given.all(|object| !mesh.is_back(state, versions, node, object))
    })
}

fn is_known(mesh: &Mesh, versions: &Versions, event: usize) -> bool {
    place(versions.get(Mesh::region(mesh.script[event].log()))) >= place(Some(mesh.version(event)))
}

impl Mesh {
    /// Whether a purge that is known at `versions` names the object: the object was fetched before it, or last
    /// validated, which is enough where the purge is soft, or was stepped over.
    fn is_back(&self, state: &State, versions: &Versions, node: &Node, object: &Object) -> bool {
        (0..state.past).any(|event| {
            let Event::Purge(_, mode) = self.script[event] else { return false };
            if !is_known(self, versions, event) {
                return false;
            }
            let is_hard = mode == Mode::Hard && node.disk.known.entries.contains(&event);
            let is_hard = is_hard && !object.softened.contains(&event);
            if is_hard { object.born <= event } else { object.validated <= event }
        })
    }
}
