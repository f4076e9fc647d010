//! The stories that the test command plays; with `STARLING_LONG=1` all of them.

use super::*;

#[tokio::test]
async fn the_default_stories_hold() {
    let _turn = alone().await;
    let bed = Bed::new(11_500);
    let port = bed.first_port.to_string();
    let set = if std::env::var_os("STARLING_LONG").is_some() { "--all" } else { "--default" };
    let out = bed.home.path().join("out").display().to_string();
    let told = bed.done(&["scenario", "run", set, "--first-port", &port, "--out", &out]).await;
    println!("{told}");
    assert_eq!(bed.processes(), Vec::<String>::new());
}
