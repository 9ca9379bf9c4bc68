//! What goes wrong in a world: power, disks, clocks, and operators who change their minds.

use domp_log::memory::Fault;
use domp_node::Node;

use super::{Event, SESSION_TTL_MS, World};
use crate::branch::{self, Shadow};
use crate::history::Broken;
use crate::loss::{self, Loss};
use crate::power;
use crate::situations::Situation;

impl World {
    /// Leaves that many bytes on the disk, for a while.
    pub(super) fn fill_disk(&mut self, left_bytes: u64) {
        self.disk.set_capacity(self.disk.used_bytes() + left_bytes);
        self.full_until_us = self.now_us + self.rng.between(5_000, 200_000);
        self.history.was_full = true;
    }

    /// The operator wants other limits from this start on.
    pub(super) fn change_limits(&mut self) {
        let limits = &mut self.config.limits;
        limits.sessions_max = u32::try_from(self.rng.between(40, 80)).unwrap_or(60);
        limits.idempotency_keys_max = u32::try_from(self.rng.between(20, 60)).unwrap_or(40);
        limits.session_window = u32::try_from(self.rng.between(48, 64)).unwrap_or(64);
        limits.session_ttl_ms = self.rng.between(SESSION_TTL_MS / 2, SESSION_TTL_MS);
        limits.idempotency_ttl_ms = self.rng.between(SESSION_TTL_MS / 2, SESSION_TTL_MS);
        self.history.situations.note(Situation::LimitsChanged);
    }

    /// Somebody was at the files: beside the world the node must notice, or must not care. Keeps a
    /// copy of the directory now and then.
    pub(super) fn lose_files(&mut self) -> Result<(), Broken> {
        let clock = self.clock();
        while self.rng.percent(60) {
            let earlier = self.earlier.as_ref();
            let earlier = earlier.filter(|(_, last)| *last < self.vouched);
            let earlier = earlier.map(|(disk, _)| disk);
            if let Some(loss) = Loss::draw(&self.disk, earlier, &mut self.rng) {
                let image = self.disk.clone();
                branch::lose_and_check(image, &loss, &self.config, clock, &mut self.history)?;
            }
        }
        if self.earlier.is_none() || self.rng.percent(30) {
            let last = domp_log::check(&mut self.disk.clone(), &());
            self.earlier = last
                .ok()
                .map(|told| (self.disk.clone(), told.last_sequence));
        }
        Ok(())
    }

    /// A space's snapshot is lost, and the world lives on without it; or it comes back.
    pub(super) fn live_damaged(&mut self) {
        if let Some((loss, sound)) = self.lost.take() {
            // Of a space that was dropped since nothing is missed.
            let spaces = self.history.spaces();
            let is_there = self
                .history
                .damaged
                .iter()
                .all(|group| spaces.contains(group));
            if !self.settling && is_there && self.rng.percent(50) {
                self.lost = Some((loss, sound));
                return;
            }
            // Who puts it back makes room for it.
            self.disk.set_capacity(u64::MAX);
            self.full_until_us = 0;
            loss.mend(&sound, &mut self.disk);
            self.history.damaged.clear();
            self.history.situations.note(Situation::LivedMended);
            return;
        }
        if self.settling || self.stopped.is_some() || !self.rng.percent(12) {
            return;
        }
        let mut files = loss::snapshots(&self.disk);
        files.retain(|file| loss::group_of(file).is_some_and(|group| group != 0));
        if files.is_empty() {
            return;
        }
        let file = self.rng.pick(&files).clone();
        let loss = Loss::of_snapshot(&file);
        let sound = self.disk.clone();
        let mut struck = sound.clone();
        loss.strike(&mut struck);
        // One that nothing names is not missed.
        if branch::is_whole(&mut struck, &self.config) == Some(false) {
            self.history.damaged.extend(loss::group_of(&file));
            self.history.situations.note(Situation::LivedDamaged);
            self.disk = struck;
            self.lost = Some((loss, sound));
        }
    }

    /// Power fails while the node starts, or while it is founded.
    pub(super) fn crash_in_boot(&mut self) {
        self.draw_start();
        let mut attempt = self.disk.clone();
        attempt.crash_after(attempt.operations() + self.rng.below(16));
        let booted = branch::boot(&self.config, &mut attempt, self.clock());
        self.disk = attempt.crash(self.rng.next());
        self.history.situations.note(if self.node_id.is_some() {
            Situation::CrashInBoot
        } else {
            Situation::CrashInFounding
        });
        // One that went through is a start like any other.
        if let Ok((_, report)) = booted {
            self.node_id.get_or_insert(report.identity.node);
            if let Some(incarnation) = report.incarnation {
                self.incarnation = self.incarnation.max(incarnation.number);
            }
        }
    }

