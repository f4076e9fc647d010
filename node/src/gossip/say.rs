//! What is said in the log, said once in a while: a peer that is away for a day fills no disk.

use std::collections::HashMap;

use starling_proto::UnixMs;

/// The same is said again after this.
const AGAIN_MS: u64 = 30_000;

/// Things remembered at most; beyond, all are forgotten, and some are said again early.
const THINGS_MAX: usize = 1_024;

/// What was said lately.
#[derive(Default)]
pub(super) struct Said(HashMap<(&'static str, String), (String, UnixMs)>);

impl Said {
    /// Whether `text` about `whom` is news: said for the first time, changed, or said long ago.
    pub fn is_news(&mut self, about: &'static str, whom: &str, text: &str, now: UnixMs) -> bool {
        if self.0.len() >= THINGS_MAX {
            self.0.clear();
        }
        let key = (about, whom.to_owned());
        let is_old = |(said, at): &(String, UnixMs)| said == text && now.saturating_sub(*at) < AGAIN_MS;
        if self.0.get(&key).is_some_and(is_old) {
            return false;
        }
        self.0.insert(key, (text.to_owned(), now));
        true
    }

    /// It is over: what comes next is news.
    pub fn over(&mut self, about: &'static str, whom: &str) -> bool {
        self.0.remove(&(about, whom.to_owned())).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_twice_a_minute_and_news_at_once() {
        let mut said = Said::default();
        assert!(said.is_news("greet", "a:1", "refused", 0));
        assert!(!said.is_news("greet", "a:1", "refused", 29_999));
        assert!(said.is_news("greet", "a:2", "refused", 1));
        assert!(said.is_news("greet", "a:1", "no route", 2));
        assert!(said.is_news("greet", "a:1", "no route", 30_002));
        assert!(said.over("greet", "a:1"));
        assert!(said.is_news("greet", "a:1", "no route", 30_003));
    }
}
