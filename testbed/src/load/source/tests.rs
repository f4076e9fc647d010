use std::fs;

use super::*;

fn shape() -> Shape {
    Shape {
        seed: 7,
        host: Host::Available,
        bytes: Span { min: 1_024, max: 102_400 },
        bytes_max: 1 << 20,
        h2: 0.0,
        ranges: 0.0,
        clients: 50,
    }
}

fn methods() -> LogShape {
    LogShape { methods: vec![Method::GET, Method::HEAD], as_is: false }
}

fn object(wanted: &Wanted) -> &Object {
    match &wanted.what {
        What::Object(object) => object,
        What::Path(path) => panic!("{path} is no object"),
    }
}

fn read_log(text: &str, log_shape: &LogShape) -> (Vec<anyhow::Result<Wanted>>, ReadSoFar) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("access.log");
    fs::write(&path, text).unwrap();
    let read = Arc::default();
    let all = log(&path, &shape(), log_shape, Arc::clone(&read)).unwrap().collect();
    let read = read.lock().clone();
    (all, read)
}

fn read_trace(text: &str, shape: &Shape) -> (Vec<anyhow::Result<Wanted>>, ReadSoFar) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("trace.txt");
    fs::write(&path, text).unwrap();
    let read = Arc::default();
    let all = trace(&path, shape, Arc::clone(&read)).unwrap().collect();
    let read = read.lock().clone();
    (all, read)
}

const LOG: &str = r#"10.0.0.1 - - [29/Feb/2024:12:00:00 +0000] "GET /a HTTP/1.1" 304 -
10.0.0.2 - - [29/Feb/2024:12:00:01 +0000] "GET /b HTTP/1.1" 200 5000
what is this
10.0.0.1 - - [29/Feb/2024:12:00:01 +0000] "POST /b HTTP/1.1" 200 9
10.0.0.1 - - [29/Feb/2024:12:00:02 +0000] "-" 408 0

10.0.0.1 - - [29/Feb/2024:12:00:02 +0000] "GET /b HTTP/1.1" 206 17
2001:db8::1 - - [29/Feb/2024:12:00:03 +0000] "HEAD /a HTTP/1.1" 200 70
"#;

#[test]
fn a_log_becomes_requests_for_objects_and_each_path_is_one_of_them() {
    let (all, read) = read_log(LOG, &methods());
    let all: Vec<Wanted> = all.into_iter().map(Result::unwrap).collect();
    let times: Vec<i64> = all.iter().map(|wanted| wanted.logged_s.unwrap() - 1_709_208_000).collect();
    assert_eq!(times, [0, 1, 2, 3]);
    assert_eq!(object(&all[1]).bytes, 5_000, "the size that the log tells");
    assert_eq!(object(&all[1]), object(&all[2]), "a part of it tells no other size");
    assert_eq!(object(&all[0]), object(&all[3]), "a size that was made up stays");
    assert_eq!((all[0].client == all[2].client, all[0].client == all[1].client), (true, false));
    assert_eq!(all[3].method, Method::HEAD);
    assert_eq!((read.usable, read.malformed, read.skipped, read.sizes_made_up), (4, 1, 2, 1));
    let first = read.first_malformed.unwrap();
    assert!(first.contains("access.log, line 3: ") && first.contains("what is this"), "{first}");
}

#[test]
fn paths_can_stay_as_they_are_and_other_methods_can_be_asked_for() {
    let log_shape = LogShape { methods: vec![Method::POST], as_is: true };
    let (all, _) = read_log(LOG, &log_shape);
    let all: Vec<Wanted> = all.into_iter().map(Result::unwrap).collect();
    assert_eq!(all.len(), 1);
    assert_eq!((&all[0].method, &all[0].what), (&Method::POST, &What::Path("/b".to_owned())));
}

#[test]
fn a_file_with_no_usable_line_is_an_error_that_shows_the_first() {
    let (all, _) = read_log("hello\nworld\n", &methods());
    let [Err(error)] = &all[..] else { panic!("{all:?}") };
    let text = error.to_string();
    assert!(text.contains("no usable line") && text.contains("line 1") && text.contains("hello"), "{text}");
    let (all, _) = read_trace("", &shape());
    assert!(matches!(&all[..], [Err(_)]));
}

