//! Which origin is asked. Pure: the state of the origins and the random draw are arguments.

/// What the choice knows of one origin.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    /// Lower is asked first.
    pub(super) priority: u32,
    /// Share among equals; zero is asked only when there is nobody else.
    pub(super) weight: u32,
    /// What the active checks say.
    pub(super) healthy: bool,
    /// Not yet tried for this request, and its circuit lets a request through.
    pub(super) usable: bool,
    /// Requests there now, waiting ones included.
    pub(super) load: usize,
}

/// Picks among the usable origins of the lowest priority that has a healthy one: two draws by weight, and of
/// these the one with less load per weight. When no usable origin is healthy, health is ignored: the checks
/// may be what is broken, and a refusal would be certain harm. `draw(n)` gives a number below `n`.
pub(super) fn choose(candidates: &[Candidate], mut draw: impl FnMut(u64) -> u64) -> Option<usize> {
    let any_healthy = candidates.iter().any(|c| c.usable && c.healthy);
    let eligible = |c: &Candidate| c.usable && (c.healthy || !any_healthy);
    let priority = candidates.iter().filter(|c| eligible(c)).map(|c| c.priority).min()?;
    let weighted: Vec<(usize, u64)> = {
        let group = candidates.iter().enumerate().filter(|(_, c)| eligible(c) && c.priority == priority);
        let positive: Vec<_> =
            group.clone().filter(|(_, c)| c.weight > 0).map(|(i, c)| (i, u64::from(c.weight))).collect();
        if positive.is_empty() { group.map(|(i, _)| (i, 1)).collect() } else { positive }
    };
    let total = weighted.iter().map(|(_, weight)| weight).sum();
    let mut pick = || {
        let mut at = draw(total);
        weighted.iter().copied().find(|(_, weight)| {
            let here = at < *weight;
            at = at.saturating_sub(*weight);
            here
        })
    };
    let (first, second) = (pick()?, pick()?);
    // load / weight, compared without division.
    let cost = |a: (usize, u64), b: (usize, u64)| candidates[a.0].load as u128 * u128::from(b.1);
    Some(if cost(second, first) < cost(first, second) { second.0 } else { first.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(priority: u32, weight: u32) -> Candidate {
        Candidate { priority, weight, healthy: true, usable: true, load: 0 }
    }

    /// Draws 0, step, 2 step, ... modulo n: every value equally often.
    fn turns(step: u64) -> impl FnMut(u64) -> u64 {
        let mut at = 0;
        move |n| {
            at += step;
            at % n
        }
    }

    #[test]
    fn the_lowest_priority_with_a_healthy_member_is_asked() {
        let mut all = [candidate(1, 1), candidate(0, 1)];
        assert_eq!(choose(&all, turns(1)), Some(1));
        all[1].healthy = false;
        assert_eq!(choose(&all, turns(1)), Some(0));
    }

    #[test]
    fn when_none_is_healthy_the_lowest_priority_is_asked_anyhow() {
        let mut all = [candidate(1, 1), candidate(0, 1)];
        all.iter_mut().for_each(|c| c.healthy = false);
        assert_eq!(choose(&all, turns(1)), Some(1));
        all[1].usable = false;
        assert_eq!(choose(&all, turns(1)), Some(0));
        all[0].usable = false;
        assert_eq!(choose(&all, turns(1)), None);
    }

    #[test]
    fn weight_is_the_share_when_load_per_weight_is_equal() {
        let all = [candidate(0, 3), candidate(0, 1), candidate(0, 0)];
        let mut seed = 1_u64;
        let mut draw = |n| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        let mut counts = [0; 3];
        for _ in 0..400 {
            counts[choose(&all, &mut draw).expect("a usable origin")] += 1;
        }
        assert_eq!(counts[2], 0);
        assert!(counts[0] > 2 * counts[1] && counts[1] > 0, "{counts:?}");
    }

    #[test]
    fn of_two_drawn_the_less_loaded_is_asked() {
        let mut all = [candidate(0, 1), candidate(0, 1)];
        all[0].load = 5;
        assert_eq!(choose(&all, turns(1)), Some(1));
        all[0].weight = 10;
        all[1].load = 1;
        assert_eq!(choose(&all, turns(5)), Some(0), "five of ten is less than one of one");
    }

    #[test]
    fn a_weight_of_zero_is_the_last_resort_of_its_group() {
        assert_eq!(choose(&[candidate(0, 0)], turns(1)), Some(0));
    }
}
