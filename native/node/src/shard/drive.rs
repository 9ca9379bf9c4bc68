//! What comes out: the group says what to write, what is committed is applied and answered.

use domp_consensus::{Entry, HardState as RaftState};
use domp_log::{Record, RecordKind};
use domp_protocol::error::ErrorCode;
use domp_protocol::reply::ReplyHead;
use domp_state::entry::Entry as EntryReader;
use domp_state::{Reply, Sink};

use super::{Origin, Shard, Stop};
use crate::commands::{Applied, Turn};
use crate::config::Clock;
use crate::cost;
use crate::peers::Outgoing;
use crate::replies::{Replies, refusal};
use crate::storage::Storage;

impl Shard {
    /// Lets the group do all it can without waiting for the disk: hands what
    /// must be written to `storage`; applies what is committed and answers, as
    /// far as the turn's replies have room.
    pub fn drive(
        &mut self,
        clock: Clock,
        storage: &mut Storage,
        peers: &mut Outgoing,
        turn: &mut Turn,
    ) -> Result<(), Stop> {
        if self.is_stopped() {
            return Ok(());
        }
        self.apply_committed(turn)?;
        self.serve_reads(clock, &mut turn.replies);
        self.ask_read_index(clock);
        while let Some(ready) = self.group.ready() {
            peers.push(self.id, self.replica.timeline, ready.messages);
            self.note_leadership(clock);
            if let (Some(at), Some(number)) = (ready.installed, ready.persist) {
                self.write_installed(&at, number, storage);
            }
            if let Some(number) = ready.persist {
                self.write_down(&ready.entries, storage);
                storage.await_persisted(self.id, number);
            } else if ready.hard_state.is_some() {
                self.commit_unwritten = true;
            }
            for entry in ready.committed {
                self.committed_bytes += entry.data.len();
                self.committed.push_back(entry);
            }
            self.apply_committed(turn)?;
            // Its own term's first entry may be among them.
            self.note_leadership(clock);
            for (context, index) in ready.reads {
                self.reads.answered(context, index);
            }
            self.serve_reads(clock, &mut turn.replies);
            self.ask_read_index(clock);
        }
        if !self.is_leader() && !self.reads.is_empty() {
            self.reads
                .refuse_all(ErrorCode::Unavailable, &mut turn.replies);
        }
        self.answer_orphans(&mut turn.replies);
        Ok(())
    }

    /// Everything up to number `number` of this group is on disk. Whether that holds a snapshot which replaced
    /// the state by this.
    pub fn on_persisted(&mut self, number: u64, peers: &mut Outgoing) -> bool {
        let messages = self.group.on_persisted(number);
        peers.push(self.id, self.replica.timeline, messages);
        self.finish_install(number)
    }

    /// Writes the commit index where it moved without an entry, so that
    /// recovery need not wait for an election to apply. Worth a flush of its
    /// own only when the node falls idle.
    pub fn write_commit(&mut self, storage: &mut Storage) {
        if std::mem::take(&mut self.commit_unwritten) {
            self.write_hard_state(storage);
        }
    }

    /// Writes the hard state again, so that old segments are not pinned by it.
    pub fn write_hard_state(&self, storage: &mut Storage) {
        self.write_raft_state(self.group.hard_state(), storage);
    }

    pub(super) fn write_raft_state(&self, raft: RaftState, storage: &mut Storage) {
        let body = self.replica.hard_state(raft).encode();
        storage.append(&Record {
            group: self.id,
            replica: self.replica.id,
            kind: RecordKind::HardState,
            index: 0,
            term: 0,
            body: &body,
        });
    }

    /// Bytes of the entries that are not applied.
    pub fn unapplied_bytes(&self) -> u64 {
        self.group.kept().map(|entry| entry.data.len() as u64).sum()
    }

    /// Writes entries that are not applied once more, in order, from index `from` on: about `bytes` of them,
    /// as far as the log has room beside `spare_bytes`; behind the last the hard state. Returns the first
    /// that is left.
    ///
    /// Of a shard that is stopped, whose group hands out nothing new.
    pub fn write_again(
        &self,
        from: u64,
        bytes: u64,
        spare_bytes: u64,
        storage: &mut Storage,
    ) -> Option<u64> {
        let mut written = 0;
        for entry in self.group.kept().filter(|entry| entry.index >= from) {
            if written >= bytes || !storage.reserve_spare(entry.data.len(), spare_bytes) {
                return Some(entry.index);
            }
            self.write_entry(entry, storage);
            written += entry.data.len() as u64;
        }
        self.write_hard_state(storage);
        None
    }

    fn write_entry(&self, entry: &Entry, storage: &mut Storage) {
        storage.append(&Record {
            group: self.id,
            replica: self.replica.id,
            kind: RecordKind::Entry,
            index: entry.index,
            term: entry.term,
            body: &entry.data,
        });
    }

