//! The engine, by machines that only note what happens to them.

use super::*;

/// Notes every input; answers `Ask` with `Told`; calls itself every 100 ms for as long as it lives.
#[derive(Default)]
struct Notes {
    told: Vec<(Micros, Node, u32)>,
    heard: Vec<(Micros, u32)>,
    refused: Vec<(Micros, Node)>,
    ticks: Vec<Micros>,
}

#[derive(Debug)]
enum Word {
    Ask(u32),
    Told(u32),
}

impl Machine for Notes {
    type Message = Word;

    fn handle(&mut self, input: Input<Word>, now: Micros, out: &mut Vec<Effect<Word>>) {
        match input {
            Input::Start => out.push(Effect::Timer { after: 100_000, token: 0 }),
            Input::Timer { token } => {
                self.ticks.push(now);
                out.push(Effect::Timer { after: 100_000, token });
            }
            Input::Direct { from, message } => match *message {
                Word::Ask(what) => out.push(tell(from, Word::Told(what))),
                Word::Told(what) => self.told.push((now, from, what)),
            },
            Input::Gossip { message, .. } => match *message {
                Word::Ask(what) | Word::Told(what) => self.heard.push((now, what)),
            },
            Input::Refused { by } => self.refused.push((now, by)),
        }
    }
}

fn tell(to: Node, word: Word) -> Effect<Word> {
    Effect::Send { to, message: Rc::new(word), bytes: 10 }
}

fn mesh(seed: u64, nodes: u32, settings: Settings) -> (Sim<Notes>, Topic) {
    let mut sim = Sim::new(seed, World::new(nodes, 10, 3), settings);
    let all: Vec<Node> = (0..nodes).collect();
    let topic = sim.topic(&all);
    all.iter().for_each(|node| sim.start(*node, Notes::default()));
    sim.run_for(3_000_000);
    (sim, topic)
}

fn ask(sim: &mut Sim<Notes>, from: Node, to: Node, what: u32) {
    sim.act(from, |_, _, out| out.push(tell(to, Word::Ask(what))));
}

fn say(sim: &mut Sim<Notes>, node: Node, topic: Topic, what: u32) {
    sim.publish(node, topic, Rc::new(Word::Told(what)), 100);
}

/// How many nodes heard it, once each.
fn heard(sim: &Sim<Notes>, nodes: u32, what: u32) -> usize {
    let times = |node| {
        let notes = sim.machine(node).expect("all were started");
        notes.heard.iter().filter(|(_, heard)| *heard == what).count()
    };
    assert!((0..nodes).all(|node| times(node) <= 1), "a message is handed to a machine once");
    (0..nodes).filter(|node| times(*node) == 1).count()
}

fn told(sim: &Sim<Notes>, node: Node) -> Vec<u32> {
    sim.machine(node).expect("it was started").told.iter().map(|(_, _, what)| *what).collect()
}

