//! Who had what a client got, by `Cache-Status` (RFC 9211).
//!
//! Each node on the way adds a member; the node that was asked stands last, the one nearest to the origin first.
//!
//! | members, the last first | it came from |
//! | --- | --- |
//! | `hit` | the edge node itself |
//! | `fwd`, then `hit` of its PoP | the object's owner |
//! | `fwd`, then `hit` of another PoP; or `fwd`, `fwd`, `hit` | a shield |
//! | `fwd` and nobody behind it has a `hit` | the origin |
//! | the same, and one of them `collapsed` | the origin, for another request that came before |
//!
//! Where the edge node owns the object itself and its shield stands in the same PoP, a hit at that shield looks
//! like one at an owner, and is counted as such: the field tells names, not roles.

use serde::Serialize;

/// Where an answer came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The node that was asked had it.
    Edge,
    /// Another node of its PoP had it.
    Owner,
    /// A shield had it.
    Shield,
    /// The origin was asked for it already, for another request.
    Collapsed,
    /// The origin was asked.
    Origin,
    /// The node answered by itself, or did not say.
    Unsaid,
}

impl Tier {
    /// All of them, the nearest first.
    pub const ALL: [Self; 6] =
        [Self::Edge, Self::Owner, Self::Shield, Self::Collapsed, Self::Origin, Self::Unsaid];

    /// In words.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge node",
            Self::Owner => "owner",
            Self::Shield => "shield",
            Self::Collapsed => "collapsed",
            Self::Origin => "origin",
            Self::Unsaid => "unsaid",
        }
    }

    /// Whether a cache had it.
    pub fn is_hit(self) -> bool {
        matches!(self, Self::Edge | Self::Owner | Self::Shield)
    }

    /// By the field's lines in their order. Members of caches that are no nodes, such as the origin's own, are
    /// passed over.
    pub fn of<'a>(lines: impl Iterator<Item = &'a str>, is_node: impl Fn(&str) -> bool) -> Self {
        let members: Vec<Member> = lines.flat_map(members).filter(|member| is_node(&member.cache)).collect();
        let Some(edge) = members.last() else { return Self::Unsaid };
        let mut is_collapsed = false;
        for (depth, member) in members.iter().rev().enumerate() {
            if member.is_hit {
                return match depth {
                    0 => Self::Edge,
                    1 if pop(&member.cache) == pop(&edge.cache) => Self::Owner,
                    _ => Self::Shield,
                };
            }
            if !member.is_forwarded {
                return Self::Unsaid;
            }
            is_collapsed |= member.is_collapsed;
        }
        if is_collapsed { Self::Collapsed } else { Self::Origin }
    }
}

/// What one cache says of itself.
#[derive(Debug, Default, PartialEq, Eq)]
struct Member {
    cache: String,
    is_hit: bool,
    is_forwarded: bool,
    is_collapsed: bool,
}

/// Nodes are called `POP-NUMBER`.
fn pop(name: &str) -> &str {
    name.rsplit_once('-').map_or(name, |(pop, _)| pop)
}

fn members(line: &str) -> Vec<Member> {
    split(line, ',').filter_map(member).collect()
}

fn member(text: &str) -> Option<Member> {
    let mut parts = split(text, ';');
    let cache = unquote(parts.next()?.trim());
    if cache.is_empty() {
        return None;
    }
    let mut member = Member { cache, ..Member::default() };
    for part in parts {
        let (name, value) = part.split_once('=').unwrap_or((part, "?1"));
        let is_true = value.trim() == "?1";
        match name.trim() {
            "hit" => member.is_hit = is_true,
            "fwd" => member.is_forwarded = true,
            "collapsed" => member.is_collapsed = is_true,
            _ => {}
        }
    }
    Some(member)
}

/// Cut at a character that stands outside quotes.
fn split(text: &str, at: char) -> impl Iterator<Item = &str> {
    let mut is_quoted = false;
    let mut is_escaped = false;
    text.split(move |character| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        match character {
            '\\' if is_quoted => is_escaped = true,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        character == at && !is_quoted
    })
}

fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut is_escaped = false;
    inner
        .chars()
        .filter(|character| {
            is_escaped = *character == '\\' && !is_escaped;
            !is_escaped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tier(lines: &[&str]) -> Tier {
        Tier::of(lines.iter().copied(), |_| true)
    }

    #[test]
    fn the_edge_node_stands_last() {
        assert_eq!(tier(&["lon-1; hit; ttl=3599"]), Tier::Edge);
        assert_eq!(tier(&["lon-2; hit; ttl=3, lon-1; hit; ttl=3"]), Tier::Edge);
        assert_eq!(tier(&["lon-2; hit", "lon-1; hit"]), Tier::Edge, "lines are one list");
        assert_eq!(tier(&["demo; fwd=uri-miss; fwd-status=200; ttl=59; stored"]), Tier::Origin);
    }

    #[test]
    fn a_hit_behind_it_is_the_owners_or_a_shields() {
        let missed = "fwd=uri-miss; fwd-status=200";
        assert_eq!(tier(&[&format!("lon-2; hit; ttl=9, lon-1; {missed}")]), Tier::Owner);
        assert_eq!(tier(&[&format!("fra-2; hit; ttl=9, lon-1; {missed}")]), Tier::Shield);
        assert_eq!(tier(&[&format!("lon-3; hit, lon-2; {missed}; stored, lon-1; {missed}")]), Tier::Shield);
        let all = format!("fra-1; {missed}; stored, lon-2; {missed}; stored, lon-1; {missed}");
        assert_eq!(tier(&[&all]), Tier::Origin);
        let stale = "lon-2; hit; ttl=-3; detail=revalidating, lon-1; fwd=stale; fwd-status=304";
        assert_eq!(tier(&[stale]), Tier::Owner);
    }

    #[test]
    fn who_waited_for_anothers_answer_did_not_ask_the_origin() {
        assert_eq!(tier(&["lon-1; fwd=uri-miss; stored; collapsed"]), Tier::Collapsed);
        assert_eq!(tier(&["lon-2; fwd=miss; collapsed, lon-1; fwd=miss"]), Tier::Collapsed);
        assert_eq!(tier(&["lon-2; hit, lon-1; fwd=miss; collapsed"]), Tier::Owner);
    }

    #[test]
    fn quotes_hide_nothing_and_foreign_caches_do_not_count() {
        let line = r#""a, b; hit"; hit, "lon-1"; fwd=miss; detail="no; hit, \"here\", x; hit""#;
        assert_eq!(members(line).len(), 2);
        assert_eq!(members(line)[0].cache, "a, b; hit");
        let is_node = |name: &str| name == "lon-1";
        assert_eq!(Tier::of([line].into_iter(), is_node), Tier::Origin);
        assert_eq!(tier(&["lon-1; hit=?0; fwd=miss"]), Tier::Origin);
    }

    #[test]
    fn a_node_that_answers_by_itself_had_nothing() {
        assert_eq!(tier(&["lon-1; detail=no-service"]), Tier::Unsaid);
        for nothing in [&[][..], &[""], &[","], &[";hit"]] {
            assert_eq!(tier(nothing), Tier::Unsaid, "{nothing:?}");
        }
    }
}
