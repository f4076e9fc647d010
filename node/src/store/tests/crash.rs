//! `kill -9` in the middle of everything: this test runs itself as the process that is killed.

use std::process::{Command, Stdio};

use starling_proto::purge::{Mode, Purge, Selector};

use super::*;

/// Set for the process that is to be killed: where it writes.
const VICTIM_DIR: &str = "STARLING_TEST_VICTIM_DIR";

/// Stores, replaces and purges until it is killed, and tells each purge that was acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn victim() {
    let Ok(dir) = std::env::var(VICTIM_DIR) else { return };
    let settings = Settings { disk_bytes_max: 4 << 20, ..settings(Path::new(&dir)) };
    let store = Store::open(settings, NOW).await.expect("opens");
    for round in 0_u64.. {
        for number in 0..50 {
            let text = number.to_string();
            let len = 1 + (number * 1_733 + round * 977) % 60_000;
            let mut head = head(NOW + round);
            head.tags = vec![round.to_string()];
            let new = NewObject { head, ..new(&text, &store, None) };
            let (object, mut writer) = store.begin(new);
            store.commit(&object).await;
            writer.push(content(number + 1_000 * round, len as usize)).await.expect("pushes");
            writer.finish().await.expect("finishes");
        }
        let selectors = vec![Selector::Tag(round.to_string())];
        let purge = Purge { service: "default".to_owned(), selectors, mode: Mode::Hard };
        let version = store.write(Change::Purge(purge), 0, NOW).await.expect("purges").version;
        println!("purged {}", version.index);
    }
}

#[tokio::test]
async fn after_kill_9_every_body_is_right_and_every_purge_is_known() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut seen = 0;
    for _ in 0..3 {
        let acknowledged = run_and_kill(dir.path());
        let store = open(dir.path()).await;
        let applied = store.stamp().get(&Region::new("local")).expect("has a log").index;
        assert!(applied >= seen + acknowledged, "{applied} of {seen} + {acknowledged} purges");
        seen = applied;
        let mut found = 0;
        for number in 0..50_u64 {
            let Some(object) = find(&store, &number.to_string()).await else { continue };
            let round = object.head.response_ms - NOW;
            let len = 1 + (number * 1_733 + round * 977) % 60_000;
            if let Ok(body) = read_all(&object).await {
                assert_eq!(body, content(number + 1_000 * round, len as usize), "{number} of round {round}");
                found += 1;
            }
        }
        assert_eq!(store.stats().slices_damaged, 0, "what was written before the kill is there");
        println!("{found} objects and {applied} purges");
        store.close().await;
    }
}

/// Lets a victim work until it has acknowledged some purges, and kills it while it goes on.
fn run_and_kill(dir: &Path) -> u64 {
    use std::io::BufRead;
    let exe = std::env::current_exe().expect("has a path");
    let mut victim = Command::new(exe)
        .args(["store::tests::crash::victim", "--exact", "--nocapture", "--test-threads=1"])
        .env(VICTIM_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .expect("starts");
    let lines = std::io::BufReader::new(victim.stdout.take().expect("is piped")).lines();
    let purges = lines.map_while(Result::ok).filter(|line| line.contains("purged")).take(4).count() as u64;
    victim.kill().expect("is killed");
    victim.wait().expect("ends");
    assert_eq!(purges, 4, "the victim ended before its time");
    purges
}
