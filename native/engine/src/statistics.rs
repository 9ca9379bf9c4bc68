//! What the engine counts and times. Owned by the worker and read by it when
//! asked, so that counting costs no shared memory.

use domp_log::LogWrite;
use hdrhistogram::Histogram;
use serde::{Serialize, Serializer};

/// Values are kept to two digits, which is what a picture shows.
const DIGITS: u8 = 2;

/// A histogram that clamps what is out of its range.
#[derive(Debug)]
pub(crate) struct Distribution {
    histogram: Histogram<u64>,
    sum: u64,
}

impl Distribution {
    fn new(max: u64) -> Self {
        let histogram = Histogram::new_with_bounds(1, max, DIGITS)
            .expect("one to a larger number with two digits are valid bounds");
        Self { histogram, sum: 0 }
    }

    pub fn record(&mut self, value: u64) {
        self.histogram.saturating_record(value);
        self.sum = self.sum.saturating_add(value);
    }
}

/// A distribution as the control plane gets it.
#[derive(Serialize)]
struct Summary {
    count: u64,
    sum: u64,
    min: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    p999: u64,
    max: u64,
}

impl Serialize for Distribution {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { histogram, sum } = self;
        let at = |quantile: f64| histogram.value_at_quantile(quantile);
        let summary = Summary {
            count: histogram.len(),
            sum: *sum,
            min: if histogram.is_empty() {
                0
            } else {
                histogram.min()
            },
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: histogram.max(),
        };
        summary.serialize(serializer)
    }
}

/// Nanoseconds up to a minute.
const MINUTE_NS: u64 = 60_000_000_000;

/// Counters since start, and distributions, as the control plane gets them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Statistics {
    /// Turns of the node.
    pub turns: u64,
    /// Times the worker had nothing to do.
    pub parks: u64,
    /// Times work came while the worker looked for it before sleeping.
    pub polled: u64,
    /// Processor time of looking for work, found or not.
    pub poll_cpu_ns: u64,
    /// Wake-ups of the gateway.
    pub wake_ups: u64,
    /// Records taken from the inbound ring, and their bytes.
    pub inbound_records: u64,
    pub inbound_bytes: u64,
    /// Records that made no sense: a fault of the gateway's.
    pub inbound_malformed: u64,
    /// Times the inbound ring was unreadable and its content skipped.
    pub inbound_faults: u64,
    /// Replies and frames put into the outbound ring.
    pub outbound_replies: u64,
    pub outbound_frames: u64,
    pub outbound_bytes: u64,
    /// Times the outbound ring was full and frames had to wait.
    pub outbound_blocked: u64,
    /// Background jobs done, and those that failed.
    pub jobs: u64,
    pub jobs_failed: u64,
    /// Bytes written to files of the log, those included that only make segments.
    pub log_disk_bytes: u64,
    /// How far the machine's clock is ahead of the one that stamps revisions.
    pub clock_skew_ms: i64,
    /// Time of a turn without the log's write.
    pub turn_ns: Distribution,
    /// Time of a log write with its flush.
    pub log_write_ns: Distribution,
    /// Bytes of a log write.
    pub log_write_bytes: Distribution,
    /// Replies that one log write released.
    pub batch_replies: Distribution,
    /// Bytes waiting in the inbound ring when a turn begins.
    pub inbound_fill_bytes: Distribution,
    /// Bytes waiting in the outbound ring after a turn.
    pub outbound_fill_bytes: Distribution,
    /// From a frame's arrival in the ring, to a turn's precision, to its first
    /// reply's departure; one frame at a time is watched.
    pub request_ns: Distribution,
}

impl Statistics {
    pub fn new() -> Self {
        let bytes = || Distribution::new(1 << 30);
        Self {
            turns: 0,
            parks: 0,
            polled: 0,
            poll_cpu_ns: 0,
            wake_ups: 0,
            inbound_records: 0,
            inbound_bytes: 0,
            inbound_malformed: 0,
            inbound_faults: 0,
            outbound_replies: 0,
            outbound_frames: 0,
            outbound_bytes: 0,
            outbound_blocked: 0,
            jobs: 0,
            jobs_failed: 0,
            log_disk_bytes: 0,
            clock_skew_ms: 0,
            turn_ns: Distribution::new(MINUTE_NS),
            log_write_ns: Distribution::new(MINUTE_NS),
            log_write_bytes: bytes(),
            batch_replies: Distribution::new(1 << 24),
            inbound_fill_bytes: bytes(),
            outbound_fill_bytes: bytes(),
            request_ns: Distribution::new(MINUTE_NS),
        }
    }

    /// A log write was made.
    pub fn written(&mut self, write: &LogWrite, took_ns: u64) {
        self.log_write_ns.record(took_ns);
        self.log_write_bytes.record(write.bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_come_out_to_two_digits_and_the_sum_exactly() {
        let mut distribution = Distribution::new(MINUTE_NS);
        for value in 1..=1000 {
            distribution.record(value * 1000);
        }
        let text = crate::report::json(&distribution);
        assert!(
            text.starts_with("{\"count\":1000,\"sum\":500500000,\"min\":"),
            "{text}"
        );
        let p50 = distribution.histogram.value_at_quantile(0.5);
        assert!((495_000..=505_000).contains(&p50), "{p50}");
    }

    #[test]
    fn values_out_of_range_are_clamped_and_counted() {
        let mut distribution = Distribution::new(MINUTE_NS);
        distribution.record(0);
        distribution.record(u64::MAX);
        assert_eq!(distribution.histogram.len(), 2);
        assert!(distribution.histogram.max() >= MINUTE_NS);
    }
}
