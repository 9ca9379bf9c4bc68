//! Turns of the nodes: what is handed to them, and what becomes of all that they say.

use domp_log::memory::Fault;
use domp_log::run_write;
use domp_node::{Applied, ControlReply, Lane, Node, Turn};
use domp_protocol::generated::layout::frame_header as place;
use domp_protocol::{ErrorCode, Frame};

use super::network::{Arrived, Link};
use super::snapshots;
use super::{Cluster, Event, Flying, MACHINES, Machine, Situation};
use crate::arrival::Arrival;
use crate::history::{Broken, FOUNDING_INDEX};
use crate::said::{answers, frames};

impl Cluster {
    pub(super) fn start(&mut self, at: usize) -> Result<(), Broken> {
        let machine = &mut self.machines[at];
        if machine.node.is_some() {
            return Ok(());
        }
        let begun = machine.start(self.now_us, &mut self.rng)?;
        self.behind.insert(at);
        for (group, index) in begun.restored {
            self.install(at, group, index)?;
        }
        for entry in &begun.applied {
            self.history.apply(entry)?;
            self.machines[at].replicas.apply(entry)?;
        }
        self.node_turn(at, |_, _| {})?;
        self.dial_all(at);
        Ok(())
    }

    /// A machine's replica goes on behind a snapshot.
    fn install(&mut self, at: usize, group: u64, index: u64) -> Result<(), Broken> {
        let log = self.history.logs.get(&group);
        let log = log.map_or(&[][..], |log| log);
        self.machines[at].replicas.install(group, index, log)
    }

    pub(super) fn act(&mut self, client: usize) {
        let spaces = self.history.spaces();
        // Whoever has a session and no space to ask waits for the first.
        let spaces = if spaces.is_empty() { vec![1] } else { spaces };
        let arrivals = self.clients.act(
            client,
            self.now_us,
            &mut self.rng,
            &mut self.history,
            &spaces,
        );
        for arrival in arrivals {
            let socket = arrival.socket();
            if let Arrival::Attach { .. } = &arrival {
                let home = self.rng.index(MACHINES);
                self.homes.insert(socket, home);
            }
            if let Some(home) = self.homes.get(&socket).copied() {
                let arrival = self.hurried(arrival);
                let delay_us = self.rng.between(5, 400);
                self.at(delay_us, Event::Arrive { at: home, arrival });
            }
        }
        let again_us = if self.is_settling() {
            20_000
        } else {
            self.rng.between(200, 12_000)
        };
        self.at(again_us, Event::Act { client });
    }

    /// Some clients wait for a moment only: on a slow lane their requests come too late.
    fn hurried(&mut self, mut arrival: Arrival) -> Arrival {
        if self.is_settling() || !self.rng.percent(3) {
            return arrival;
        }
        let timeout_ms = u32::try_from(self.rng.between(1, 150)).expect("short");
        if let Arrival::Frame { frame, .. } | Arrival::Stateless { frame, .. } = &mut arrival
            && Frame::parse(frame).is_ok()
        {
            frame[place::TIMEOUT_MS..][..4].copy_from_slice(&timeout_ms.to_le_bytes());
        }
        arrival
    }

    pub(super) fn arrive(&mut self, at: usize, arrival: &Arrival) -> Result<(), Broken> {
        if self.machines[at].node.is_none() {
            self.clients.lost(arrival);
            return Ok(());
        }
        if matches!(arrival, Arrival::Attach { socket, .. } if !self.clients.is_connected(*socket))
        {
            // Its slot has another owner by now, of whom the gateway tells later.
            return Ok(());
        }
        self.clients.arrives(arrival, &mut self.history);
        self.waiting.arrives(at, arrival, self.now_us);
        let arrival = arrival.clone();
        self.node_turn(at, move |node, turn| arrival.deliver(node, 0, turn))
    }

    pub(super) fn answer(&mut self, socket: domp_node::Socket, frame: &[u8]) -> Result<(), Broken> {
        let was_connected = self.clients.is_connected(socket);
        self.clients
            .on_frame(socket, frame, self.now_us, &mut self.history);
        if was_connected
            && !self.clients.is_connected(socket)
            && let Some(home) = self.homes.get(&socket).copied()
        {
            self.waiting.end(socket);
            let arrival = Arrival::Detach { socket };
            self.at(100, Event::Arrive { at: home, arrival });
        }
        self.history.wrong.take().map_or(Ok(()), Err)
    }

