//! What becomes of a message on its way: how long it takes, whether it is lost, doubled, or cut off.

use super::{Chance, Micros, Node, World};

/// How bad the network is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkSettings {
    /// Messages lost on every path, per million.
    pub loss_ppm: u32,
    /// Messages that come twice, per million.
    pub double_ppm: u32,
    /// The way takes up to this much longer than usual, in percent: messages overtake each other.
    pub jitter_percent: u32,
    /// Messages that wait in some queue on the way, up to once more the usual time and 5 ms; per million.
    pub queued_ppm: u32,
    /// How long the link waits before it sends again what was lost, at first (TCP: 200 ms); it doubles each time.
    pub retransmit: Micros,
}

impl Default for NetworkSettings {
    fn default() -> Self {
        Self { loss_ppm: 0, double_ppm: 0, jitter_percent: 20, queued_ppm: 5_000, retransmit: 200_000 }
    }
}

/// Names a cut, to be healed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CutId(u32);

/// The paths between all nodes.
#[derive(Clone, Debug)]
pub struct Network {
    settings: NetworkSettings,
    world: World,
    /// Nodes whose every path, in and out, loses this much more, per million.
    lossy_ppm: Vec<u32>,
    any_lossy: bool,
    cuts: Vec<Cut>,
    next_cut: u32,
}

#[derive(Clone, Debug)]
struct Cut {
    id: u32,
    from: Vec<bool>,
    to: Vec<bool>,
}

/// When a message arrives: never, once, or twice.
pub(super) type Arrivals = [Option<Micros>; 2];

/// Attempts of the link, after which it gives up: 200 ms doubled six times is 12.6 s.
const ATTEMPTS_MAX: u32 = 6;

impl Network {
    /// A whole network.
    pub fn new(world: World, settings: NetworkSettings) -> Self {
        let nodes = world.sites().len();
        Self { settings, world, lossy_ppm: vec![0; nodes], any_lossy: false, cuts: Vec::new(), next_cut: 0 }
    }

    /// The places it joins.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Changes the loss on every path.
    pub fn lose(&mut self, loss_ppm: u32) {
        self.settings.loss_ppm = loss_ppm;
    }

    /// Changes what is lost besides on every path to and from one node.
    pub fn lose_at(&mut self, node: Node, loss_ppm: u32) {
        self.lossy_ppm[node as usize] = loss_ppm;
        self.any_lossy = self.lossy_ppm.iter().any(|ppm| *ppm > 0);
    }

    /// Nothing goes from these to those any more, though it may come back: a one-way cut.
    pub fn cut_one_way(&mut self, from: &[Node], to: &[Node]) -> CutId {
        let set = |nodes: &[Node]| {
            let mut set = vec![false; self.lossy_ppm.len()];
            nodes.iter().for_each(|node| set[*node as usize] = true);
            set
        };
        let (from, to) = (set(from), set(to));
        self.cuts.push(Cut { id: self.next_cut, from, to });
        self.next_cut += 1;
        CutId(self.next_cut - 1)
    }

    /// Nothing goes between these and those any more. Others still reach both: cuts are not transitive.
    pub fn cut(&mut self, these: &[Node], those: &[Node]) -> [CutId; 2] {
        [self.cut_one_way(these, those), self.cut_one_way(those, these)]
    }

    /// Nothing goes between these and all others any more.
    pub fn part(&mut self, these: &[Node]) -> [CutId; 2] {
        let others: Vec<Node> =
            (0..self.lossy_ppm.len() as Node).filter(|node| !these.contains(node)).collect();
        self.cut(these, &others)
    }

    /// Takes a cut back.
    pub fn heal(&mut self, cut: CutId) {
        self.cuts.retain(|other| other.id != cut.0);
    }

    /// What becomes of one packet.
    pub(super) fn packet(&self, from: Node, to: Node, chance: &mut Chance) -> Arrivals {
        if self.is_cut(from, to) || self.is_lost(from, to, chance) {
            return [None, None];
        }
        let first = Some(self.delay(from, to, chance));
        let again = chance.happens(self.settings.double_ppm).then(|| self.delay(from, to, chance));
        [first, again]
    }

    /// When something said over the link arrives: what is lost is sent again, later and later.
    pub(super) fn stream(&self, from: Node, to: Node, chance: &mut Chance) -> Option<Micros> {
        if self.is_cut(from, to) {
            return None;
        }
        let mut waited = 0;
        for attempt in 0..ATTEMPTS_MAX {
            if !self.is_lost(from, to, chance) {
                return Some(waited + self.delay(from, to, chance));
            }
            waited += self.settings.retransmit << attempt;
        }
        None
    }

    fn is_cut(&self, from: Node, to: Node) -> bool {
        self.cuts.iter().any(|cut| cut.from[from as usize] && cut.to[to as usize])
    }

    fn is_lost(&self, from: Node, to: Node, chance: &mut Chance) -> bool {
        let mut lost = chance.happens(self.settings.loss_ppm);
        if self.any_lossy {
            lost |= chance.happens(self.lossy_ppm[from as usize]);
            lost |= chance.happens(self.lossy_ppm[to as usize]);
        }
        lost
    }

    fn delay(&self, from: Node, to: Node, chance: &mut Chance) -> Micros {
        let usual = self.world.one_way(from, to);
        let bits = chance.bits();
        let late = usual * Micros::from(self.settings.jitter_percent) * (bits & 0xffff) / (100 << 16);
        let queued = (bits >> 16) % 1_000_000 < u64::from(self.settings.queued_ppm);
        let queued_for = ((usual + 5_000) * ((bits >> 48) & 0xffff)) >> 16;
        usual + late + if queued { queued_for } else { 0 }
    }
}
