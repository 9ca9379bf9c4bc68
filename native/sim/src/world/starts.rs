//! Starts of the node: with which settings, on what, and what must be true of each.

use domp_log::{Drawn, LogConfig};
use domp_node::{BootReport, Config, StateLimits};

use super::snapshots::Watch;
use super::{SESSION_TTL_MS, World};
use crate::branch;
use crate::history::Broken;
use crate::rng::Rng;
use crate::situations::Situation;

impl World {
    /// Starts the node on what the disk holds.
    pub(super) fn start(&mut self) -> Result<(), Broken> {
        self.run += 1;
        self.write = None;
        self.jobs.clear();
        self.shadow = None;
        self.watch = Watch::default();
        self.gone.clear();
        self.abandoned = 0;
        self.led.clear();
        if self.run > 1 && self.rng.percent(10) {
            self.change_limits();
        }
        while self.rng.percent(10) {
            self.crash_in_boot();
        }
        self.draw_start();
        if self.run > 1 {
            self.live_damaged();
            self.live_stopped();
        }
        if self.run > 1 && !self.serves_less() {
            self.lose_files()?;
        }
        if self.run > 1 && !self.settling && self.rng.percent(8) {
            // Not a byte is left, for a while.
            self.fill_disk(0);
        }
        let clock = self.clock();
        let whole = branch::is_whole(&mut self.disk.clone(), &self.config);
        if whole != Some(!self.serves_less()) {
            return Err(format!(
                "Promise 6: the check says whole: {whole:?}, missing: {:?}, stopped: {:?}",
                self.lost.as_ref().map(|(loss, _)| &loss.what),
                self.stopped
            ));
        }
        let (node, report) = branch::boot(&self.config, &mut self.disk, clock)
            .map_err(|error| format!("Promise 1: the node does not start again: {error}"))?;
        if !report.damaged.keys().eq(&self.history.damaged) {
            return Err(format!(
                "Promise 6: damaged is {:?}, and should be {:?}",
                report.damaged, self.history.damaged
            ));
        }
        self.check_start(&report)?;
        if report.log.torn.is_some() {
            self.history.situations.note(Situation::TornTail);
        }
        if report.snapshots > 0 {
            self.history.situations.note(Situation::SnapshotRestored);
        }
        for entry in &report.applied {
            self.history.apply(entry)?;
        }
        self.node = Some(node);
        self.clients.on_crash();
        self.node_turn(|_, _| {})
    }

    /// Fresh random numbers for a start.
    pub(super) fn draw_start(&mut self) {
        self.config.seed = self.rng.next();
        self.config.drawn = draw(&mut self.rng);
    }

    /// The node stays who it is, and no start has the number of another.
    fn check_start(&mut self, report: &BootReport) -> Result<(), Broken> {
        let node = *self.node_id.get_or_insert(report.identity.node);
        if node != report.identity.node {
            return Err(format!(
                "Promise 1: node {node:016x} starts as {:016x}",
                report.identity.node
            ));
        }
        self.vouched = report.identity.position.sequence;
        let Some(incarnation) = report.incarnation else {
            self.history.situations.note(Situation::StartWithoutRoom);
            return Ok(());
        };
        if incarnation.number <= self.incarnation {
            return Err(format!(
                "start {} comes after start {}",
                incarnation.number, self.incarnation
            ));
        }
        self.incarnation = incarnation.number;
        Ok(())
    }
}

/// What a start draws.
fn draw(rng: &mut Rng) -> Drawn {
    Drawn {
        salt_seed: rng.next(),
        node: rng.between(1, 1 << 60),
        nonce: rng.next(),
    }
}

/// Small sizes, so that segments end and snapshots happen all the time.
pub(crate) fn config(rng: &mut Rng) -> Config {
    let mut config = Config::new(rng.next(), draw(rng), [7; 32]);
    config.limits = StateLimits {
        session_ttl_ms: SESSION_TTL_MS,
        session_window: 64,
        sessions_max: 60,
        idempotency_ttl_ms: SESSION_TTL_MS,
        idempotency_keys_max: 40,
    };
    config.log = LogConfig {
        // In some it has no room for any item: all wait for the second.
        founding_segment_bytes: if rng.percent(30) {
            112 << 10
        } else {
            192 << 10
        },
        // Those of one length become one another from the second on.
        first_segment_bytes: if rng.percent(60) {
            384 << 10
        } else {
            320 << 10
        },
        segment_bytes: 384 << 10,
        frame_bytes_max: 64 << 10,
        reserve_bytes: 32 << 10,
        low_space_bytes: 64 << 10,
        keep_free_bytes: 64 << 10,
        spare_segments_max: 3,
    };
    config.snapshot_after_bytes = rng.between(16 << 10, 96 << 10);
    config.snapshot_slice_bytes = 600;
    config.snapshot_rest_us = rng.between(0, 2_000_000);
    config.report_applied = true;
    // In most worlds connections have to take turns.
    config.turn_intake_cost_max = rng.between(500, 20_000);
    config.queued_bytes_max = rng.between(1_000, 16_000);
    config
}
