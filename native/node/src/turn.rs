//! A turn, from its beginning to its end: what came is proposed, and every shard with something open does
//! what it can.

use crate::commands::Turn;
use crate::config::Clock;
use crate::node::Node;
use crate::spaces::META;

impl Node {
    /// Begins a turn at `clock`, whose monotonic time must not go back.
    pub fn begin_turn(&mut self, clock: Clock) {
        self.clock = Clock {
            monotonic_us: clock.monotonic_us.max(self.clock.monotonic_us),
            wall_ms: clock.wall_ms,
        };
        self.intake_left = self.config.turn_intake_cost_max;
    }

    /// Ends the turn: proposes what formed, lets every touched shard do what it
    /// can, and says what to write, run, send and when to come back.
    pub fn end_turn(&mut self, turn: &mut Turn) {
        if let Err(why) = self.advance(turn) {
            self.fatal = Some(why);
        }
        if let Some(why) = &self.fatal {
            // Nothing decided in a turn that failed may leave the node.
            turn.clear();
            turn.fatal = Some(why.clone());
        }
    }

    fn advance(&mut self, turn: &mut Turn) -> Result<(), String> {
        if !self.started {
            self.start();
        } else if self.is_settling && self.shards.get(&META).is_some_and(|meta| !meta.is_leader()) {
            self.lead_meta();
        }
        self.tick();
        let mut wake_at_us = None;
        self.agenda.wake_due(self.clock.monotonic_us);
        self.refuse_late_reads(turn);
        let is_alone = self.peers.are_none();
        if !is_alone {
            self.note_stalled_doors(&mut turn.replies);
            self.take_happened(turn);
        }
        let all_stalled = self.admit(turn);
        if !is_alone {
            self.dispatch(turn);
        }
        let has_room = self.expire();
        self.drive_touched(turn);
        self.follow_spaces(turn)?;
        self.note_unanswered(&mut wake_at_us, turn);
        self.note_queued(all_stalled, &mut wake_at_us);
        self.counters.work += turn.replies.spent() as u64;
        if !is_alone {
            self.advance_transfers(turn, &mut wake_at_us);
        }
        self.advance_snapshots(turn, &mut wake_at_us);
        self.note_tick(&mut wake_at_us);
        if !is_alone {
            self.answer_doors(turn);
            self.note_handing(turn, &mut wake_at_us);
        }
        let drained = self.draining && self.is_quiet();
        let mark = drained || self.storage.is_idle(self.clock);
        if mark && !self.storage.is_low() {
            self.write_commits();
        }
        self.rest(has_room, &mut wake_at_us);
        self.storage
            .end_turn(self.clock, mark, turn, &mut wake_at_us)?;
        self.peers.end_turn(turn);
        turn.drained = drained && self.storage.is_settled();
        turn.wake_at_us = wake_at_us;
        Ok(())
    }
}