#[test]
fn one_seed_is_one_run_and_another_is_another() {
    let run = |seed| {
        let network = NetworkSettings { loss_ppm: 50_000, double_ppm: 10_000, ..NetworkSettings::default() };
        let (mut sim, topic) = mesh(seed, 60, Settings { network, ..Settings::default() });
        for at in 0..50 {
            say(&mut sim, at % 60, topic, at);
            ask(&mut sim, at % 60, (at * 7) % 60, at);
            match at {
                10 => sim.crash(3),
                20 => sim.pause(4),
                30 => sim.start(3, Notes::default()),
                40 => sim.resume(4),
                _ => {}
            }
            sim.run_for(50_000);
        }
        (sim.trace(), sim.events())
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn gossip_reaches_everybody_once_even_where_a_fifth_is_lost() {
    for seed in 0..5 {
        let (mut sim, topic) = mesh(seed, 200, Settings::default());
        sim.network_mut().lose(200_000);
        for what in 0..20 {
            say(&mut sim, what * 9, topic, what);
            sim.run_for(100_000);
        }
        sim.run_for(4_000_000);
        for what in 0..20 {
            assert_eq!(heard(&sim, 200, what), 199, "seed {seed}, message {what}");
        }
    }
}

#[test]
fn gossip_finds_its_way_around_the_dead() {
    let (mut sim, topic) = mesh(5, 100, Settings::default());
    (0..100).filter(|node| node % 3 == 0).for_each(|node| sim.go_dark(node));
    sim.run_for(25_000_000);
    let gone = |sim: &Sim<Notes>, node| sim.overlay().neighbours(node, topic).iter().any(|one| one % 3 == 0);
    assert!(
        (0..100).filter(|node| node % 3 != 0).all(|node| !gone(&sim, node)),
        "neighbours that are no more"
    );
    say(&mut sim, 1, topic, 7);
    sim.run_for(2_000_000);
    assert_eq!(heard(&sim, 100, 7), 65);
}

#[test]
fn a_cut_one_way_lets_answers_through_but_no_questions() {
    let (mut sim, _) = mesh(1, 20, Settings::default());
    let cut = sim.network_mut().cut_one_way(&[0], &[1]);
    ask(&mut sim, 0, 1, 10);
    sim.act(1, |_, _, out| out.push(tell(0, Word::Told(11))));
    ask(&mut sim, 0, 2, 12);
    sim.run_for(20_000_000);
    assert_eq!(told(&sim, 0), [11, 12]);
    sim.network_mut().heal(cut);
    ask(&mut sim, 0, 1, 13);
    sim.run_for(1_000_000);
    assert_eq!(told(&sim, 0), [11, 12, 13]);
}

#[test]
fn a_cut_pair_hears_of_each_other_through_all_others() {
    let (mut sim, topic) = mesh(1, 40, Settings::default());
    sim.network_mut().cut(&[0], &[1]);
    say(&mut sim, 0, topic, 5);
    ask(&mut sim, 0, 1, 6);
    sim.run_for(3_000_000);
    assert_eq!(heard(&sim, 40, 5), 39);
    assert_eq!(told(&sim, 0), [0; 0]);
}

#[test]
fn a_parted_region_hears_nothing_until_it_is_healed() {
    let (mut sim, topic) = mesh(1, 60, Settings::default());
    let region = sim.network().world().region(1);
    let cuts = sim.network_mut().part(&region);
    say(&mut sim, 0, topic, 5);
    sim.run_for(30_000_000);
    assert_eq!(heard(&sim, 60, 5), 60 - region.len() - 1);
    cuts.into_iter().for_each(|cut| sim.network_mut().heal(cut));
    sim.run_for(40_000_000);
    say(&mut sim, 0, topic, 6);
    sim.run_for(5_000_000);
    assert_eq!(heard(&sim, 60, 6), 59);
}

#[test]
fn a_paused_node_hears_all_that_was_held_when_it_goes_on() {
    let (mut sim, topic) = mesh(1, 20, Settings::default());
    sim.pause(4);
    let paused_at = sim.now();
    ask(&mut sim, 0, 4, 1);
    say(&mut sim, 0, topic, 2);
    sim.run_for(5_000_000);
    assert_eq!(told(&sim, 0), [0; 0]);
    sim.resume(4);
    sim.run_for(1_000_000);
    assert_eq!(told(&sim, 0), [1]);
    let notes = sim.machine(4).expect("it was started");
    assert_eq!(notes.heard, [(paused_at + 5_000_000, 2)]);
    let while_paused = |at: &&Micros| (paused_at..paused_at + 5_000_000).contains(*at);
    assert_eq!(notes.ticks.iter().filter(while_paused).count(), 0);
    assert!(notes.ticks.last().is_some_and(|last| *last > sim.now() - 200_000), "its timers run again");
}

#[test]
fn a_crashed_process_refuses_and_a_dark_host_is_silent() {
    let (mut sim, _) = mesh(1, 20, Settings::default());
    sim.crash(4);
    sim.go_dark(5);
    ask(&mut sim, 0, 4, 1);
    ask(&mut sim, 0, 5, 2);
    sim.run_for(20_000_000);
    let refused: Vec<Node> = sim.machine(0).expect("it runs").refused.iter().map(|(_, by)| *by).collect();
    assert_eq!(refused, [4]);
}

#[test]
fn a_new_life_hears_nothing_that_was_meant_for_the_last() {
    let (mut sim, topic) = mesh(1, 20, Settings::default());
    ask(&mut sim, 15, 4, 1);
    sim.crash(4);
    sim.start(4, Notes::default());
    let started_at = sim.now();
    sim.run_for(1_000_000);
    let notes = sim.machine(4).expect("it runs");
    let ticks: Vec<Micros> = (1..=9).map(|tick| started_at + tick * 100_000).collect();
    assert_eq!(notes.ticks, ticks, "the timers of its last life are gone");
    assert_eq!(told(&sim, 15), [0; 0]);
    say(&mut sim, 0, topic, 9);
    sim.run_for(1_000_000);
    assert_eq!(heard(&sim, 20, 9), 19);
}

#[test]
fn every_message_is_in_the_account_of_who_sent_it_and_who_got_it() {
    let settings = Settings {
        overlay: OverlaySettings { lazy: 0, ..OverlaySettings::default() },
        ..Settings::default()
    };
    let (mut sim, _) = mesh(1, 20, settings);
    sim.run_for(1_000_000 - sim.now() % 1_000_000 + 1_000);
    sim.traffic_mut().clear();
    for _ in 0..100 {
        sim.act(0, |_, _, out| out.push(tell(1, Word::Told(1))));
    }
    sim.run_for(1_000_000);
    let (sent, got) = (sim.traffic().spread(|of| of.bytes_out), sim.traffic().spread(|of| of.bytes_in));
    assert_eq!(sent.count, 20);
    assert!(sent.max >= 9_000 && got.max >= 9_000, "{sent:?} {got:?}");
    assert!(sent.p50 < 9_000);
}
