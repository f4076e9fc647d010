//! The retry budget of a pool: requests earn retries, so that retries stay a fixed share of the load and an
//! origin in trouble is not asked twice as often because it is in trouble.

/// What one retry costs; a request earns `percent` of it.
const RETRY_COST: u64 = 100;
/// Retries that may be saved up: what a pool with little traffic has at hand.
const RETRIES_MAX: u64 = 10;

/// A token bucket filled by requests.
#[derive(Debug)]
pub(super) struct Budget {
    tokens: u64,
    percent: u64,
}

impl Budget {
    /// A full bucket, refilled by `percent` of a retry with each request. Zero: never retry.
    pub(super) fn new(percent: u32) -> Self {
        let tokens = if percent == 0 { 0 } else { RETRIES_MAX * RETRY_COST };
        Self { tokens, percent: u64::from(percent) }
    }

    /// A request was made.
    pub(super) fn earn(&mut self) {
        self.tokens = (self.tokens + self.percent).min(RETRIES_MAX * RETRY_COST);
    }

    /// Takes one retry, if there is one.
    pub(super) fn spend(&mut self) -> bool {
        let left = self.tokens.checked_sub(RETRY_COST);
        self.tokens = left.unwrap_or(self.tokens);
        left.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_a_share_of_the_requests() {
        let mut budget = Budget::new(20);
        while budget.spend() {}
        let retried = (0..1000)
            .filter(|_| {
                budget.earn();
                budget.spend()
            })
            .count();
        assert!((199..=200).contains(&retried), "{retried}");
    }

    #[test]
    fn what_is_saved_up_is_bounded() {
        let mut budget = Budget::new(100);
        (0..1000).for_each(|_| budget.earn());
        assert_eq!((0..1000).filter(|_| budget.spend()).count() as u64, RETRIES_MAX);
    }

    #[test]
    fn zero_percent_never_retries() {
        let mut budget = Budget::new(0);
        budget.earn();
        assert!(!budget.spend());
    }
}
