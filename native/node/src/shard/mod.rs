//! One shard on this node: its Raft group, its state, and who waits for it.

mod candidacy;
mod catching_up;
mod drive;
mod flows;
mod keys;
mod leading;
mod propose;
mod reads;
mod replica;

use std::collections::VecDeque;

use domp_consensus::{Entry, Group, ReadContext};
use domp_protocol::error::ErrorCode;
use domp_protocol::frame::Item;
use domp_protocol::limits;
use domp_protocol::transaction::Outline;
use domp_state::State;
use domp_state::entry::{BatchHead, EntryBuilder, Plan};
use domp_state::hlc::Hlc;

use crate::config::{Clock, Config};
use crate::replies::{Replies, Socket, refusal};
use candidacy::Vacancy;
pub use candidacy::VacancyCause;
pub use catching_up::Arriving;
pub use keys::Question;
use leading::Leading;
use reads::Reads;
pub use replica::{Replica, raft_state};

/// What stamps entries: the node's one hybrid clock and the present turn's time.
pub struct Stamper<'a> {
    pub hlc: &'a mut Hlc,
    pub clock: Clock,
}

/// Why a shard can't go on: what its log says can't be applied here. The others do.
pub type Stop = String;

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

/// Whether a shard can go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    /// It can.
    Live,
    /// See [`Shard::stop`].
    Stopped,
}

/// A shard and everything that waits for it.
pub struct Shard {
    id: u64,
    /// The same as clients name it.
    space: u32,
    /// Bytes an entry may have: what the log can hold in one record.
    entry_bytes_max: u64,
    /// See [`Config::entries_kept_bytes_max`].
    entries_kept_bytes_max: u64,
    /// See [`Config::entries_held_bytes_max`].
    entries_held_bytes_max: u64,
    /// What replaces the state once it is durable.
    arriving: Option<Arriving>,
    pub replica: Replica,
    group: Group,
    pub state: State,
    builder: EntryBuilder,
    batch: Option<BatchHead>,
    origins: Vec<Origin>,
    /// Of the items so far.
    guarded_keys: u64,
    spare_origins: Vec<Vec<Origin>>,
    /// Who waits for nothing any more, and what is to be told: the group took their entry not, or leads no more.
    orphans: Vec<(Origin, ErrorCode)>,
    proposed: VecDeque<Proposed>,
    /// Committed, and not applied yet for want of room for their answers.
    committed: VecDeque<Entry>,
    committed_bytes: usize,
    reads: Reads,
    leading: Option<Leading>,
    /// See [`Shard::on_gone`].
    stands_at_us: Option<u64>,
    /// Since when nobody is known to lead, and why that is.
    vacancy: Option<Vacancy>,
    /// How often it does so yet.
    stands_left: u32,
    /// Lease time of entries in the log that are not applied yet: what is
    /// stamped next must not be below.
    pub lease_floor_ms: u64,
    /// The highest revision that another leader's entries have in the log.
    pub heard_revision: u64,
    advance_in_flight: bool,
    /// An entry of the shard's own is on its way.
    system_in_flight: bool,
    commit_unwritten: bool,
    standing: Standing,
    /// Log bytes since the last snapshot.
    pub log_bytes: u64,
    pub snapshot_index: u64,
    /// Monotonic time until which no more than usual log makes another snapshot due.
    pub snapshot_rests_until_us: u64,
    pub counters: Counters,
}

impl Shard {
    pub fn new(id: u64, replica: Replica, group: Group, state: State, config: &Config) -> Self {
        let read_context = ReadContext {
            replica: replica.id,
            incarnation: config.drawn.nonce,
            count: 0,
        };
        let record_bytes_max = config.log.record_body_bytes_max();
        let space = u32::try_from(id).expect("ids of spaces have 32 bits");
        Self {
            entry_bytes_max: record_bytes_max.min(limits::ENTRY_BYTES_MAX),
            id,
            space,
            replica,
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
            reads: Reads::new(space, read_context),
            leading: None,
            stands_at_us: None,
            vacancy: None,
            stands_left: 0,
            lease_floor_ms: 0,
            heard_revision: 0,
            entries_kept_bytes_max: config.entries_kept_bytes_max,
            entries_held_bytes_max: config.entries_held_bytes_max,
            arriving: None,
            advance_in_flight: false,
            system_in_flight: false,
            commit_unwritten: false,
            standing: Standing::Live,
            log_bytes: 0,
            snapshot_index: 0,
            snapshot_rests_until_us: 0,
            counters: Counters::default(),
        }
    }

    pub fn id(&self) -> u64 {
        self.id
    }

    /// Leads, and has committed in its own term.
    pub fn serves(&self) -> bool {
        self.group.serves_reads() && self.is_leader()
    }

    /// Whether this replica is the group's only voter.
    pub fn is_alone(&self) -> bool {
        self.group.is_alone()
    }

    /// The next entry of its log can't be applied: it serves nothing any more, and its state stays as it
    /// is. It is kept for the log's sake: a snapshot of it covers all that was applied, and what is left
    /// is written again ([`Shard::write_again`]), so that it holds up no segment.
    pub fn stop(&mut self) {
        self.standing = Standing::Stopped;
        self.committed.clear();
        self.committed_bytes = 0;
        self.advance_in_flight = false;
        self.system_in_flight = false;
    }

