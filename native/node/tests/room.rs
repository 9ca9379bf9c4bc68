//! Room in the log: what has to wait for a segment waits, and only a full disk refuses.

mod support;

use domp_protocol::error::ErrorCode;
use domp_protocol::reply::parse_error_detail;
use domp_protocol::transaction::Operation;

use support::{Bench, SPACE, config, put};

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
