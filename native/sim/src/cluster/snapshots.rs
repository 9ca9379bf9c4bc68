//! Snapshots between machines: what becomes of their jobs, and what was met of them.

use domp_log::memory::Fault;
use domp_log::{Disk as _, Job, JobResult, run_job};

use super::{Cluster, Event, Machine, Situation, Situations};

/// Runs a job. `chance` decides whether one of a snapshot goes wrong, and how.
pub fn run(
    machine: &mut Machine,
    job: &Job,
    chance: u64,
    situations: &mut Situations,
) -> JobResult {
    let is_snapshot = matches!(
        job,
        Job::SnapshotRead { .. } | Job::SnapshotWrite { .. } | Job::SnapshotFinish { .. }
    );
    if is_snapshot && chance == 0 {
        situations.note(Situation::SnapshotJobFailed);
        if matches!(job, Job::SnapshotRead { .. }) {
            // What only reads is not counted among what may fail.
            return JobResult::Failed {
                kind: std::io::ErrorKind::Other,
                message: "injected failure".to_owned(),
            };
        }
        let operation = machine.disk.operations() + 1;
        let kind = std::io::ErrorKind::Other;
        machine.disk.inject(operation, Fault::Fail(kind));
    }
    let mut result = run_job(&mut machine.disk, job);
    if let JobResult::Piece(piece) = &mut result
        && (1..4).contains(&chance)
        && !piece.bytes.is_empty()
    {
        situations.note(Situation::SnapshotPieceSpoilt);
        let at = piece.bytes.len() / 3;
        piece.bytes[at] ^= 16;
    }
    result
}

impl Cluster {
    pub(super) fn note_installed(&mut self, at: usize, group: u64) {
        self.situations.note(Situation::SnapshotInstalled);
        if group == 0 {
            self.situations.note(Situation::MetaInstalled);
        }
        let node = self.machines[at].node.as_ref();
        if node.is_some_and(|node| node.transfer_counters().installed > 1) {
            self.situations.note(Situation::SnapshotAgain);
        }
    }

    /// Power fails now and then while a snapshot is on its way, above all at its end.
    pub(super) fn crash_in_transfer(&mut self, at: usize) {
        let machine = &self.machines[at];
        let (Some(node), false) = (&machine.node, self.is_settling()) else {
            return;
        };
        let (sends, receives) = node.transfers_under_way();
        if sends + receives == 0 {
            return;
        }
        let files = self.machines[at].disk.list().unwrap_or_default();
        let is_received = receives > 0
            && files
                .iter()
                .any(|file| file.name.strip_suffix(".recv").is_some());
        let one_in = if is_received { 60 } else { 400 };
        if self.rng.below(one_in) == 0 {
            let run = self.machines[at].run;
            let after_us = self.rng.below(2_000);
            self.at(after_us, Event::Crash { at, run });
        }
    }

    /// A run of a machine ends: what it met.
    pub(super) fn note_transfers(&mut self, at: usize, crashes: bool) {
        let machine = &mut self.machines[at];
        let Some(node) = &machine.node else {
            return;
        };
        let counters = node.transfer_counters();
        let (sends, receives) = node.transfers_under_way();
        let files = machine.disk.list().unwrap_or_default();
        let has_received = files
            .iter()
            .any(|file| file.name.strip_suffix(".recv").is_some());
        for (situation, times) in [
            (Situation::SnapshotSent, counters.sent),
            (Situation::SnapshotFailed, counters.failed),
            (Situation::SnapshotOutgrown, counters.outgrown),
            (Situation::SnapshotGivenUp, counters.given_up),
            (Situation::CrashInSending, u64::from(crashes && sends > 0)),
            (
                Situation::CrashInReceiving,
                u64::from(crashes && receives > 0),
            ),
            (
                Situation::CrashWithReceived,
                u64::from(crashes && has_received),
            ),
        ] {
            for _ in 0..times {
                self.situations.note(situation);
            }
        }
    }
}