    pub fn is_stopped(&self) -> bool {
        self.standing == Standing::Stopped
    }

    /// Where the replica stands, for a person.
    pub fn describe(&self) -> String {
        self.group.describe()
    }

    pub fn term(&self) -> u64 {
        self.group.term()
    }

    /// (index, term) a snapshot taken now stands for.
    pub fn applied(&self) -> (u64, u64) {
        self.group.applied()
    }

    /// Whether nothing is proposed, forming or waiting.
    pub fn is_quiet(&self) -> bool {
        self.proposed.is_empty()
            && self.builder.items() == 0
            && self.committed.is_empty()
            && self.reads.is_empty()
            && !self.advance_in_flight
            && !self.system_in_flight
    }

    /// Whether nothing is to be done for it until something happens to it or expires. `snapshot_after_bytes`:
    /// with so much log it is due for a snapshot.
    pub fn is_at_rest(&self, snapshot_after_bytes: u64) -> bool {
        self.is_quiet() && !self.commit_unwritten && self.log_bytes < snapshot_after_bytes
    }

    /// When a snapshot is due, in monotonic microseconds; None: there is too little log for one.
    pub fn snapshot_due_us(&self, snapshot_after_bytes: u64) -> Option<u64> {
        if self.log_bytes < snapshot_after_bytes {
            None
        } else if self.log_bytes
            < snapshot_after_bytes.saturating_mul(limits::SNAPSHOT_AFTER_TIMES_MAX)
        {
            Some(self.snapshot_rests_until_us)
        } else {
            Some(0)
        }
    }

    /// Whether something that is committed is not applied yet.
    pub fn lags(&self) -> bool {
        !self.committed.is_empty()
    }

    /// Whether something could be answered at once if the replies had room.
    pub fn wants_room(&self, replies: &Replies) -> bool {
        self.lags() || self.reads.are_due(self.state.applied_index(), replies)
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

    /// A tick of time passed. Whether there may be something to do.
    pub fn tick(&mut self, clock: Clock) -> bool {
        if self.is_stopped() {
            return false;
        }
        self.group.tick();
        self.note_vacancy(VacancyCause::Silence, clock);
        self.note_leadership(clock);
        self.group.has_ready() || !self.reads.is_empty()
    }

    /// What was sent to a replica lately may be lost.
    pub fn on_unreachable(&mut self, replica: u64) {
        self.group.on_unreachable(replica);
    }

    /// Takes a verified transaction that only reads.
    pub fn read(&mut self, socket: Socket, item: &Item<'_>, outline: Outline, deadline_us: u64) {
        self.reads.push(socket, item, outline, deadline_us);
    }

    /// Takes a question about an idempotency key.
    pub fn ask_about(&mut self, question: Question) {
        self.reads.ask_about(question);
    }

    /// Everybody who waits hears `code`: the shard is going away.
    pub fn refuse_all(&mut self, code: ErrorCode, replies: &mut Replies) {
        self.refuse_proposed(code, replies);
        self.refuse_unproposed(code, replies);
    }

    /// Who waits for something proposed hears `code`.
    pub fn refuse_proposed(&mut self, code: ErrorCode, replies: &mut Replies) {
        let proposed = self.proposed.drain(..);
        for (socket, sequence) in proposed.flat_map(|proposed| proposed.origins) {
            replies.push(socket, self.space, &refusal(sequence, code), &[]);
        }
    }

    /// Who waits for something that was not proposed hears `code`.
    pub fn refuse_unproposed(&mut self, code: ErrorCode, replies: &mut Replies) {
        for (socket, sequence) in self.origins.drain(..) {
            replies.push(socket, self.space, &refusal(sequence, code), &[]);
        }
        self.answer_orphans(replies);
        self.reads.refuse_all(code, replies);
    }

    /// Tells those who wait for nothing any more.
    fn answer_orphans(&mut self, replies: &mut Replies) {
        for ((socket, sequence), code) in self.orphans.drain(..) {
            replies.push(socket, self.space, &refusal(sequence, code), &[]);
        }
    }

    /// Answers reads whose deadline passed.
    pub fn refuse_late_reads(&mut self, now_us: u64, replies: &mut Replies) {
        self.reads.refuse_late(now_us, replies);
    }

    /// When the deadline of a read passes, if any waits.
    pub fn next_late_us(&self) -> Option<u64> {
        self.reads.next_late_us()
    }

    /// Whether so many reads of a connection wait that more are of no use yet.
    pub fn are_reads_ahead(&self, socket: Socket) -> bool {
        self.reads.are_ahead(socket)
    }

    /// Reads that wait.
    pub fn waiting_reads(&self) -> usize {
        self.reads.len()
    }

    /// A connection is gone: forgets what it asked and was not answered. Returns how many
    /// requests that were. What it proposed goes on.
    pub fn forget_reads(&mut self, socket: Socket) -> u64 {
        if self.reads.is_empty() {
            0
        } else {
            self.reads.forget(socket)
        }
    }
}
