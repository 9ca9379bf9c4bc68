//! What the operator's log is to be told, until the control plane asks for it.

use std::collections::VecDeque;

use domp_node::Notice;
use serde::Serialize;

use crate::clock::Jump;
use crate::cluster::Standing;
use crate::report::{self, NoticeReport};

/// Notices kept; of more the oldest are forgotten, and counted.
const KEPT_MAX: usize = 64;

/// Something to say.
#[derive(Clone, Debug)]
pub(crate) enum Said {
    /// By the node.
    Node(Notice),
    /// Of another node.
    Standing(Standing),
    /// By the clock.
    ClockLeft(Jump),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Notices {
    kept: VecDeque<Said>,
    forgotten: u64,
}

impl Notices {
    pub fn add(&mut self, notices: impl IntoIterator<Item = Said>) {
        for notice in notices {
            if self.kept.len() == KEPT_MAX {
                self.kept.pop_front();
                self.forgotten += 1;
            }
            self.kept.push_back(notice);
        }
    }

    /// All of them, `{"notices":[…],"forgotten":…}`; they are told once.
    pub fn take(&mut self) -> String {
        let kept = std::mem::take(&mut self.kept);
        report::json(&Told {
            notices: kept.iter().map(NoticeReport::from).collect(),
            forgotten: std::mem::take(&mut self.forgotten),
        })
    }
}

#[derive(Serialize)]
struct Told<'a> {
    notices: Vec<NoticeReport<'a>>,
    forgotten: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(group: u64) -> Said {
        Said::Node(Notice::SnapshotFailed {
            group,
            space: "a".to_owned(),
            why: "the disk is full".to_owned(),
            retry_ms: 5_000,
        })
    }

    #[test]
    fn the_oldest_are_forgotten_and_counted_and_each_is_told_once() {
        let mut notices = Notices::default();
        notices.add((0..KEPT_MAX as u64 + 2).map(notice));
        let told = notices.take();
        assert!(told.contains("\"forgotten\":2") && !told.contains("\"group\":1,"));
        assert!(told.contains("\"group\":2,") && told.contains("\"retryMs\":5000"));
        assert_eq!(notices.take(), r#"{"notices":[],"forgotten":0}"#);
        notices.add([Said::ClockLeft(Jump {
            skew_ms: -3_600_000,
            jump_max_ms: 1_000,
        })]);
        let told = notices.take();
        assert!(
            told.contains("\"skewMs\":-3600000,\"jumpMaxMs\":1000"),
            "{told}"
        );
    }
}
