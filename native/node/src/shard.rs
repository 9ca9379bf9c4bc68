//! One shard on this node: its Raft group, its state, and who waits for it.

use std::collections::VecDeque;

use domp_core::consensus::{Entry, Group, HardState};
use domp_core::entry::{
    BATCH_HEADER_BYTES, BatchHead, BatchKind, ENTRY_HEADER_BYTES, EntryBuilder, Plan,
};
use domp_core::hlc::Hlc;
use domp_core::state::{Reply, Sink, State};
use domp_log::{Record, RecordKind};
use domp_protocol::error::ErrorCode;
use domp_protocol::frame::Item;
use domp_protocol::limits;
use domp_protocol::reply::ReplyHead;
use domp_protocol::transaction::Outline;

use crate::config::{Clock, Config};
use crate::reads::Reads;
use crate::storage::Storage;
use crate::turn::{Applied, Replies, Socket, Turn, refusal};

/// What stamps entries: the node's one hybrid clock and the present turn's time.
pub struct Stamper<'a> {
    pub hlc: &'a mut Hlc,
    pub clock: Clock,
}

/// Why a shard can't go on; the node must stop, for its memory no longer
/// agrees with its log.
pub type Fatal = String;

/// Counters since start.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counters {
    pub proposed: u64,
    pub reads: u64,
    pub entries: u64,
}

/// A proposal whose outcome somebody waits for.
struct Proposed {
    index: u64,
    /// In which this node led: with the index it tells the entry from any other.
    term: u64,
    /// What the entry holds, if all of it was verified when it came.
    plan: Option<Plan>,
    /// Keys that guards of its items may look at.
    guarded_keys: u64,
    /// By position in the entry: whom the answer goes to.
    origins: Vec<Origin>,
}

/// Who sent an item, and under which sequence.
type Origin = (Socket, u64);

/// A shard and everything that waits for it.
pub struct Shard {
    id: u64,
    /// The same as clients name it.
    space: u32,
    /// Bytes an entry may have: what the log can hold in one record.
    entry_bytes_max: u64,
    group: Group,
    pub state: State,
    builder: EntryBuilder,
    batch: Option<BatchHead>,
    origins: Vec<Origin>,
    /// Of the items so far.
    guarded_keys: u64,
    spare_origins: Vec<Vec<Origin>>,
    /// In entries that the group did not take: to be told so.
    orphans: Vec<Origin>,
    proposed: VecDeque<Proposed>,
    /// Committed, and not applied yet for want of room for their answers.
    committed: VecDeque<Entry>,
    committed_bytes: usize,
    reads: Reads,
    /// Lease time and monotonic time when this node began to lead.
    lease_since: Option<(u64, u64)>,
    /// Lease time of entries in the log that are not applied yet: what is
    /// stamped next must not be below.
    pub lease_floor_ms: u64,
    advance_in_flight: bool,
    commit_unwritten: bool,
    /// Log bytes since the last snapshot.
    pub log_bytes: u64,
    pub snapshot_index: u64,
    pub counters: Counters,
}

