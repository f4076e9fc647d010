//! Commands as they are written and read.

use std::time::Duration;

use proptest::prelude::*;

use crate::faults::{DiskHow, Fault, Nodes, OriginHow, Worse};

fn fault(text: &str) -> Fault {
    text.parse().unwrap()
}

fn why(text: &str) -> String {
    text.parse::<Fault>().unwrap_err().to_string()
}

fn named(text: &str) -> Nodes {
    Nodes(text.to_owned())
}

#[test]
fn every_command_of_the_table_is_read() {
    let nodes = || named("lon-1");
    let way = |worse| Fault::Way { from: "lon".into(), to: "nyc".into(), worse };
    let cut = |one_way| Fault::Cut { from: named("eu"), to: named("us+lon-1"), one_way };
    let table = [
        ("kill lon-1", Fault::Kill(nodes())),
        ("stop lon-1", Fault::Stop(nodes())),
        ("restart lon-1", Fault::Restart(nodes())),
        ("start lon-1", Fault::Start(nodes())),
        ("pause lon-1", Fault::Pause(nodes())),
        ("resume lon-1", Fault::Resume(nodes())),
        ("freeze lon-1", Fault::Freeze(nodes())),
        ("thaw lon-1", Fault::Thaw(nodes())),
        ("power-cut lon-1", Fault::PowerCut(nodes())),
        ("keep-disk lon-1", Fault::KeepDisk(nodes())),
        ("old-disk lon-1", Fault::OldDisk(nodes())),
        ("clock lon-1 +1h", Fault::Clock(nodes(), 3_600_000)),
        ("clock lon-1 -90s", Fault::Clock(nodes(), -90_000)),
        ("clock lon-1 right", Fault::Clock(nodes(), 0)),
        ("disk lon-1 full", Fault::Disk(nodes(), DiskHow::Full)),
        ("disk lon-1 failing", Fault::Disk(nodes(), DiskHow::Failing)),
        ("disk lon-1 well", Fault::Disk(nodes(), DiskHow::Well)),
        ("cut eu from us+lon-1", cut(false)),
        ("cut eu from us+lon-1 one-way", cut(true)),
        (
            "way lon nyc delay 200ms loss 5% rate 1mbit jitter 20ms reorder 10%",
            way(Worse {
                delay: Some(Duration::from_millis(200)),
                jitter: Some(Duration::from_millis(20)),
                loss_percent: Some(5.0),
                reorder_percent: Some(10.0),
                rate_mbit: Some(1.0),
            }),
        ),
        ("way lon nyc rate 500kbit", way(Worse { rate_mbit: Some(0.5), ..Worse::default() })),
        ("flap lon nyc", Fault::Flap { from: "lon".into(), to: "nyc".into() }),
        ("heal", Fault::Heal),
        ("origin dead", Fault::Origin(OriginHow::Dead)),
        ("origin slow 2s", Fault::Origin(OriginHow::Slow(Duration::from_secs(2)))),
        ("origin slow 1.5s", Fault::Origin(OriginHow::Slow(Duration::from_millis(1500)))),
        ("origin errors", Fault::Origin(OriginHow::Errors)),
        ("origin well", Fault::Origin(OriginHow::Well)),
        (
            " kill   owner:http://strict.test/o/1/2?bytes=9 ",
            Fault::Kill(named("owner:http://strict.test/o/1/2?bytes=9")),
        ),
    ];
    for (text, meant) in table {
        assert_eq!(fault(text), meant, "{text}");
    }
}

#[test]
fn an_error_names_the_wrong_word_and_what_is_known() {
    let wrong = [
        ("", vec!["ends", "kill, stop"]),
        ("kil lon-1", vec!["\"kil\"", "kill, stop", "power-cut"]),
        ("kill", vec!["ends", "nodes"]),
        ("kill lon-1 lon-2", vec!["\"lon-2\"", "nothing more"]),
        ("kill lon-1+", vec!["\"lon-1+\"", "`+`"]),
        ("kill leader:", vec!["\"leader:\"", "region"]),
        ("kill head:eu", vec!["\"head:eu\"", "leader:REGION"]),
        ("clock lon-1 1h", vec!["\"1h\"", "+1h"]),
        ("clock lon-1 +-1h", vec!["\"+-1h\""]),
        ("clock lon-1 ++1h", vec!["\"++1h\""]),
        ("clock lon-1 +999999999d", vec!["hundred years"]),
        ("disk lon-1 broken", vec!["\"broken\"", "full, failing or well"]),
        ("cut eu us", vec!["\"us\"", "`from`"]),
        ("cut eu from us twoway", vec!["\"twoway\"", "one-way"]),
        ("way lon nyc", vec!["nothing", "delay, jitter"]),
        ("way lon lon loss 5%", vec!["\"lon\"", "two PoPs"]),
        ("way lon nyc los 5%", vec!["\"los\"", "delay, jitter, loss"]),
        ("way lon nyc loss 5", vec!["\"5\"", "0% to 100%"]),
        ("way lon nyc loss 101%", vec!["\"101%\""]),
        ("way lon nyc loss nan%", vec!["\"nan%\""]),
        ("way lon nyc loss 1% loss 2%", vec!["\"loss\"", "twice"]),
        ("way lon nyc delay 5", vec!["\"5\"", "200ms"]),
        ("way lon nyc rate 0mbit", vec!["\"0mbit\"", "1mbit"]),
        ("heal all", vec!["\"all\"", "nothing more"]),
        ("origin", vec!["ends", "dead"]),
        ("origin gone", vec!["\"gone\"", "dead"]),
        ("origin slow", vec!["ends", "2s"]),
        ("origin slow 100000s", vec!["\"100000s\"", "day"]),
    ];
    for (text, parts) in wrong {
        let why = why(text);
        for part in parts {
            assert!(why.contains(part), "{text:?}: {why:?} lacks {part:?}");
        }
    }
}

