//! For each rule a history that breaks it, and twins that just do not.

use crate::chaos::checker::{Id, Judgement, Place};

use super::{broken, judged};

/// Asserts that the history breaks just this rule, and that it breaks none with any of the changes: each is a piece of
/// the text, and what stands there in the twin.
#[track_caller]
fn breaks(rule: &str, text: &str, twins: &[(&str, &str)]) {
    assert_eq!(broken(text), [rule], "{:#?}", judged(text).violations);
    for (piece, instead) in twins {
        assert!(text.contains(piece), "{piece:?} is not in it");
        let twin = text.replace(piece, instead);
        let violations = judged(&twin).violations;
        assert!(violations.is_empty(), "with {instead:?} for {piece:?}: {violations:#?}");
    }
}

/// Asserts that it breaks this rule with each of the changes too.
#[track_caller]
fn also_breaks(rule: &str, text: &str, twins: &[(&str, &str)]) {
    for (piece, instead) in twins {
        assert!(text.contains(piece), "{piece:?} is not in it");
        assert_eq!(broken(&text.replace(piece, instead)), [rule], "with {instead:?} for {piece:?}");
    }
}

const KNOWS: &str = "
    10..20 publish available/1/2 5
    30..40 purge k a available/1/2 -> eu/1/7
    50..60 knows b eu/1/7
    60..70 read b available/1/2 = 1
";

#[test]
fn a_node_that_told_it_knows_a_purge_answers_nothing_older() {
    breaks(
        "P1",
        KNOWS,
        &[
            ("= 1", "= 5"),
            // One microsecond before it was known.
            ("60..70 read", "59..70 read"),
            // The publication was not done when the purge was sent.
            ("10..20 publish", "10..31 publish"),
            // One index less, another epoch (be it a later one), another region.
            ("knows b eu/1/7", "knows b eu/1/6"),
            ("knows b eu/1/7", "knows b eu/2/8"),
            ("knows b eu/1/7", "knows b us/1/7"),
            // Another node, another object.
            ("knows b", "knows a"),
            ("read b available/1/2", "read b available/1/3"),
            ("read b available/1/2", "read b stale/1/2"),
            ("-> eu/1/7", "-> eu/1/7 soft"),
            ("-> eu/1/7", "-> unknown"),
            ("-> eu/1/7", "-> refused"),
            ("= 1", "= 503!"),
            ("= 1", "= broken"),
        ],
    );
    also_breaks(
        "P1",
        KNOWS,
        &[
            ("10..20 publish", "10..30 publish"),
            ("knows b eu/1/7", "knows b eu/1/8"),
            ("knows b eu/1/7", "knows b eu/0000000000000001/7 us/1/1"),
            ("read b available/1/2 = 1", "read b available/1/2 range = 1"),
            // A client that is told that its edition 1 is still good has edition 1.
            ("read b available/1/2 = 1", "read b available/1/2 unless 1 = 304 1"),
            // The acknowledgement comes late: it says of an earlier commit.
            ("30..40 purge", "30..400 purge"),
        ],
    );
}

#[test]
fn a_purge_of_a_group_or_a_host_covers_all_editions_of_what_is_in_it() {
    for (published, purged) in [
        ("available/1", "available/1"),
        ("available", "available"),
        ("available/1/2", "available/1"),
        ("available/1/2", "available"),
        ("available", "available/1/2"),
    ] {
        let text = KNOWS.replace("publish available/1/2", &format!("publish {published}"));
        let text = text.replace("purge k a available/1/2", &format!("purge k a {purged}"));
        breaks("P1", &text, &[("= 1", "= 5"), ("purge k a available", "purge k a stale")]);
    }
}

#[test]
fn the_greatest_edition_of_all_scopes_is_demanded() {
    let text = "
        10..11 publish available/1/2 5
        12..13 publish available/1 6
        14..15 publish available 7
        16..17 publish available/2 8
        30..40 purge k a available/1/2 -> eu/1/7
        50..60 knows b eu/1/7
        60..70 read b available/1/2 = 6
    ";
    breaks("P1", text, &[("= 6", "= 7"), ("publish available 7", "publish stale 7")]);
}