    pub(super) fn peer(&mut self, flying: Flying) -> Result<(), Broken> {
        let link = flying.link;
        let (from, to, lane) = link;
        if lane == Lane::Requests && !self.network.is_open(from, to) {
            return Ok(());
        }
        if self.machines[to].node.is_none() {
            // Nobody listens there.
            self.lose(link);
            return Ok(());
        }
        match self.network.arrive(flying) {
            Arrived::Gone => Ok(()),
            Arrived::Broken => {
                self.situations.note(Situation::FrameRefused);
                self.lose(link);
                Ok(())
            }
            Arrived::Whole(bytes) => {
                self.node_turn(to, |node, _| node.on_peer(from as u64 + 1, lane, &bytes))
            }
        }
    }

    /// A link's connection ends.
    fn lose(&mut self, link: Link) {
        let (from, to, lane) = link;
        if lane == Lane::Requests {
            self.break_requests(from, to);
        } else {
            self.network.reset(link);
            self.at(50, Event::Lost { at: from, to, lane });
        }
    }

    pub(super) fn node_turn(
        &mut self,
        at: usize,
        event: impl FnOnce(&mut Node, &mut Turn),
    ) -> Result<(), Broken> {
        let machine = &mut self.machines[at];
        let clock = machine.clock(self.now_us);
        let Some(mut node) = machine.node.take() else {
            return Ok(());
        };
        let mut turn = std::mem::take(&mut machine.turn);
        turn.clear();
        turn.replies.room_bytes = self.room_bytes;
        node.begin_turn(clock);
        event(&mut node, &mut turn);
        node.end_turn(&mut turn);
        machine.node = Some(node);
        let carried_out = self.carry_out(at, &mut turn);
        self.machines[at].turn = turn;
        carried_out
    }

    fn carry_out(&mut self, at: usize, turn: &mut Turn) -> Result<(), Broken> {
        if let Some(why) = &turn.fatal {
            return Err(format!("node {} ended by itself: {why}", at + 1));
        }
        self.mix(at, turn);
        self.note_handing(at);
        let applied = turn.applied.take().unwrap_or_default();
        let answers = answers(turn, &self.clients)?;
        for (socket, space, answer) in &answers {
            self.waiting.answered(*socket, *space, answer.head.sequence);
            match answer.head.code {
                Some(ErrorCode::LeaderChanged) => self.situations.note(Situation::LeaderChanged),
                Some(ErrorCode::Unavailable) => self.situations.note(Situation::NoLeaderHere),
                _ => {}
            }
        }
        let answers: Vec<_> = answers.into_iter().map(|(_, _, answer)| answer).collect();
        for (group, index) in std::mem::take(&mut turn.installed) {
            self.note_installed(at, group);
            self.install(at, group, index)?;
        }
        let machine = &mut self.machines[at];
        let replicas = &mut machine.replicas;
        self.history.turn_of(Some(replicas), &applied, &answers)?;
        self.note_catching_up(at, &applied);
        turn.applied = Some(applied);
        for (_, reply) in turn.controls.drain(..) {
            match reply {
                ControlReply::Snapshotted(taken) => {
                    self.taken.insert(at, taken);
                }
                other => return Err(format!("snapshots at rest: {other:?}")),
            }
        }
        self.note_leaders(at)?;
        self.crash_in_transfer(at);
        for (socket, frame) in frames(turn) {
            let after_us = self.rng.between(5, 400);
            let after_us = self.clients.delay_us(socket, self.now_us, after_us);
            self.at(after_us, Event::Answer { socket, frame });
        }
        for send in turn.sends.drain(..) {
            let to = usize::try_from(send.node - 1).expect("few machines");
            let link = (at, to, send.lane);
            let now_us = self.now_us;
            if send.lane == Lane::Requests && !self.network.is_open(at, to) {
                // There is no connection: whoever sends heard that, or is about to.
                continue;
            }
            let flying = self.network.send(link, send.bytes, now_us, &mut self.rng);
            if flying.is_empty() && send.lane == Lane::Requests {
                self.stuck(at, to);
            }
            for (at_us, flying) in flying {
                self.at(at_us - now_us, Event::Peer(flying));
            }
        }
        let machine = &mut self.machines[at];
        let run = machine.run;
        if let Some(write) = turn.write.take() {
            if machine.write.replace(write).is_some() {
                return Err("two log writes at a time".to_owned());
            }
            let after_us = self.rng.between(40, 400);
            if let Some(writes) = machine.fails_in_write {
                machine.fails_in_write = writes.checked_sub(1);
                if writes == 0 {
                    let at_us = self.rng.below(after_us);
                    self.at(at_us, Event::Crash { at, run });
                }
            }
            self.at(after_us, Event::Written { at, run });
        }
        for job in turn.jobs.drain(..) {
            let machine = &mut self.machines[at];
            machine.jobs.push_back(job);
            if machine.jobs.len() == 1 {
                let after_us = self.rng.between(100, 1_500);
                self.at(after_us, Event::JobDone { at, run });
            }
        }
        if let Some(at_us) = turn.wake_at_us {
            let machine = &mut self.machines[at];
            machine.wake_at_us = Some(at_us);
            let after_us = machine.until_us(at_us, self.now_us);
            self.at(after_us, Event::Wake { at, run });
        }
        Ok(())
    }

