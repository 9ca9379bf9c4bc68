//! Room in the log: what has to wait for a segment waits, and only a full disk refuses.

mod support;

use std::io::ErrorKind;

use domp_log::memory::Fault;
use domp_log::{Disk, Job, LogConfig};
use domp_node::Notice;
use domp_protocol::error::ErrorCode;
use domp_protocol::reply::parse_error_detail;
use domp_protocol::transaction::Operation;

use support::{Bench, SPACE, config, log_of, put};

/// More than the first segment holds.
fn large(value: &[u8]) -> Vec<Operation<'_>> {
    [&b"a"[..], b"b", b"c"]
        .into_iter()
        .flat_map(|key| put(key, value))
        .collect()
}

/// A node whose second segment is still to be made, at which a large write waits for it.
fn waiting() -> Bench {
    let mut bench = Bench::holding_jobs(config());
    let value = vec![1; 900 << 10];
    let (frame, _) = bench.frame(SPACE, &[large(&value)]);
    bench.submit(&frame);
    for _ in 0..50 {
        assert_eq!(bench.answers(), []);
        bench.turn(|_, _| {});
    }
    assert!(
        bench.turn.wake_at_us > Some(bench.clock.monotonic_us),
        "nobody turns in circles meanwhile"
    );
    bench
}

fn answer(bench: &mut Bench) -> (Option<ErrorCode>, Vec<u8>) {
    bench.holds_jobs = false;
    bench.until(|bench| !bench.answers().is_empty());
    let (head, payload) = bench.answers().remove(0);
    (head.code, payload)
}

#[test]
fn a_write_that_the_first_segment_can_not_hold_waits_for_the_second() {
    let mut bench = waiting();
    assert_eq!(answer(&mut bench).0, None);
}

#[test]
fn if_the_disk_is_full_it_is_refused_and_told_why() {
    let mut bench = waiting();
    bench.disk.set_capacity(bench.disk.used_bytes());
    let (code, payload) = answer(&mut bench);
    assert_eq!(code, Some(ErrorCode::Overloaded));
    let detail = parse_error_detail(&payload).expect("it says more");
    assert!(detail.message.starts_with("disk"), "{}", detail.message);
    // Small ones find room all the same.
    let (head, _) = bench.ask(SPACE, put(b"k", b"v"));
    assert_eq!(head.code, None);
}

fn removes_a_segment(job: &Job) -> bool {
    matches!(job, Job::Remove { file } if file.starts_with("wal/"))
}

/// Nothing else would remove it before the next start.
#[test]
fn a_segment_that_nobody_needs_goes_however_often_its_removal_fails() {
    const RETRIES_US: [u64; 2] = [5_000_000, 10_000_000];
    let mut bench = Bench::configured(|config| {
        config.log = LogConfig {
            spare_segments_max: 0,
            ..log_of(1 << 20)
        };
        config.snapshot_after_bytes = 512 << 10;
    });
    let value = vec![7; 4096];
    let due = |bench: &Bench| {
        bench
            .jobs
            .iter()
            .position(|(_, job)| removes_a_segment(job))
    };
    for _ in 0..2_000 {
        if due(&bench).is_some() {
            break;
        }
        assert_eq!(bench.ask(SPACE, put(b"k", &value)).0.code, None);
    }
    let at = due(&bench).expect("a segment is to go");
    // It alone: what else is to go does not stand in for it.
    let removal = bench.jobs.remove(at).expect("it is there");
    let Job::Remove { file } = &removal.1 else {
        unreachable!("it was looked for");
    };
    let file = file.to_string();
    bench.until(|bench| bench.jobs.is_empty() && !bench.node.is_snapshotting());
    bench.notices.clear();
    bench.jobs.push_back(removal);
    for retry_us in RETRIES_US {
        bench.disk.inject_next(Fault::Fail(ErrorKind::Other));
        bench.until(|bench| !bench.notices.is_empty());
        let told = std::mem::take(&mut bench.notices);
        assert!(
            matches!(&told[..], [Notice::RemovalFailed { file: failed, retry_ms, .. }]
                if *failed == file && *retry_ms == retry_us / 1000),
            "{told:?}"
        );
        bench.clock.monotonic_us += retry_us;
        bench.until(|bench| due(bench).is_some());
    }
    bench.until(|bench| bench.jobs.is_empty());
    let left = bench.disk.list().expect("it lists");
    assert!(left.iter().all(|each| each.name != file), "{left:?}");
}