#[test]
fn a_node_that_an_acknowledgement_lists_answers_nothing_older() {
    let text = "
        10..20 publish available/1/2 5
        30..40 purge k a available/1/2 -> eu/1/7 applied a b
        40..70 read b available/1/2 = 1
    ";
    breaks(
        "P1",
        text,
        &[("40..70", "39..70"), ("read b", "read c"), ("applied a b", "applied a"), ("= 1", "= 5")],
    );
    // Logs are applied in their order: who has applied a later one has applied this one.
    let text = "
        10..20 publish available/1/2 5
        30..40 purge k a available/1/2 -> eu/1/7
        50..60 purge l a stale -> eu/1/8 applied b
        60..70 read b available/1/2 = 1
    ";
    breaks(
        "P1",
        text,
        &[("eu/1/8", "eu/1/6"), ("eu/1/8", "eu/2/8"), ("eu/1/8", "us/1/8"), ("60..70 r", "59..70 r")],
    );
}

#[test]
fn an_old_disk_forgets_and_a_kill_does_not() {
    let text = KNOWS.replace("60..70 read", "80..82 kill b\n 90..95 read");
    breaks(
        "P1",
        &text,
        &[("kill b", "old-disk b"), ("kill b", "old-disk"), ("80..82 kill b", "40..55 old-disk b")],
    );
    also_breaks(
        "P1",
        &text,
        &[
            ("kill b", "old-disk a"),
            ("kill b", "power-cut b"),
            ("kill b", "keep-disk b"),
            // It was learnt in the life of the read.
            ("80..82 kill b", "41..49 old-disk b"),
            ("80..82 kill b", "96..97 old-disk b"),
        ],
    );
    // During the change of disks nothing is said of either life.
    breaks("P1", &text, &[("80..82 kill b", "95..99 old-disk b"), ("80..82 kill b", "88..93 old-disk b")]);
    // A receipt may remember what a node said before its old disk.
    let text = "
        10..20 publish available/1/2 5
        30..80 purge k a available/1/2 -> eu/1/7 applied b
        20..25 old-disk b
        90..95 read b available/1/2 = 1
    ";
    breaks("P1", text, &[("20..25 old-disk", "25..31 old-disk"), ("20..25 old-disk", "75..80 old-disk")]);
}

#[test]
fn what_is_learnt_again_after_an_old_disk_is_demanded_again() {
    let text =
        format!("{KNOWS}\n 80..82 old-disk b\n 90..91 knows b eu/1/7\n 92..93 read b available/1/2 = 1");
    let first_is_good = text.replace("60..70 read b available/1/2 = 1", "60..70 read b available/1/2 = 5");
    breaks(
        "P1",
        &first_is_good,
        &[("90..91 knows b eu/1/7", "90..91 knows b eu/1/6"), ("92..93 read", "90..93 read")],
    );
}

#[test]
fn a_purge_counts_from_its_first_attempt_whichever_is_acknowledged() {
    // The first attempt may be the one that was written: what came after it need not be covered.
    let text = "
        10..20 publish available/1/2 5
        25..28 purge k a available/1/2 -> unknown
        30..40 purge k c available/1/2 -> eu/1/7
        50..60 knows b eu/1/7
        60..70 read b available/1/2 = 1
    ";
    breaks("P1", text, &[("10..20", "10..26"), ("= 1", "= 5"), ("-> eu/1/7", "-> unknown")]);
    also_breaks("P1", text, &[("10..20", "10..25"), ("-> unknown", "-> refused")]);
}

#[test]
fn a_purge_that_two_regions_committed_under_one_key_is_two() {
    let text = "
        10..20 publish available/1/2 5
        25..28 purge k a available/1/2 -> eu/1/7
        30..40 purge k c available/1/2 -> us/1/3
        50..60 knows b eu/1/6 us/1/3
        60..70 read b available/1/2 = 1
    ";
    breaks("P1", text, &[("us/1/3\n        60", "us/1/2\n        60"), ("= 1", "= 5")]);
    assert_eq!(judged(text).coverage.counts["keys_in_several_logs"], 1);
}