fn some_nodes() -> impl Strategy<Value = Nodes> {
    let one = prop_oneof![
        "[a-z]{2,5}(-[1-9])?",
        "(leader|shields):[a-z]{2}",
        Just("owner:http://strict.test/o/1/2?bytes=9".to_owned()),
    ];
    prop::collection::vec(one, 1..4).prop_map(|parts| Nodes(parts.join("+")))
}

fn some_time() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..86_400_000_000u64).prop_map(Duration::from_micros),
        (0..86_400_000u64).prop_map(Duration::from_millis),
        (0..=86_400u64).prop_map(Duration::from_secs),
    ]
}

fn some_worse() -> impl Strategy<Value = Worse> {
    let maybe = prop::option::of::<std::ops::RangeInclusive<f64>>;
    (
        prop::option::of(some_time()),
        prop::option::of(some_time()),
        maybe(0.0..=100.0),
        maybe(0.0..=100.0),
        maybe(1e-3..=1e6),
    )
        .prop_map(|(delay, jitter, loss_percent, reorder_percent, rate_mbit)| Worse {
            delay,
            jitter,
            loss_percent,
            reorder_percent,
            rate_mbit,
        })
        .prop_filter("says something", |worse| *worse != Worse::default())
}

fn some_fault() -> impl Strategy<Value = Fault> {
    let of_nodes: [fn(Nodes) -> Fault; 11] = [
        Fault::Kill,
        Fault::Stop,
        Fault::Restart,
        Fault::Start,
        Fault::Pause,
        Fault::Resume,
        Fault::Freeze,
        Fault::Thaw,
        Fault::PowerCut,
        Fault::KeepDisk,
        Fault::OldDisk,
    ];
    let offset =
        prop_oneof![-3_000_000_000_000i64..=3_000_000_000_000, (-500..=500i64).prop_map(|h| h * 3_600_000)];
    let disk = prop::sample::select(vec![DiskHow::Full, DiskHow::Failing, DiskHow::Well]);
    let origin = prop_oneof![
        prop::sample::select(vec![OriginHow::Dead, OriginHow::Errors, OriginHow::Well]),
        some_time().prop_map(OriginHow::Slow),
    ];
    let pops = || ("[a-c]{3}", "[d-f]{3}");
    prop_oneof![
        (prop::sample::select(of_nodes.to_vec()), some_nodes()).prop_map(|(fault, nodes)| fault(nodes)),
        (some_nodes(), offset).prop_map(|(nodes, offset_ms)| Fault::Clock(nodes, offset_ms)),
        (some_nodes(), disk).prop_map(|(nodes, how)| Fault::Disk(nodes, how)),
        (some_nodes(), some_nodes(), any::<bool>()).prop_map(|(from, to, one_way)| Fault::Cut {
            from,
            to,
            one_way
        }),
        (pops(), some_worse()).prop_map(|((from, to), worse)| Fault::Way { from, to, worse }),
        pops().prop_map(|(from, to)| Fault::Flap { from, to }),
        Just(Fault::Heal),
        origin.prop_map(Fault::Origin),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_as_the_same(fault in some_fault()) {
        let text = fault.to_string();
        prop_assert_eq!(text.parse::<Fault>(), Ok(fault.clone()), "{}", text);
        let json = serde_json::to_string(&fault).unwrap();
        prop_assert_eq!(serde_json::from_str::<Fault>(&json).unwrap(), fault, "{}", json);
    }

    #[test]
    fn nothing_written_breaks_the_reader(text in "[a-z0-9:+%. -]{0,60}") {
        if let Ok(fault) = text.parse::<Fault>() {
            prop_assert_eq!(fault.to_string().parse::<Fault>(), Ok(fault));
        }
    }
}
