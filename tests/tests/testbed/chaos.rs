//! Requests, purges and faults by a seed, judged.

use super::*;

#[tokio::test]
async fn a_short_run_by_a_seed_passes() {
    let _turn = alone().await;
    let bed = Bed::new(11_300);
    let out = bed.home.path().join("out");
    let port = bed.first_port.to_string();
    let out_text = out.display().to_string();
    let arguments =
        ["chaos", "--seed", "7", "--seconds", "30", "--topology", "laptop", "--first-port", &port];
    let told = bed.done(&[&arguments[..], &["--out", &out_text]].concat()).await;
    assert!(told.contains("passed"), "{told}");
    assert_eq!(bed.processes(), Vec::<String>::new());
    let kept: Vec<String> = walk(&out);
    for ending in [".jsonl", ".svg"] {
        assert!(kept.iter().any(|file| file.ends_with(ending)), "no {ending} among {kept:?}");
    }

    // The history alone is enough to judge again; one that was cut off is not taken for a whole one.
    let history = kept.iter().find(|file| file.ends_with(".jsonl")).expect("it is there");
    bed.done(&["chaos", "--history", history]).await;
    let text = std::fs::read_to_string(history).expect("it can be read");
    let half: Vec<&str> = text.lines().take(text.lines().count() / 2).collect();
    let cut = out.join("cut.jsonl");
    std::fs::write(&cut, half.join("\n")).expect("it can be written");
    let judged = bed.run(&["chaos", "--history", &cut.display().to_string()]).await;
    assert_eq!(judged.code, Some(3), "{}{}", judged.stdout, judged.stderr);
}

/// All files below a directory.
fn walk(dir: &Path) -> Vec<String> {
    let entries =
        std::fs::read_dir(dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display())).flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => walk(&path),
            path => vec![path.display().to_string()],
        })
        .collect()
}