#[test]
fn a_later_purge_demands_more_than_an_earlier_one() {
    let text = "
        10..11 publish available/1/2 5
        12..13 purge k a available/1/2 -> eu/1/7
        14..15 publish available/1/2 6
        16..17 purge l a available/1 -> eu/1/8
        50..60 knows b eu/1/8
        60..70 read b available/1/2 = 5
    ";
    breaks(
        "P1",
        text,
        &[("knows b eu/1/8", "knows b eu/1/7"), ("= 5", "= 6"), ("eu/1/8\n        50", "eu/1/8 soft\n 50")],
    );
    // The log's order need not be that of the clients.
    breaks("P1", &text.replace("eu/1/7", "eu/1/9"), &[("= 5", "= 6")]);
}

const FENCED: &str = "
    10..20 publish strict/1/2 5
    30..40 purge k a strict/1/2 -> eu/1/7 fenced
    40..70 read c strict/1/2 = 1
";

#[test]
fn after_a_fenced_purge_no_node_answers_anything_older_of_a_strict_service() {
    breaks(
        "P5",
        FENCED,
        &[
            ("40..70", "39..70"),
            ("fenced", ""),
            ("fenced", "fenced soft"),
            ("strict", "available"),
            ("= 1", "= 502!"),
            ("= 1", "= 5"),
            ("10..20", "10..31"),
            ("read c strict/1/2", "read c strict/1/3"),
        ],
    );
    let changes =
        [("purge k a strict/1/2", "purge k a strict/1"), ("purge k a strict/1/2", "purge k a strict")];
    also_breaks("P5", FENCED, &changes);
    // An old disk excuses nobody from the fence.
    also_breaks("P5", FENCED, &[("40..70", "45..50 old-disk c\n 60..70")]);
}

#[test]
fn a_fence_counts_when_the_attempt_that_tells_of_it_is_acknowledged() {
    let text = "
        10..20 publish strict/1/2 5
        30..40 purge k a strict/1/2 -> eu/1/7
        50..60 purge k a strict/1/2 -> eu/1/7 fenced
        60..70 read c strict/1/2 = 1
    ";
    breaks("P5", text, &[("60..70 read", "59..70 read")]);
}

#[test]
fn no_answer_is_of_an_edition_that_was_not_asked_for_yet() {
    let text = "
        71..90 publish available/1 5
        60..70 read b available/1/2 = 5
    ";
    breaks("future", text, &[("71..90", "70..90"), ("= 5", "= 1")]);
    // It had 5 and 7, never 6, which was another's.
    let text = "
        10..11 publish available/1/2 5
        12..13 publish available/2/2 6
        14..15 publish available 7
        60..70 read b available/1/2 = 6
    ";
    breaks(
        "future",
        text,
        &[("= 6", "= 5"), ("= 6", "= 7"), ("= 6", "= 1"), ("available/2/2", "available/1")],
    );
}

#[test]
fn bytes_are_whole_and_of_what_was_asked_for() {
    let text = "60..70 read b available/1/2 = damaged 1";
    breaks("damaged", text, &[("damaged 1", "1"), ("damaged 1", "503!")]);
    breaks("damaged", "60..70 read b available/1/2 = 200!", &[("200!", "1"), ("200!", "502!")]);
    breaks("damaged", "60..70 read b available/1/2 = 206 1", &[("=", "range =")]);
    breaks("damaged", "60..70 read b available/1/2 = 304 1", &[("=", "unless 1 =")]);
    assert!(
        broken("60..70 read b available/1/2 range = whole 1").is_empty(),
        "a server may answer all of it"
    );
}