    fn write_down(&mut self, entries: &[Entry], storage: &mut Storage) {
        let leads = self.is_leader();
        for entry in entries {
            self.write_entry(entry, storage);
            self.log_bytes += entry.data.len() as u64;
            if !leads {
                self.hear_stamps(&entry.data);
            }
        }
        // The commit index rides along with every batch: recovery applies what is committed without
        // asking anybody. Behind the entries, which may be in an earlier frame of the commit: so a
        // commit index beyond the log's end is never what a crash leaves.
        self.write_hard_state(storage);
        self.commit_unwritten = false;
    }

    /// Takes note of what another leader stamped: what this replica stamps, should it lead, is above that.
    fn hear_stamps(&mut self, entry: &[u8]) {
        let known = self.state.config().apply_version_known;
        if let Ok(read) = EntryReader::parse_known(entry, known) {
            self.heard_revision = self.heard_revision.max(read.last_revision());
        }
    }

    /// Applies what is committed, before any read is answered, until the replies are as
    /// full as entries may make them. An entry is applied whole: its items are few and
    /// what they answer is small, so it passes the bound by little.
    fn apply_committed(&mut self, turn: &mut Turn) -> Result<(), Stop> {
        while !turn.replies.is_full_of_entries()
            && let Some(entry) = self.committed.pop_front()
        {
            self.committed_bytes -= entry.data.len();
            self.apply(&entry, turn)?;
        }
        Ok(())
    }

    fn apply(&mut self, entry: &Entry, turn: &mut Turn) -> Result<(), Stop> {
        let index = entry.index;
        turn.replies.charge(entry.data.len() as u64);
        let mut origins = Vec::new();
        let mut plan = None;
        // By index and term: under the index alone it may be what another leader put in its place.
        if self
            .proposed
            .front()
            .is_some_and(|proposed| (proposed.index, proposed.term) == (index, entry.term))
            && let Some(proposed) = self.proposed.pop_front()
        {
            turn.replies.charge_keys(proposed.guarded_keys);
            origins = proposed.origins;
            turn.replies.charge(cost::REQUEST * origins.len() as u64);
            plan = proposed.plan;
            self.advance_in_flight = false;
            self.system_in_flight = false;
        }
        let mut sink = Answers {
            origins: &origins,
            space: self.space,
            replies: &mut turn.replies,
        };
        let applied = match &plan {
            Some(plan) => self
                .state
                .apply_planned(index, &entry.data, plan, &mut sink),
            None => self.state.apply(index, &entry.data, &mut sink),
        };
        if let Err(error) = applied {
            for (socket, sequence) in &origins {
                // It is committed: what becomes of it nobody knows.
                let refusal = refusal(*sequence, ErrorCode::Internal);
                turn.replies.push(*socket, self.space, &refusal, &[]);
            }
            return Err(format!(
                "the committed entry {index} can't be applied: {error}"
            ));
        }
        if let Some(plan) = plan {
            self.builder.recycle(plan);
        }
        self.counters.entries += 1;
        self.group.on_applied(index, entry.term);
        self.group.compact(
            index,
            self.entries_kept_bytes_max,
            self.entries_held_bytes_max,
        );
        if let Some(applied) = &mut turn.applied {
            applied.push(Applied {
                group: self.id,
                index,
                entry: entry.data.to_vec(),
            });
        }
        if origins.capacity() > 0 && self.spare_origins.len() < 16 {
            origins.clear();
            self.spare_origins.push(origins);
        }
        Ok(())
    }

    fn ask_read_index(&mut self, clock: Clock) {
        if self.group.serves_reads()
            && let Some(context) = self.reads.ask(clock.monotonic_us)
        {
            self.group.read_index(context);
        }
    }

    fn serve_reads(&mut self, clock: Clock, replies: &mut Replies) {
        if self.reads.are_settled() {
            return;
        }
        self.state.read_as_of(self.lease_now_ms(clock));
        self.counters.reads += self.reads.serve(&mut self.state, replies);
    }
}

/// Sends what the state answers to whoever proposed it.
struct Answers<'a> {
    origins: &'a [Origin],
    space: u32,
    replies: &'a mut Replies,
}

impl Sink for Answers<'_> {
    fn reply(&mut self, position: u32, reply: &Reply<'_>) {
        // Nobody waits for entries of an earlier run.
        let Some(&(socket, _)) = self.origins.get(position as usize) else {
            return;
        };
        let head = ReplyHead {
            sequence: reply.sequence,
            revision: reply.revision,
            code: reply.code,
            applied: reply.applied,
            replayed: reply.replayed,
            outcome_applied: reply.outcome_applied,
        };
        self.replies.push(socket, self.space, &head, reply.results);
    }
}
