use super::*;
use crate::net::wan::talk::PopPlan;

const A: Ipv4Addr = Ipv4Addr::new(10, 99, 1, 1);
const B: Ipv4Addr = Ipv4Addr::new(10, 99, 2, 1);

/// Two PoPs, `a` and `b`, and what one direction is like; the other is perfect.
fn link(quality: Quality) -> Link {
    let pop = |name: &str, third| PopPlan {
        name: name.to_owned(),
        namespace: String::new(),
        subnet: Ipv4Addr::new(10, 99, third, 0),
    };
    let lines = vec![LinePlan { from: "a".into(), to: "b".into(), quality }];
    Link::new(&Plan { seed: 7, pops: vec![pop("a", 1), pop("b", 2)], lines }).unwrap()
}

fn packet(source: Ipv4Addr, target: Ipv4Addr, mark: u32, bytes: usize) -> Vec<u8> {
    let mut packet = vec![0; bytes.max(24)];
    packet[0] = 0x45;
    packet[12..16].copy_from_slice(&source.octets());
    packet[16..20].copy_from_slice(&target.octets());
    packet[20..24].copy_from_slice(&mark.to_be_bytes());
    packet
}

fn mark(packet: &[u8]) -> u32 {
    u32::from_be_bytes(packet[20..24].try_into().unwrap())
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Sends `count` packets of `bytes` from A to B, one each `gap`; the arrivals in their order, with their times.
fn send(link: &mut Link, count: u32, bytes: usize, gap: Duration) -> Vec<(Duration, u32)> {
    for number in 0..count {
        link.take(gap * number, 0, &packet(A, B, number, bytes));
    }
    drain(link)
}

fn drain(link: &mut Link) -> Vec<(Duration, u32)> {
    let mut arrivals = Vec::new();
    while let Some(due) = link.next_due() {
        while let Some((to, packet)) = link.give(due) {
            assert_eq!(to, 1);
            arrivals.push((due, mark(&packet)));
        }
    }
    assert_eq!((link.held_bytes, link.lines[1].held_bytes), (0, 0), "all that was held was given");
    arrivals
}

fn counts(link: &Link) -> Counts {
    link.stats().lines.iter().find(|line| line.from == "a").unwrap().counts
}

#[test]
fn a_packet_arrives_after_the_delay_and_not_before() {
    let mut link = link(Quality { delay_ms: 40.0, ..Quality::default() });
    assert!(link.take(ms(5), 0, &packet(A, B, 1, 100)), "the first is due sooner than nothing");
    assert!(!link.take(ms(6), 0, &packet(A, B, 2, 100)), "the second is due later");
    assert_eq!(link.next_due(), Some(ms(45)));
    assert!(link.give(ms(44)).is_none());
    assert_eq!(link.give(ms(45)).map(|(_, packet)| mark(&packet)), Some(1));
    assert!(link.give(ms(45)).is_none());
    // The other direction is a line of its own.
    link.take(ms(5), 1, &packet(B, A, 3, 100));
    assert_eq!(link.give(ms(5)).map(|(to, packet)| (to, mark(&packet))), Some((0, 3)));
}

#[test]
fn jitter_varies_the_delay_and_keeps_the_order() {
    let quality = Quality { delay_ms: 50.0, jitter_ms: 5.0, ..Quality::default() };
    // Far apart, so that none waits for the one before it.
    let arrivals = send(&mut link(quality), 2_000, 100, ms(100));
    let delays: Vec<f64> =
        arrivals.iter().map(|(at, number)| (*at - ms(100) * *number).as_secs_f64() * 1e3).collect();
    let mean = delays.iter().sum::<f64>() / delays.len() as f64;
    let variance = delays.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / delays.len() as f64;
    assert!((mean - 50.0).abs() < 0.5 && (variance.sqrt() - 5.0).abs() < 0.5, "{mean} {}", variance.sqrt());
    let close = send(&mut link(quality), 2_000, 100, Duration::from_micros(100));
    assert!(close.iter().map(|(_, number)| *number).eq(0..2_000), "the order is kept");
}

#[test]
fn so_many_are_lost_and_arrive_twice_as_was_asked_for() {
    let mut lossy = link(Quality { loss_percent: 5.0, duplicate_percent: 2.0, ..Quality::default() });
    let arrived = send(&mut lossy, 20_000, 100, ms(1)).len() as u64;
    let Counts { lost, duplicated, delivered, packets, .. } = counts(&lossy);
    assert!((900..1_100).contains(&lost) && (330..430).contains(&duplicated), "{lost} {duplicated}");
    assert_eq!((packets, delivered, arrived), (20_000, arrived, 20_000 - lost + duplicated));
    let again = send(&mut link(Quality { loss_percent: 5.0, ..Quality::default() }), 1_000, 100, ms(1));
    let same = send(&mut link(Quality { loss_percent: 5.0, ..Quality::default() }), 1_000, 100, ms(1));
    assert_eq!(again, same, "a seed loses the same packets");
    assert!(
        send(&mut link(Quality { loss_percent: 100.0, ..Quality::default() }), 100, 100, ms(1)).is_empty()
    );
}

#[test]
fn some_overtake_those_before_them() {
    let mut link = link(Quality { delay_ms: 40.0, reorder_percent: 10.0, ..Quality::default() });
    let arrivals = send(&mut link, 2_000, 100, ms(1));
    let overtaken = arrivals.windows(2).filter(|pair| pair[0].1 > pair[1].1).count();
    assert!((100..300).contains(&overtaken), "{overtaken}");
    assert_eq!(arrivals.len(), 2_000, "none is lost by it");
    assert_eq!(
        counts(&link).reordered as usize,
        arrivals.iter().filter(|(at, n)| *at - ms(1) * *n < ms(40)).count()
    );
}

#[test]
fn the_rate_is_held_and_what_waits_has_a_bound() {
    // 8 Mbit/s are 1,000 bytes each millisecond; 100 ms of it may wait.
    let mut link = link(Quality { rate_mbit: 8.0, delay_ms: 10.0, ..Quality::default() });
    // Not from the beginning of time: there the bucket has not had the time to fill.
    let start = ms(1_000);
    for number in 0..1_000 {
        link.take(start + Duration::from_micros(100) * number, 0, &packet(A, B, number, 1_000));
    }
    let arrivals: Vec<Duration> = drain(&mut link).into_iter().map(|(at, _)| at - start).collect();
    let counts = counts(&link);
    assert_eq!(counts.overflowed + counts.delivered, 1_000);
    // In 100 ms come 1,000 packets, 100 have had their turn, 100 wait, and the bucket held 3.
    assert!((198..=206).contains(&arrivals.len()), "{}", arrivals.len());
    let at_once = arrivals.iter().filter(|at| **at < Duration::from_micros(10_500)).count();
    assert_eq!(at_once, 3, "what the bucket held goes at once");
    let (first, last) = (arrivals[10], arrivals[arrivals.len() - 1]);
    let rate = (arrivals.len() - 11) as f64 / (last - first).as_secs_f64();
    assert!((990.0..1_010.0).contains(&rate), "{rate} packets a second");
    assert!(last <= ms(100 + 100 + 10 + 1), "no packet waits longer than the queue is long: {last:?}");
}

#[test]
fn what_is_on_its_way_has_a_bound() {
    let mut link = link(Quality { delay_ms: 60_000.0, ..Quality::default() });
    for number in 0..20_000 {
        link.take(Duration::ZERO, 0, &packet(A, B, number, 1_500));
    }
    assert!(link.held_bytes <= LINE_BYTES_MAX);
    let Counts { packets, overflowed, .. } = counts(&link);
    assert_eq!((packets - overflowed) as usize, LINE_BYTES_MAX / 1_500);
    assert_eq!(drain(&mut link).len(), LINE_BYTES_MAX / 1_500);
    link.take(ms(70_000), 0, &packet(A, B, 1, 1_500));
    assert_eq!(drain(&mut link).len(), 1, "there is room again");
}

#[test]
fn a_cut_swallows_one_way_and_what_is_on_its_way() {
    let mut link = link(Quality { delay_ms: 40.0, ..Quality::default() });
    link.take(ms(0), 0, &packet(A, B, 1, 100));
    link.cut(&[A], &[B]).unwrap();
    link.take(ms(1), 0, &packet(A, B, 2, 100));
    link.take(ms(1), 0, &packet(Ipv4Addr::new(10, 99, 1, 2), B, 3, 100));
    assert_eq!(drain(&mut link), [(ms(41), 3)], "only who is not cut is heard");
    assert_eq!(counts(&link).cut, 2);
    link.take(ms(50), 1, &packet(B, A, 4, 100));
    assert_eq!(link.give(ms(50)).map(|(_, packet)| mark(&packet)), Some(4), "the other way is left as it is");
    link.heal();
    link.take(ms(60), 0, &packet(A, B, 5, 100));
    assert_eq!(drain(&mut link), [(ms(100), 5)]);
}

#[test]
fn a_way_that_is_down_carries_nothing_until_it_is_healed() {
    let mut link = link(Quality { delay_ms: 40.0, ..Quality::default() });
    link.take(ms(0), 0, &packet(A, B, 1, 100));
    link.change("a", "b", None).unwrap();
    link.take(ms(1), 0, &packet(A, B, 2, 100));
    assert_eq!((drain(&mut link), counts(&link).down), (vec![], 2));
    link.heal();
    link.take(ms(50), 0, &packet(A, B, 3, 100));
    assert_eq!(drain(&mut link), [(ms(90), 3)]);
}

#[test]
fn a_way_that_got_better_does_not_wait_for_how_it_was() {
    let mut link = link(Quality { delay_ms: 5.0, ..Quality::default() });
    link.change("a", "b", Some(Quality { delay_ms: 9_000.0, rate_mbit: 0.01, ..Quality::default() }))
        .unwrap();
    for number in 0..10 {
        link.take(ms(0), 0, &packet(A, B, number, 1_000));
    }
    link.heal();
    assert!(link.take(ms(10), 0, &packet(A, B, 99, 100)));
    assert_eq!(link.next_due(), Some(ms(15)));
}

#[test]
fn packets_that_belong_nowhere_are_dropped() {
    let mut link = link(Quality::default());
    let elsewhere = Ipv4Addr::new(10, 99, 9, 9);
    for stray in [packet(A, elsewhere, 1, 100), packet(B, A, 1, 100), vec![0x60; 60], vec![0x45; 19], vec![]]
    {
        assert!(!link.take(ms(0), 0, &stray));
    }
    assert_eq!((link.stats().strays, link.next_due()), (5, None));
}

#[test]
fn a_quality_that_makes_no_sense_is_refused() {
    let mut link = link(Quality::default());
    let bad = |change: fn(&mut Quality)| {
        let mut quality = Quality::default();
        change(&mut quality);
        quality
    };
    for quality in [
        bad(|quality| quality.delay_ms = -1.0),
        bad(|quality| quality.delay_ms = f64::NAN),
        bad(|quality| quality.jitter_ms = 1e9),
        bad(|quality| quality.loss_percent = 101.0),
        bad(|quality| quality.rate_mbit = f64::INFINITY),
    ] {
        assert!(link.change("a", "b", Some(quality)).is_err(), "{quality:?}");
    }
    assert!(link.change("a", "a", None).is_err());
    let error = link.change("a", "mars", None).unwrap_err().to_string();
    assert!(error.contains("mars") && error.contains("a, b"), "{error}");
    let many = vec![A; 1_000];
    assert!(link.cut(&many, &many).is_err());
}