    /// What became of what doors handed on.
    fn note_handing(&mut self, at: usize) {
        let Some(node) = &self.machines[at].node else {
            return;
        };
        let now = node.handing_counters();
        let before = std::mem::replace(&mut self.machines[at].handing, now);
        for (now, before, situation) in [
            (now.answered, before.answered, Situation::HandedOn),
            (now.retried, before.retried, Situation::TriedOnceMore),
            (now.waited, before.waited, Situation::WaitedForLeader),
            (now.late, before.late, Situation::AnswerOfBefore),
            (now.overdue, before.overdue, Situation::HandedOnLate),
            (now.spent, before.spent, Situation::CreditsSpent),
        ] {
            if now > before {
                self.situations.note(situation);
            }
        }
    }

    fn note_catching_up(&mut self, at: usize, applied: &[Applied]) {
        if !self.behind.contains(&at) {
            return;
        }
        let has_all = |entry: &Applied| {
            let log = self.history.logs.get(&entry.group);
            log.is_some_and(|log| FOUNDING_INDEX + log.len() as u64 == entry.index)
        };
        if applied.last().is_some_and(has_all) {
            self.behind.remove(&at);
            self.situations.note(Situation::CaughtUp);
        }
    }

    /// Two leaders of a term could each be believed.
    fn note_leaders(&mut self, at: usize) -> Result<(), Broken> {
        let Some(node) = &self.machines[at].node else {
            return Ok(());
        };
        for (group, term) in node.leaderships() {
            let led_by = self.leaders.entry((group, term)).or_insert_with(|| {
                self.situations.note(Situation::Elected);
                at
            });
            if *led_by != at {
                return Err(format!(
                    "Promise 1: nodes {} and {} both lead shard {group} in term {term}",
                    *led_by + 1,
                    at + 1
                ));
            }
        }
        Ok(())
    }

    fn mix(&mut self, at: usize, turn: &Turn) {
        let mut digest = self.digest ^ at as u64;
        let mut mix = |bytes: &[u8]| {
            for byte in bytes {
                digest = (digest ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
            }
        };
        mix(&turn.replies.bytes);
        for send in &turn.sends {
            mix(&send.bytes[..send.bytes.len().min(512)]);
        }
        self.digest = digest;
    }

    pub(super) fn written(&mut self, at: usize) -> Result<(), Broken> {
        let machine = &mut self.machines[at];
        let Some(write) = machine.write.take() else {
            return Ok(());
        };
        if std::mem::take(&mut machine.flush_fails) {
            let operation = machine.disk.operations() + self.rng.between(1, 2);
            let fault = Fault::Fail(std::io::ErrorKind::Other);
            machine.disk.inject(operation, fault);
        }
        if run_write(&mut machine.disk, &write).is_err() {
            // The engine ends the process; the write is never tried again.
            self.situations.note(Situation::FlushFailed);
            self.crash(at);
            return Ok(());
        }
        let overlaps = self.rng.percent(50);
        self.node_turn(at, |node, turn| {
            node.on_written(write);
            if overlaps {
                turn.write = node.next_write();
            }
        })
    }

    pub(super) fn job_done(&mut self, at: usize) -> Result<(), Broken> {
        let machine: &mut Machine = &mut self.machines[at];
        let Some((id, job)) = machine.jobs.pop_front() else {
            return Ok(());
        };
        let is_settling = self.settling_since_us.is_some();
        let spoil = (!is_settling).then(|| self.rng.below(self.snapshot_faults));
        let result = snapshots::run(
            machine,
            &job,
            spoil.unwrap_or(u64::MAX),
            &mut self.situations,
        );
        let run = machine.run;
        if !machine.jobs.is_empty() {
            let after_us = self.rng.between(100, 1_500);
            self.at(after_us, Event::JobDone { at, run });
        }
        self.node_turn(at, move |node, turn| node.on_job(id, result, turn))
    }
}