#[test]
fn a_304_is_for_the_edition_that_was_named() {
    let text = "
        10..20 publish available/1/2 5
        60..70 read b available/1/2 unless 5 = 304 1
    ";
    breaks("damaged", text, &[("304 1", "304 5"), ("unless 5", "unless 1"), ("304 1", "200 1")]);
    also_breaks("damaged", text, &[("304 1", "304!")]);
}

#[test]
fn a_key_is_committed_once() {
    let text = "
        10..20 purge k a available -> eu/1/7
        30..40 purge k b available -> eu/1/8
    ";
    breaks(
        "one-purge",
        text,
        &[("eu/1/8", "eu/1/7"), ("eu/1/8", "us/1/8"), ("eu/1/8", "eu/2/8"), ("k b", "l b")],
    );
}

#[test]
fn an_id_is_of_one_key() {
    let text = "
        10..20 purge k a available -> eu/1/7
        30..40 purge l b available -> eu/1/7
    ";
    breaks("one-purge", text, &[("l b", "k b"), ("eu/1/7\n        30", "eu/1/6\n        30")]);
}

const BACK: &str = "
    10..20 knows b eu/1/7 us/1/3
    20..30 knows b eu/1/6 us/1/3
";

#[test]
fn versions_never_step_back() {
    breaks(
        "order",
        BACK,
        &[
            // They were under way at the same time.
            ("20..30", "19..30"),
            ("eu/1/6", "eu/1/7"),
            ("eu/1/6", "eu/2/0"),
            ("20..30 knows b", "20..30 knows a"),
            ("20..30", "20..21 old-disk b\n 22..30"),
            ("20..30", "20..25 old-disk b\n 22..30"),
            // Nothing of it was acknowledged.
            ("20..30", "20..21 power-cut b\n 22..30"),
        ],
    );
    also_breaks(
        "order",
        BACK,
        &[
            ("eu/1/6 us/1/3", "eu/0/9 us/1/3"),
            ("eu/1/6 us/1/3", "eu/1/7 us/1/2"),
            ("eu/1/6 us/1/3", "us/1/3"),
            ("20..30", "20..21 kill b\n 22..30"),
            ("20..30", "1..9 old-disk b\n 22..30"),
            ("20..30", "40..41 power-cut b\n 22..30"),
        ],
    );
    let text = "
        10..20 purge k a available -> eu/1/7 applied b
        20..30 knows b eu/1/6
    ";
    breaks("order", text, &[("eu/1/6", "eu/1/7"), ("20..30", "19..30"), ("applied b", "applied a")]);
}

#[test]
fn a_power_cut_takes_nothing_back_that_was_acknowledged() {
    let text = "
        1..9 purge k a available -> eu/1/7
        10..20 knows b eu/1/9
        21..22 power-cut b
        23..30 knows b eu/1/6
    ";
    breaks("order", text, &[("eu/1/6", "eu/1/7"), ("1..9 purge", "1..22 purge"), ("eu/1/7", "eu/1/5")]);
    also_breaks("order", text, &[("1..9 purge", "1..21 purge"), ("23..30", "22..30")]);
    // It was not yet known of this node that it had it.
    breaks("order", text, &[("eu/1/7", "eu/1/10")]);
}

const LOGGED: &str = "
    10..20 purge k a available -> eu/1/7
    30..40 knows c eu/1/8
    50 healed
    0 logged a eu/1/7 200 tag:x tag:y
    0 logged b eu/1/7 200 tag:y tag:x
    0 logged c eu/1/7 404
";

#[test]
fn after_healing_each_node_has_each_acknowledged_purge() {
    let found = "0 logged c eu/1/7 200 tag:x tag:y";
    breaks("logged", LOGGED, &[("0 logged c eu/1/7 404", found), ("knows c eu/1/8", "knows c eu/2/8")]);
    also_breaks("logged", LOGGED, &[("404", "503"), ("knows c eu/1/8", "knows c us/1/8")]);
    let other = LOGGED.replace("knows c eu/1/8", "knows c eu/2/8");
    assert!(judged(&other).coverage.lacks.iter().any(|lack| lack.contains("new epoch")));
    let unasked = LOGGED.replace("0 logged c eu/1/7 404", "");
    assert!(broken(&unasked).is_empty());
    assert!(
        judged(&unasked).coverage.lacks.iter().any(|lack| lack.starts_with("1 times a node was not asked"))
    );
    // The last word holds.
    breaks(
        "logged",
        LOGGED,
        &[("0 logged c eu/1/7 404", "0 logged c eu/1/7 404\n 0 logged c eu/1/7 200 tag:x tag:y")],
    );
}