impl Shard {
    pub fn new(id: u64, group: Group, state: State, config: &Config) -> Self {
        let record_bytes_max = config.log.record_body_bytes_max();
        let space = u32::try_from(id).expect("ids of spaces have 32 bits");
        Self {
            entry_bytes_max: record_bytes_max.min(limits::ENTRY_BYTES_MAX),
            id,
            space,
            group,
            state,
            builder: EntryBuilder::new(),
            batch: None,
            origins: Vec::new(),
            guarded_keys: 0,
            spare_origins: Vec::new(),
            orphans: Vec::new(),
            proposed: VecDeque::new(),
            committed: VecDeque::new(),
            committed_bytes: 0,
            reads: Reads::new(space),
            lease_since: None,
            lease_floor_ms: 0,
            advance_in_flight: false,
            commit_unwritten: false,
            log_bytes: 0,
            snapshot_index: 0,
            counters: Counters::default(),
        }
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    pub fn is_leader(&self) -> bool {
        self.group.is_leader()
    }

    /// Leads, and has committed in its own term.
    pub fn serves(&self) -> bool {
        self.group.serves_reads()
    }

    pub fn term(&self) -> u64 {
        self.group.term()
    }

    /// (index, term) a snapshot taken now stands for.
    pub fn applied(&self) -> (u64, u64) {
        self.group.applied()
    }

    /// Whether the last snapshot holds all that is in the log.
    pub fn is_covered(&self) -> bool {
        self.snapshot_index == self.group.last_index() && self.is_quiet()
    }

    /// Whether nothing is proposed, forming or waiting.
    pub fn is_quiet(&self) -> bool {
        self.proposed.is_empty()
            && self.builder.items() == 0
            && self.committed.is_empty()
            && self.reads.is_empty()
            && !self.advance_in_flight
    }

    /// Whether nothing is to be done for it until something happens to it or expires. `snapshot_after_bytes`:
    /// with so much log it is due for a snapshot.
    pub fn is_at_rest(&self, snapshot_after_bytes: u64) -> bool {
        self.is_quiet() && !self.commit_unwritten && self.log_bytes < snapshot_after_bytes
    }

    /// Whether something that is committed is not applied yet.
    pub fn lags(&self) -> bool {
        !self.committed.is_empty()
    }

    /// Whether something could be answered at once if the replies had room.
    pub fn wants_room(&self) -> bool {
        self.lags() || self.reads.are_due(self.state.applied_index())
    }

    /// Memory of what waits to be answered and for nothing but its turn.
    pub fn unanswered_bytes(&self) -> usize {
        self.committed_bytes + self.reads.held_bytes()
    }

    /// Stands for election. A sole voter leads when this returns.
    pub fn campaign(&mut self, clock: Clock) {
        self.group.campaign();
        self.note_leadership(clock);
    }

    fn note_leadership(&mut self, clock: Clock) {
        match (self.group.is_leader(), self.lease_since) {
            (true, None) => {
                let base_ms = self.state.lease_ms().max(self.lease_floor_ms);
                self.lease_since = Some((base_ms, clock.monotonic_us));
            }
            (false, Some(_)) => self.lease_since = None,
            _ => {}
        }
    }

    /// Lease time now: what the log says plus what this leader's monotonic
    /// clock has counted since it leads. Stands still while nobody leads.
    pub fn lease_now_ms(&self, clock: Clock) -> u64 {
        let logged_ms = self.state.lease_ms().max(self.lease_floor_ms);
        match self.lease_since {
            None => logged_ms,
            Some((base_ms, since_us)) => {
                let led_us = clock.monotonic_us.saturating_sub(since_us);
                logged_ms.max(base_ms + led_us / 1000)
            }
        }
    }

    /// Takes a verified item that writes: a transaction with what its verifier said, or an outcome
    /// request. The bytes are those of the client's frame.
    pub fn write(
        &mut self,
        origin: (Socket, u64),
        head: &BatchHead,
        item: &Item<'_>,
        outline: Option<Outline>,
        stamper: &mut Stamper<'_>,
    ) -> Result<(), ErrorCode> {
        if !self.group.is_leader() {
            return Err(ErrorCode::Unavailable);
        }
        // An item stands behind a batch header of its own at worst.
        let item_bytes = (item.bytes.len() + BATCH_HEADER_BYTES) as u64;
        if item_bytes + ENTRY_HEADER_BYTES as u64 > self.entry_bytes_max {
            return Err(ErrorCode::TooLarge);
        }
        let full = u64::from(self.builder.items()) >= limits::ENTRY_ITEMS_MAX
            || self.builder.bytes() as u64 + item_bytes > self.entry_bytes_max;
        if full && self.builder.items() > 0 {
            self.propose(stamper);
        }
        // Neighbours of one session share a batch; a batch under a key has one item.
        if head.kind == BatchKind::Idempotent || self.batch.as_ref() != Some(head) {
            self.builder.begin_batch(head);
            self.batch = Some(*head);
        }
        match outline {
            Some(outline) => self.builder.push_transaction(item, outline),
            None => self.builder.push_item(item.bytes),
        }
        self.origins.push(origin);
        self.guarded_keys += outline.map_or(0, |outline| outline.guarded_keys());
        Ok(())
    }

    /// Takes a verified transaction that only reads.
    pub fn read(&mut self, socket: Socket, item: &Item<'_>, outline: Outline, deadline_us: u64) {
        self.reads.push(socket, item, outline, deadline_us);
    }

    /// Proposes what has formed, if anything has.
    pub fn propose(&mut self, stamper: &mut Stamper<'_>) {
        let items = self.builder.items();
        if items > 0 {
            self.propose_entry(items, stamper);
        }
    }

    fn propose_entry(&mut self, items: u32, stamper: &mut Stamper<'_>) {
        let revision = stamper
            .hlc
            .now(stamper.clock.wall_ms, u64::from(items.max(1)));
        let lease_ms = self.lease_now_ms(stamper.clock);
        let (entry, plan) = self.builder.finish_planned(revision, lease_ms);
        self.batch = None;
        let guarded_keys = std::mem::take(&mut self.guarded_keys);
        let spare = self.spare_origins.pop().unwrap_or_default();
        let mut origins = std::mem::replace(&mut self.origins, spare);
        if let Ok(index) = self.group.propose(entry) {
            self.counters.proposed += u64::from(items);
            self.proposed.push_back(Proposed {
                index,
                term: self.group.term(),
                plan,
                guarded_keys,
                origins,
            });
        } else {
            // In no log: those who wait are told in this turn's `drive`.
            self.advance_in_flight = false;
            self.orphans.append(&mut origins);
            self.spare_origins.push(origins);
        }
    }

    /// Whether something is to be expired by an entry made for that alone.
    pub fn is_due(&self, clock: Clock) -> bool {
        let due_us = self.due_us(clock);
        due_us.is_some_and(|at_us| at_us <= clock.monotonic_us) && self.builder.items() == 0
    }

    /// Proposes an entry that only advances lease time.
    pub fn expire(&mut self, stamper: &mut Stamper<'_>) {
        self.advance_in_flight = true;
        self.propose_entry(0, stamper);
    }

    /// When (monotonic, microseconds) something expires; not after now if it is due. None while
    /// somebody else leads, and while an entry is on its way, which sweeps: ask again then.
    pub fn due_us(&self, clock: Clock) -> Option<u64> {
        let due_ms = self.state.next_due_ms()?;
        if !self.group.is_leader() || !self.proposed.is_empty() || self.advance_in_flight {
            return None;
        }
        let wait_ms = due_ms.saturating_sub(self.lease_now_ms(clock));
        Some(
            clock
                .monotonic_us
                .saturating_add(wait_ms.saturating_mul(1000)),
        )
    }

    /// Lets the group do all it can without waiting for the disk: hands what
    /// must be written to `storage`; applies what is committed and answers, as
    /// far as the turn's replies have room.
    pub fn drive(
        &mut self,
        clock: Clock,
        storage: &mut Storage,
        turn: &mut Turn,
    ) -> Result<(), Fatal> {
        for (socket, sequence) in self.orphans.drain(..) {
            turn.replies.push(
                socket,
                self.space,
                &refusal(sequence, ErrorCode::Overloaded),
                &[],
            );
        }
        self.apply_committed(turn)?;
        self.serve_reads(&mut turn.replies);
        self.ask_read_index();
        while let Some(ready) = self.group.ready() {
            self.note_leadership(clock);
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
            for (context, index) in ready.reads {
                self.reads.answered(context, index);
            }
            self.serve_reads(&mut turn.replies);
            self.ask_read_index();
        }
        Ok(())
    }

    /// Everything up to number `number` of this group is on disk.
    pub fn on_persisted(&mut self, number: u64) {
        let messages = self.group.on_persisted(number);
        debug_assert!(messages.is_empty(), "a sole voter has nobody to write to");
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
    pub fn write_hard_state(&mut self, storage: &mut Storage) {
        let body = encode_hard_state(self.group.hard_state());
        storage.append(&Record {
            group: self.id,
            kind: RecordKind::HardState,
            index: 0,
            term: 0,
            body: &body,
        });
    }

    /// Everybody who waits hears `code`: the shard is going away.
    pub fn refuse_all(&mut self, code: ErrorCode, replies: &mut Replies) {
        let proposed = self
            .proposed
            .drain(..)
            .flat_map(|proposed| proposed.origins);
        for (socket, sequence) in proposed.chain(self.origins.drain(..)) {
            replies.push(socket, self.space, &refusal(sequence, code), &[]);
        }
        self.reads.refuse_all(code, replies);
    }

    /// Answers reads whose deadline passed. Returns the earliest deadline left.
    pub fn refuse_late_reads(&mut self, now_us: u64, replies: &mut Replies) -> Option<u64> {
        self.reads.refuse_late(now_us, replies)
    }

    fn write_down(&mut self, entries: &[Entry], storage: &mut Storage) {
        // The commit index rides along with every batch: recovery applies what
        // an earlier frame committed without asking anybody.
        self.write_hard_state(storage);
        self.commit_unwritten = false;
        for entry in entries {
            storage.append(&Record {
                group: self.id,
                kind: RecordKind::Entry,
                index: entry.index,
                term: entry.term,
                body: &entry.data,
            });
            self.log_bytes += entry.data.len() as u64;
        }
    }

    /// Applies what is committed until the replies are full. An entry is applied
    /// whole: its items are few and what they answer is small, so it passes the
    /// bound by little.
    fn apply_committed(&mut self, turn: &mut Turn) -> Result<(), Fatal> {
        while !turn.replies.is_full()
            && let Some(entry) = self.committed.pop_front()
        {
            self.committed_bytes -= entry.data.len();
            self.apply(&entry, turn)?;
        }
        Ok(())
    }

    fn apply(&mut self, entry: &Entry, turn: &mut Turn) -> Result<(), Fatal> {
        let index = entry.index;
        let mut origins = Vec::new();
        let mut plan = None;
        if self
            .proposed
            .front()
            .is_some_and(|proposed| proposed.index == index)
            && let Some(proposed) = self.proposed.pop_front()
        {
            turn.replies.charge(proposed.guarded_keys);
            origins = proposed.origins;
            if proposed.term == entry.term {
                plan = proposed.plan;
            }
            self.advance_in_flight = false;
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
        applied.map_err(|error| {
            format!(
                "shard {}: the committed entry {index} can't be applied: {error}",
                self.id
            )
        })?;
        if let Some(plan) = plan {
            self.builder.recycle(plan);
        }
        self.counters.entries += 1;
        self.group.on_applied(index, entry.term);
        self.group.compact(index);
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

    fn ask_read_index(&mut self) {
        if self.group.serves_reads()
            && let Some(context) = self.reads.ask()
        {
            self.group.read_index(context);
        }
    }

    fn serve_reads(&mut self, replies: &mut Replies) {
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

/// The body of a hard-state record: `HardState` of `log.fbs`.
pub fn encode_hard_state(hard_state: HardState) -> [u8; 24] {
    let mut body = [0; 24];
    body[..8].copy_from_slice(&hard_state.term.to_le_bytes());
    body[8..16].copy_from_slice(&hard_state.vote.to_le_bytes());
    body[16..].copy_from_slice(&hard_state.commit.to_le_bytes());
    body
}

/// Reads it back; `None` if the length is wrong.
pub fn decode_hard_state(body: &[u8]) -> Option<HardState> {
    let body: &[u8; 24] = body.try_into().ok()?;
    let field = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&body[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    Some(HardState {
        term: field(0),
        vote: field(8),
        commit: field(16),
    })
}
