//! The node's turns: what is handed to it, and what becomes of all that it says.

use domp_log::run_write;
use domp_node::{Node, Turn};

use super::{Event, World};
use crate::arrival::Arrival;
use crate::branch;
use crate::history::{Answer, Broken};
use crate::said::{answers, frames};
use crate::situations::Situation;

impl World {
    pub(super) fn arrive(&mut self, arrival: &Arrival) -> Result<(), Broken> {
        if self.node.is_none() {
            self.clients.lost(arrival);
            return Ok(());
        }
        let waited_us = if self.rng.percent(1) { 5_000_000 } else { 0 };
        // What comes in quick succession is often found together, in one turn.
        let mut together = vec![arrival.clone()];
        while self.rng.percent(60)
            && let Some(entry) = self.events.first_entry()
            && matches!(entry.get(), Event::Arrive(_))
        {
            if let Event::Arrive(next) = entry.remove() {
                together.push(next);
            }
        }
        for arrival in &together {
            match arrival {
                Arrival::Detach { socket } => {
                    self.gone.insert(*socket);
                }
                // One that was on its way when its farewell overtook it.
                Arrival::Attach { socket, .. } => {
                    self.gone.remove(socket);
                }
                _ => {}
            }
            self.clients.arrives(arrival, &mut self.history);
        }
        self.node_turn(move |node, turn| {
            for arrival in &together {
                arrival.deliver(node, waited_us, turn);
            }
        })
    }

    pub(super) fn node_turn(
        &mut self,
        event: impl FnOnce(&mut Node, &mut Turn),
    ) -> Result<(), Broken> {
        let clock = self.clock();
        let Some(mut node) = self.node.take() else {
            return Ok(());
        };
        self.turn.clear();
        self.turn.replies.room_bytes = self.room_bytes;
        node.begin_turn(clock);
        event(&mut node, &mut self.turn);
        node.end_turn(&mut self.turn);
        if self.turn.replies.is_full() && self.turn.wake_at_us == Some(clock.monotonic_us) {
            self.history.situations.note(Situation::RepliesFull);
        }
        let pressure = node.pressure();
        if pressure.queued > 0 {
            self.history.situations.note(Situation::Queued);
        }
        if pressure.abandoned > self.abandoned {
            self.history.situations.note(Situation::Abandoned);
        }
        self.abandoned = pressure.abandoned;
        self.node = Some(node);
        self.carry_out()
    }

    fn carry_out(&mut self) -> Result<(), Broken> {
        let mut turn = std::mem::take(&mut self.turn);
        let result = self.carry_out_turn(&mut turn);
        self.turn = turn;
        result
    }

    fn carry_out_turn(&mut self, turn: &mut Turn) -> Result<(), Broken> {
        if let Some(why) = &turn.fatal {
            return Err(format!("the node ended by itself: {why}"));
        }
        self.digest_turn(turn);
        self.watch_snapshots(turn)?;
        let applied = turn.applied.take().unwrap_or_default();
        if self.is_snapshotting() && applied.iter().any(|entry| !entry.entry.is_empty()) {
            self.history.situations.note(Situation::WriteDuringSnapshot);
        }
        let answers = self.answers(turn)?;
        self.history.turn(&applied, &answers)?;
        self.check_lease_time()?;
        self.note_leads();
        turn.applied = Some(applied);
        self.send(turn);
        if let Some(write) = turn.write.take() {
            if self.write.is_some() {
                return Err("two log writes at a time".to_owned());
            }
            self.write = Some(write);
            let after_us = self.rng.between(40, 400);
            let run = self.run;
            self.at(after_us, Event::Written { run });
        }
        for job in turn.jobs.drain(..) {
            let idle = self.jobs.is_empty();
            self.jobs.push(job);
            if idle {
                self.start_job();
            }
        }
        if let Some(at_us) = turn.wake_at_us {
            self.wake_at_us = Some(at_us);
            let run = self.run;
            self.at(at_us.saturating_sub(self.now_us), Event::Wake { run });
        }
        Ok(())
    }

    fn start_job(&mut self) {
        let after_us = self.rng.between(100, 1_500);
        let run = self.run;
        self.at(after_us, Event::JobDone { run });
    }

    /// What the items of a turn's replies answer.
    fn answers(&mut self, turn: &Turn) -> Result<Vec<Answer>, Broken> {
        let answers = answers(turn, &self.clients)?;
        for (socket, _, answer) in &answers {
            let reads = answer.candidates.iter().all(|sent| sent.reads);
            if answer.head.code.is_none() && reads && self.gone.contains(socket) {
                return Err(format!(
                    "Promise 7: {} was read for a connection that is gone ({socket:?}, {:?})",
                    answer.head.sequence, answer.candidates
                ));
            }
        }
        Ok(answers.into_iter().map(|(_, _, answer)| answer).collect())
    }

    /// Puts the replies on the wire, a frame a connection and space.
    fn send(&mut self, turn: &Turn) {
        for (socket, frame) in frames(turn) {
            // A connection keeps its order; the network only delays.
            let after_us = self
                .clients
                .delay_us(socket, self.now_us, self.rng.between(5, 400));
            self.at(after_us, Event::Answer { socket, frame });
        }
    }

    fn digest_turn(&mut self, turn: &Turn) {
        let mut digest = self.digest;
        let mut mix = |bytes: &[u8]| {
            for byte in bytes {
                digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        mix(&turn.replies.bytes);
        if let Some(write) = &turn.write {
            for part in write.parts() {
                mix(&part.bytes.as_slice()[..part.bytes.len().min(512)]);
            }
        }
        self.digest = digest;
    }

    pub(super) fn written(&mut self) -> Result<(), Broken> {
        let Some(write) = self.write.take() else {
            return Ok(());
        };
        if let Some(shadow) = &mut self.shadow {
            shadow.write(&write);
        }
        if run_write(&mut self.disk, &write).is_err() {
            // The engine ends the process; the write is never tried again.
            self.crash();
            return Ok(());
        }
        // The engine may hand the next one to the disk before this one's entries are applied.
        let overlaps = self.rng.percent(50);
        self.node_turn(|node, turn| {
            node.on_written(write);
            if overlaps {
                turn.write = node.next_write();
            }
        })?;
        self.judge_shadow()
    }

    pub(super) fn job_done(&mut self) -> Result<(), Broken> {
        if self.jobs.is_empty() {
            return Ok(());
        }
        let (id, job) = self.jobs.remove(0);
        let (result, struck) = self.run_job(&job);
        if let Some(shadow) = &mut self.shadow
            && !struck
        {
            shadow.job(&job);
        }
        if !self.jobs.is_empty() {
            self.start_job();
        }
        self.node_turn(move |node, turn| node.on_job(id, result, turn))
    }

    fn judge_shadow(&mut self) -> Result<(), Broken> {
        let clock = self.clock();
        let Some(shadow) = &mut self.shadow else {
            return Ok(());
        };
        if !shadow.is_due() || !self.node.as_ref().is_some_and(Node::is_ready) {
            return Ok(());
        }
        let shadow = self.shadow.take().expect("it is due");
        branch::judge(shadow, &self.config, clock, &mut self.history)
    }
}