#[test]
fn after_healing_all_nodes_become_level() {
    // A heal that was not possible before it is a fault that did not happen.
    breaks(
        "level",
        "50 healed\n 96..97 unlevel",
        &[("50 healed\n 96..97 unlevel", "1..2 unlevel\n 50 healed")],
    );
    assert_eq!(judged("50 healed\n 96..97 unlevel").violations[0].what, "not level:; a is behind");
}

#[test]
fn after_healing_a_purge_names_the_same_everywhere() {
    let text = LOGGED.replace("404", "200 tag:x");
    breaks("logged", &text, &[("200 tag:x\n", "200 tag:x tag:y\n"), ("7 200 tag:x\n", "7 200\n")]);
}

const LAST: &str = "
    10..20 publish available/1/2 5
    30..40 purge k a available/1/2 -> eu/1/7
    50 healed
    60..70 last b available/1/2 = 1
";

#[test]
fn last_reads_bring_what_was_purged_for() {
    breaks(
        "fresh",
        LAST,
        &[
            ("= 1", "= 5"),
            ("-> eu/1/7", "-> eu/1/7 soft"),
            ("-> eu/1/7", "-> unknown"),
            ("10..20 publish", "10..31 publish"),
            ("last b", "read b"),
            ("last b available/1/2", "last b available/1/3"),
        ],
    );
    also_breaks(
        "fresh",
        LAST,
        &[
            ("= 1", "= 503!"),
            ("= 1", "= broken"),
            ("= 1", "= 404!"),
            ("purge k a available/1/2", "purge k a available"),
        ],
    );
}

#[test]
fn what_cannot_be_read_is_no_excuse() {
    breaks("recorded", "30..40 purge k a available/1/2 -> eu7", &[("eu7", "eu/1/7")]);
    breaks("recorded", "30..40 knows a eu/7", &[("eu/7", "eu/1/7")]);
    for text in ["", "eu", "eu/1", "/1/7", "eu/1/", "eu//7", "eu/x/7", "eu/1/-7", "eu/+1/7", "eu/1/7/8"] {
        assert_eq!(Id::parse(text), None, "{text}");
    }
    let id = Id::parse("eu/0000019a3f5c2b10/42").expect("an id");
    assert_eq!((id.region, id.place), ("eu", Place { epoch: 0x019a_3f5c_2b10, index: 42 }));
    assert_eq!(id.to_string(), "eu/0000019a3f5c2b10/42");
}

#[test]
fn a_history_in_which_nothing_happened_proves_nothing() {
    for text in ["", "50 healed\n 60 end"] {
        let judged = judged(text);
        assert_eq!(judged.judgement, Judgement::Inconclusive);
        assert!(judged.violations.is_empty());
        assert!(
            judged.coverage.lacks.iter().any(|lack| lack.starts_with("reads: 0 of")),
            "{:?}",
            judged.coverage
        );
    }
    assert_eq!(crate::chaos::checker::judge(&[]).judgement, Judgement::Inconclusive);
}

#[test]
fn violations_tell_where_to_look() {
    let judged = judged(KNOWS);
    assert_eq!(judged.judgement, Judgement::Failed);
    let what = &judged.violations[0].what;
    for word in [
        "read 4.1 at b",
        "available.test/o/1/2",
        "0.000060 s",
        "edition 1",
        "older than 5",
        "eu/0000000000000001/7",
        "key k",
        "told versions",
        "a; hit",
    ] {
        assert!(what.contains(word), "{word} is not in: {what}");
    }
}
