//! Ranges, gaps and aborts in any order, against a model that is an array of bytes.

use proptest::prelude::*;

use super::*;

const TOTAL: u64 = 40_000;

#[derive(Clone, Debug)]
enum Step {
    Begin(u64, u64),
    Push(usize, usize),
    Finish(usize),
    Abort(usize),
    Read(u64, u64),
    EvictMemory,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let at = || 0..TOTAL;
    let step = prop_oneof![
        2 => (at(), 1..TOTAL).prop_map(|(start, len)| Step::Begin(start, (start + len).min(TOTAL))),
        6 => (0..4_usize, 1..9_000_usize).prop_map(|(writer, len)| Step::Push(writer, len)),
        2 => (0..4_usize).prop_map(Step::Finish),
        1 => (0..4_usize).prop_map(Step::Abort),
        4 => (at(), 1..TOTAL).prop_map(|(start, len)| Step::Read(start, (start + len).min(TOTAL))),
        1 => Just(Step::EvictMemory),
    ];
    proptest::collection::vec(step, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_body_has_what_was_brought_and_nothing_else(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(run(steps))?;
    }
}

async fn run(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let dir = tempfile::tempdir().expect("a directory");
    let store = open(dir.path()).await;
    let truth = content(77, TOTAL as usize);
    let mut present = vec![false; TOTAL as usize];
    let mut writers: Vec<BodyWriter> = Vec::new();
    let (object, first) = store.begin(NewObject { until: Some(0), ..new("a", &store, Some(TOTAL)) });
    first.finish().await.expect("brings nothing");
    for step in steps {
        match step {
            Step::Begin(start, end) => {
                let coming = |w: &BodyWriter| w.position() <= start && start < w.range().end;
                let covered = present[start as usize] || writers.iter().any(coming);
                let writer = object.body.writer(start..end, Hop::Origin);
                prop_assert_eq!(writer.is_none(), covered);
                if let Some(writer) = writer {
                    let range = writer.range();
                    prop_assert!(!present[range.start as usize..range.end as usize].contains(&true));
                    writers.push(writer);
                }
            }
            Step::Push(index, len) => {
                let Some(writer) = writers.get_mut(index) else { continue };
                let from = writer.position() as usize;
                let to = (from + len).min(writer.range().end as usize);
                writer.push(truth.slice(from..to)).await.expect("pushes");
                present[from..to].fill(true);
            }
            Step::Finish(index) if index < writers.len() => {
                let writer = writers.swap_remove(index);
                let complete = writer.position() == writer.range().end;
                prop_assert_eq!(writer.finish().await.is_ok(), complete);
            }
            Step::Abort(index) if index < writers.len() => writers.swap_remove(index).abort("a test"),
            Step::Finish(_) | Step::Abort(_) => {}
            Step::Read(start, end) => check_read(&object, &truth, &present, &writers, start, end).await?,
            Step::EvictMemory => {
                store.flush().await;
                for start in object.body.slice_starts() {
                    store.0.tiers.memory.remove_slice(object.body.id(), start);
                }
            }
        }
    }
    Ok(())
}

async fn check_read(
    object: &Object,
    truth: &Bytes,
    present: &[bool],
    writers: &[BodyWriter],
    start: u64,
    end: u64,
) -> Result<(), TestCaseError> {
    let run = present[start as usize..end as usize].iter().take_while(|here| **here).count() as u64;
    prop_assert_eq!(object.body.has(start..end), start + run == end);
    let mut reader = object.body.reader(start..end);
    while reader.position() < start + run {
        let at = reader.position() as usize;
        let bytes = reader.next().await.expect("is present").expect("is not the end");
        prop_assert_eq!(&bytes, &truth.slice(at..at + bytes.len()));
    }
    prop_assert_eq!(reader.position(), start + run);
    let coming = writers.iter().any(|w| w.position() <= start + run && start + run < w.range().end);
    let mut next = Box::pin(reader.next());
    match futures_util::poll!(&mut next) {
        std::task::Poll::Ready(Ok(None)) => prop_assert_eq!(start + run, end),
        std::task::Poll::Ready(Err(error)) => {
            prop_assert!(!coming && start + run < end);
            prop_assert_eq!(error, ReadError::Gap { at: start + run });
        }
        std::task::Poll::Ready(Ok(Some(_))) => prop_assert!(false, "bytes nobody brought"),
        std::task::Poll::Pending => prop_assert!(coming),
    }
    Ok(())
}