    /// Power fails: what was not flushed survives as the disk likes.
    pub(super) fn crash(&mut self) {
        self.node = None;
        self.run += 1;
        self.shadow = None;
        self.jobs.clear();
        power::fail(&mut self.disk, self.write.take(), &mut self.rng);
        self.clients.on_crash();
        let after_us = self.rng.between(500, 20_000);
        self.at(after_us, Event::Start);
    }

    pub(super) fn break_something(&mut self) -> Result<(), Broken> {
        if self.settling {
            return Ok(());
        }
        let next_us = self.rng.between(1_000, 25_000);
        self.at(next_us, Event::Break);
        if self.full_until_us != 0 && self.now_us >= self.full_until_us {
            self.disk.set_capacity(u64::MAX);
            self.full_until_us = 0;
            self.history.situations.note(Situation::DiskFreed);
        }
        if self.node.is_none() {
            return Ok(());
        }
        self.faults += 1;
        let fault = self.rng.below(18);
        if self.is_calm && fault <= 4 {
            // Time passes, so that what failed is tried again.
            self.pause();
            return Ok(());
        }
        match fault {
            0..=2 => {
                self.note_crash();
                self.crash();
            }
            3 => {
                // The flush of the next write fails.
                self.disk.inject(
                    self.disk.operations() + 2,
                    Fault::Fail(std::io::ErrorKind::Other),
                );
                if self.write.is_some() && self.jobs.is_empty() {
                    self.history.situations.note(Situation::FlushFailed);
                }
                return self.fail_write();
            }
            4 => {
                self.disk
                    .inject_next(Fault::Fail(std::io::ErrorKind::Other));
                self.history.situations.note(Situation::WriteFailed);
                return self.fail_write();
            }
            5 => {
                let left = self.rng.between(0, 64 << 10);
                self.fill_disk(left);
            }
            6 => self.jump_wall(),
            7 => self.pause(),
            8 | 9 => return self.rot(),
            10 | 11 => self.strike_snapshots(),
            12 | 13 => return self.ask_for_snapshots(),
            14 | 15 if self.is_snapshotting() => return self.drop_in_snapshot(),
            14 | 15 => {
                // A moment later somebody drops what is being written.
                self.ask_for_snapshots()?;
                return self.drop_in_snapshot();
            }
            _ => {
                if self.shadow.is_none() && !self.serves_less() {
                    let lose = self.rng.percent(50);
                    self.shadow = Some(Shadow::new(self.disk.clone(), lose, &mut self.rng));
                }
            }
        }
        Ok(())
    }

    pub(super) fn note_crash(&mut self) {
        let situation = match (&self.write, self.jobs.is_empty()) {
            (Some(_), _) => Situation::CrashInWrite,
            (None, false) => Situation::CrashInJob,
            (None, true) => Situation::CrashIdle,
        };
        self.history.situations.note(situation);
    }

    /// Makes the injected failure strike the group commit under way. Where none
    /// is, power fails, so that it strikes nothing else.
    fn fail_write(&mut self) -> Result<(), Broken> {
        if self.write.is_some() {
            return self.written();
        }
        self.note_crash();
        self.crash();
        Ok(())
    }

    fn jump_wall(&mut self) {
        let by_ms = i64::try_from(self.rng.between(1_000, 7_200_000)).expect("hours");
        if self.rng.percent(50) {
            self.wall_offset_ms += by_ms;
            self.history.situations.note(Situation::WallForward);
        } else {
            self.wall_offset_ms -= by_ms;
            self.history.situations.note(Situation::WallBackward);
        }
    }

    fn pause(&mut self) {
        // Sometimes longer than sessions live.
        let by_us = self.rng.between(1_000, 2 * SESSION_TTL_MS * 1_000);
        self.now_us += by_us;
        self.history.situations.note(Situation::Paused);
    }

    /// Flips a bit of a copy of the disk: the node must find it, or must not care.
    fn rot(&mut self) -> Result<(), Broken> {
        // Until then the log holds entries that nobody has seen applied.
        if !self.node.as_ref().is_some_and(Node::is_ready) || self.serves_less() {
            return Ok(());
        }
        let image = self.disk.crash_torn(0, domp_log::memory::Tear::Nothing);
        let clock = self.clock();
        branch::flip_and_check(image, &self.config, clock, &mut self.rng, &mut self.history)
    }
}