#[test]
fn a_path_beyond_those_remembered_still_has_one_size() {
    let read = Mutex::default();
    let mut sizes = Sizes { of: HashMap::new(), max: 1 };
    assert_eq!(sizes.of(1, Some(10), &shape(), &read), 10);
    let made_up = sizes.of(2, Some(20), &shape(), &read);
    assert_eq!(sizes.of(2, Some(30), &shape(), &read), made_up);
    assert_eq!(sizes.of(1, Some(40), &shape(), &read), 10);
    assert_eq!(sizes.of.len(), 1);
    assert_eq!(read.lock().sizes_made_up, 2);
}

#[test]
fn a_trace_becomes_objects_of_its_sizes_up_to_the_greatest() {
    let shape = Shape { bytes_max: 5_000, ..shape() };
    let (all, read) = read_trace("1 68\n1001 7454\n2 0\nx\n1 2 3\n7\n7\n", &shape);
    let all: Vec<Wanted> = all.into_iter().map(Result::unwrap).collect();
    let targets: Vec<String> = all.iter().take(3).map(|wanted| object(wanted).target()).collect();
    assert_eq!(targets, ["/o/0/1?bytes=68", "/o/1/1?bytes=5000", "/o/0/2?bytes=1"]);
    assert_eq!(object(&all[4]), object(&all[5]), "an id without a size always has the same one");
    assert_eq!((read.usable, read.malformed), (6, 1), "a word is an id; three words are no line");
}

#[test]
fn objects_are_asked_for_roughly_as_often_as_zipf_says() {
    const DRAWN: usize = 200_000;
    let mut counts = vec![0_usize; 1_000];
    for wanted in zipf(0.9, 1_000, &shape()).unwrap().take(DRAWN) {
        let object = object(&wanted.unwrap()).clone();
        counts[(object.group * 1_000 + object.name) as usize] += 1;
    }
    let whole: f64 = (1..=1_000).map(|rank| f64::from(rank).powf(-0.9)).sum();
    for rank in [1_usize, 2, 10, 100] {
        let expected = DRAWN as f64 * (rank as f64).powf(-0.9) / whole;
        let seen = counts[rank - 1] as f64;
        // Five standard deviations, and it is one seed: it never fails by chance.
        assert!((seen - expected).abs() < 5.0 * expected.sqrt(), "rank {rank}: {seen} and not {expected}");
    }
    assert!(counts.iter().all(|count| *count > 0), "all objects are asked for");
}

#[test]
fn made_up_sizes_fill_the_span_evenly_by_their_logarithm() {
    let mut halves = [0_u32; 2];
    for key in 0..4_000 {
        let bytes = made_up(&shape(), key);
        assert!((1_024..=102_400).contains(&bytes));
        assert_eq!(bytes, made_up(&shape(), key));
        halves[usize::from(bytes > 10_240)] += 1;
    }
    assert!(halves[0].abs_diff(halves[1]) < 400, "{halves:?}");
}

#[test]
fn shares_of_http2_and_ranges_are_kept_and_a_range_is_inside_its_object() {
    let shape = Shape { h2: 0.25, ranges: 0.5, ..shape() };
    let all: Vec<Wanted> = zipf(1.0, 100, &shape).unwrap().take(4_000).map(Result::unwrap).collect();
    let h2 = all.iter().filter(|wanted| wanted.protocol == Protocol::H2).count();
    let ranges = all.iter().filter(|wanted| wanted.range.is_some()).count();
    assert!(h2.abs_diff(1_000) < 200 && ranges.abs_diff(2_000) < 250, "{h2} {ranges}");
    for wanted in &all {
        if let Some((from, to)) = wanted.range {
            assert!(from < to && to <= object(wanted).bytes, "{wanted:?}");
        }
    }
    let again: Vec<Wanted> = zipf(1.0, 100, &shape).unwrap().take(4_000).map(Result::unwrap).collect();
    assert_eq!(all, again, "all of it is of the seed");
}
