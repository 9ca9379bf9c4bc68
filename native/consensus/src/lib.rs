//! One shard's Raft group: the crate `raft`, driven so that nothing reaches
//! `apply` but through its ready and persisted path.
//!
//! [`Group`] neither writes nor sends. [`Group::ready`] says what to persist
//! and what is committed; the owner persists, then calls
//! [`Group::on_persisted`]. A group of one voter elects itself as soon as it is
//! told to and commits an entry once its own disk has it.
//!
//! Invariants:
//! - an entry is handed out as committed only after `on_persisted` covered it
//!   (with one voter; with more, after a majority did);
//! - batches to persist carry strictly growing numbers, and persisting number
//!   n means everything before n is persisted too;
//! - [`Group::compact`] never passes the applied index;
//! - nothing that a peer sends makes the crate panic: see [`Group::step`];
//! - the same calls with the same seed give the same answers: the crate's own random choice, of
//!   election timeouts, is replaced before it is looked at.
//!
//! Time is a count of [`Group::tick`]; how long one is, its owner knows.

mod cache;
mod catching_up;
mod guard;

use std::collections::VecDeque;

use cache::EntryCache;
use catching_up::Holds;
use raft::eraftpb::HardState as RaftHardState;
pub use raft::eraftpb::{Entry, EntryType, Message, MessageType};
use raft::{Config, RawNode, StateRole};

/// What a replica must remember besides its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HardState {
    /// The current term.
    pub term: u64,
    /// The replica voted for in that term; 0 for none.
    pub vote: u64,
    /// The highest index known to be committed.
    pub commit: u64,
}

/// Where a group starts from: what recovery read back.
#[derive(Clone, Debug, Default)]
pub struct Start {
    /// Index up to which the state was applied; entries up to here may be gone.
    pub applied: u64,
    /// Term of the entry at `applied`; 0 when nothing was ever applied.
    pub applied_term: u64,
    /// The last hard state written.
    pub hard_state: HardState,
    /// Entries behind `applied`, without a gap.
    pub entries: Vec<Entry>,
    /// Entries up to `applied` that other replicas may still need, the last of them at `applied`.
    pub kept: Vec<Entry>,
    /// Term of the entry before the first of `kept`.
    pub kept_behind_term: u64,
    /// Of the draws of election timeouts.
    pub seed: u64,
}

/// What has to happen next for a group, in this order: persist, then apply.
#[derive(Debug, Default)]
pub struct GroupReady {
    /// Goes to [`Group::on_persisted`] once everything below is on disk;
    /// `None`: there is nothing to persist.
    pub persist: Option<u64>,
    /// Installed, and to be made true in the same write as the hard state, before the entries: the log
    /// begins anew behind it.
    pub installed: Option<SnapshotAt>,
    /// To write before the entries.
    pub hard_state: Option<HardState>,
    /// To write.
    pub entries: Vec<Entry>,
    /// To apply, in order.
    pub committed: Vec<Entry>,
    /// Read-index answers: (context given to [`Group::read_index`], index that
    /// must be applied before the reads are served).
    pub reads: Vec<(ReadContext, u64)>,
    /// To send to peers now. Others are held back until what they say is
    /// durable: see [`Group::on_persisted`].
    pub messages: Vec<Message>,
}

/// Why a group could not be opened.
#[derive(Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The entries recovery handed in leave a gap or go backwards.
    Gap {
        /// The index that was expected.
        expected: u64,
        /// The index that came.
        found: u64,
    },
    /// The commit index lies behind the last entry: entries are missing.
    Commit {
        /// What the hard state says is committed.
        commit: u64,
        /// The last entry there is.
        last: u64,
    },
    /// The crate refused the configuration or the state.
    Refused(String),
}

impl std::fmt::Display for OpenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Gap { expected, found } => {
                write!(
                    f,
                    "the log continues at index {found} where {expected} was expected"
                )
            }
            Self::Commit { commit, last } => {
                write!(
                    f,
                    "entries up to {commit} are committed, but the log ends at {last}"
                )
            }
            Self::Refused(why) => write!(f, "consensus refused to start: {why}"),
        }
    }
}

impl std::error::Error for OpenError {}

/// Names a read-index: of this replica, of this start of it, and the count of its read-indices. Answers are
/// matched by its bytes alone, so it must never come a second time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReadContext {
    /// The replica that asks.
    pub replica: u64,
    /// The node's start.
    pub incarnation: u64,
    /// Counts within it.
    pub count: u64,
}

impl ReadContext {
    /// Length of its bytes.
    pub const BYTES: usize = 24;

    /// As it travels.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        for (part, number) in
            bytes
                .chunks_exact_mut(8)
                .zip([self.replica, self.incarnation, self.count])
        {
            part.copy_from_slice(&number.to_le_bytes());
        }
        bytes
    }

    /// Reads what [`Self::to_bytes`] made.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        let (replica, rest) = bytes.split_first_chunk()?;
        let (incarnation, rest) = rest.split_first_chunk()?;
        let (count, _) = rest.split_first_chunk()?;
        Some(Self {
            replica: u64::from_le_bytes(*replica),
            incarnation: u64::from_le_bytes(*incarnation),
            count: u64::from_le_bytes(*count),
        })
    }
}

pub use catching_up::{Membership, SnapshotAt};
pub use guard::Dropped;

/// The group took no proposal: it does not lead, or has too much uncommitted.
#[derive(Debug, PartialEq, Eq)]
pub struct ProposalRefused;

/// One replica of one Raft group.
pub struct Group {
    raft: RawNode<EntryCache>,
    /// Term of the last applied entry, for snapshots.
    applied_term: u64,
    /// Number of the last batch of any kind.
    latest: u64,
    /// Number of the last batch that has to be persisted; not yet if above `persisted`.
    awaited: u64,
    persisted: u64,
    /// Number of the batch that bears the hard state of the present term.
    term_batch: u64,
    /// Messages that must not leave before the batch of that number is persisted.
    held: VecDeque<(u64, Vec<Message>)>,
    /// What the next draw is made of.
    seed: u64,
    /// See [`Self::is_alone`]: asked for every item.
    is_alone: bool,
    holds: Holds,
    /// The snapshot that is being written, and not applied yet: until it is, the crate could not look at
    /// what is between what was applied and it.
    installing: Option<u64>,
}

/// Uncommitted bytes beyond which proposals are refused. The node stops taking
/// frames long before; this is the second fence.
const UNCOMMITTED_BYTES_MAX: u64 = 256 << 20;
/// Bytes of entries in one message to a peer.
const MESSAGE_BYTES_MAX: u64 = 1 << 20;
/// Ticks between a leader's heartbeats.
pub const HEARTBEAT_TICKS: usize = 2;
/// Ticks without a leader's word after which votes are granted again, and without a majority's after which
/// a leader steps down.
pub const ELECTION_TICKS: usize = 12;
/// Followers stand after a number of ticks drawn from here on, so that none is refused by one that still
/// believes in the leader.
const STAND_TICKS_MIN: usize = ELECTION_TICKS + 1;
/// They stand before this.
pub const STAND_TICKS_END: usize = 2 * ELECTION_TICKS;

impl Group {
    /// Opens the replica `id` of a group whose voters are `voters`.
    ///
    /// # Errors
    /// [`OpenError`] when what recovery found does not fit together.
    pub fn open(id: u64, voters: &[u64], start: Start) -> Result<Self, OpenError> {
        let kept = start.kept.len() as u64;
        let mut expected = start.applied.saturating_sub(kept) + 1;
        for entry in start.kept.iter().chain(&start.entries) {
            if entry.index != expected {
                return Err(OpenError::Gap {
                    expected,
                    found: entry.index,
                });
            }
            expected += 1;
        }
        let last = expected - 1;
        // Entries are written before the hard state that commits them.
        if start.hard_state.commit > last {
            return Err(OpenError::Commit {
                commit: start.hard_state.commit,
                last,
            });
        }
        // A snapshot may be newer than the last hard state.
        let commit = start.hard_state.commit.max(start.applied);
        let config = Config {
            id,
            election_tick: ELECTION_TICKS,
            heartbeat_tick: HEARTBEAT_TICKS,
            min_election_tick: STAND_TICKS_MIN,
            max_election_tick: STAND_TICKS_END,
            applied: start.applied,
            check_quorum: true,
            pre_vote: true,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: 256,
            max_uncommitted_size: UNCOMMITTED_BYTES_MAX,
            max_committed_size_per_ready: raft::NO_LIMIT,
            ..Config::default()
        };
        let applied_term = start.applied_term;
        let seed = start.seed ^ id;
        let cache = EntryCache::new(voters, start, commit);
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let raft = RawNode::new(&config, cache, &logger)
            .map_err(|error| OpenError::Refused(error.to_string()))?;
        Ok(Self {
            raft,
            applied_term,
            latest: 0,
            awaited: 0,
            persisted: 0,
            term_batch: 0,
            held: VecDeque::new(),
            seed,
            is_alone: voters.iter().all(|voter| *voter == id),
            holds: Holds::default(),
            installing: None,
        })
    }

    /// A tick of time passed: a leader may have to say that it is there, others may have to stand.
    pub fn tick(&mut self) {
        if self.installing.is_some() {
            return;
        }
        // Whatever drew a timeout anew began to count anew as well.
        if self.raft.raft.election_elapsed == 0 {
            let span = (STAND_TICKS_END - STAND_TICKS_MIN) as u64;
            let drawn = usize::try_from(self.draw() % span).unwrap_or(0);
            let timeout = STAND_TICKS_MIN + drawn;
            self.raft.raft.set_randomized_election_timeout(timeout);
        }
        self.raft.tick();
    }

    /// The next number of splitmix64.
    fn draw(&mut self) -> u64 {
        self.seed = self.seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.seed;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Stands for election at once. A sole voter leads when this returns; its
    /// first entry still has to be persisted before anything is committed.
    pub fn campaign(&mut self) {
        if self.installing.is_some() {
            return;
        }
        // Refused only while a snapshot or a membership change is pending,
        // when the election timeout will try again.
        let _ = self.raft.campaign();
    }

    /// Whether [`Self::ready`] has something.
    pub fn has_ready(&self) -> bool {
        self.raft.has_ready()
    }

    /// Whether this replica leads.
    pub fn is_leader(&self) -> bool {
        self.raft.raft.state == StateRole::Leader
    }

    /// Who leads, as far as this replica knows.
    pub fn leader(&self) -> Option<u64> {
        let leader = self.raft.raft.leader_id;
        (leader != 0).then_some(leader)
    }

    /// Whether this replica is the only voter: it leads whenever it says so.
    pub fn is_alone(&self) -> bool {
        self.is_alone
    }

    /// Which replica this is.
    pub fn id(&self) -> u64 {
        self.raft.raft.id
    }

    /// The highest index that every other replica is known to hold, while this one leads.
    pub fn held_by_all(&self) -> Option<u64> {
        let others = self
            .raft
            .raft
            .prs()
            .iter()
            .filter(|(id, _)| **id != self.id());
        let held = others.map(|(_, progress)| progress.matched).min();
        held.filter(|_| self.is_leader())
    }

    /// While this replica leads: every other one, and how many entries it is not known to hold.
    pub fn lags(&self) -> Vec<(u64, u64)> {
        if !self.is_leader() {
            return Vec::new();
        }
        let last = self.last_index();
        let others = self.raft.raft.prs().iter();
        others
            .filter(|(id, _)| **id != self.id())
            .map(|(id, progress)| (*id, last.saturating_sub(progress.matched)))
            .collect()
    }

    /// The leader's process is gone: believes in it no more, so that others get its vote. False: another leads.
    pub fn forget_leader(&mut self, leader: u64) -> bool {
        let believed = self.leader() == Some(leader) && !self.is_leader();
        if believed {
            self.raft.raft.leader_id = 0;
        }
        believed
    }

    /// Whether this replica's log reaches further than what a candidate says of its own.
    pub fn is_ahead_of(&self, candidate: &Message) -> bool {
        let own = (self.raft.raft.raft_log.last_term(), self.last_index());
        own > (candidate.log_term, candidate.index)
    }

    /// A number below `end` from this group's seed.
    pub fn draw_below(&mut self, end: u64) -> u64 {
        self.draw() % end.max(1)
    }

    /// Where it stands, for a person.
    pub fn describe(&self) -> String {
        let raft = &self.raft.raft;
        let log = &raft.raft_log;
        format!(
            "{:?} term {} vote {} leader {} log {}..{} committed {} applied {} persisted {}",
            raft.state,
            raft.term,
            raft.vote,
            raft.leader_id,
            log.first_index(),
            log.last_index(),
            log.committed,
            log.applied,
            log.persisted,
        )
    }

    /// What was sent to that replica lately may be lost.
    pub fn on_unreachable(&mut self, replica: u64) {
        self.raft.report_unreachable(replica);
    }

    /// Whether this replica leads and has committed in its own term: before
    /// that, reads would be dropped in silence.
    pub fn serves_reads(&self) -> bool {
        self.is_leader() && self.raft.raft.commit_to_current_term()
    }

    /// The current term.
    pub fn term(&self) -> u64 {
        self.raft.raft.term
    }

    /// The index of the last entry in the log, persisted or not.
    pub fn last_index(&self) -> u64 {
        self.raft.raft.raft_log.last_index()
    }

    /// The highest index known to be committed.
    pub fn commit_index(&self) -> u64 {
        self.raft.raft.raft_log.committed
    }

    /// (index, term) of the last entry that was reported as applied.
    pub fn applied(&self) -> (u64, u64) {
        (self.raft.raft.raft_log.applied, self.applied_term)
    }

    /// Term, vote and commit index as they are now.
    pub fn hard_state(&self) -> HardState {
        convert(&self.raft.raft.hard_state())
    }

    /// Proposes an entry; returns its index.
    ///
    /// # Errors
    /// [`ProposalRefused`]; the entry is then in no log.
    pub fn propose(&mut self, data: Vec<u8>) -> Result<u64, ProposalRefused> {
        let before = self.last_index();
        self.raft
            .propose(Vec::new(), data)
            .map_err(|_| ProposalRefused)?;
        let index = self.last_index();
        // A proposal made during a leadership transfer is dropped with Ok.
        if index == before {
            Err(ProposalRefused)
        } else {
            Ok(index)
        }
    }

    /// Asks for the index that a read beginning now must see. The answer comes
    /// in [`GroupReady::reads`] with `context`, which must never be used twice; or never, where a
    /// message is lost. Ask only while [`Group::serves_reads`].
    pub fn read_index(&mut self, context: ReadContext) {
        self.raft.read_index(context.to_bytes().to_vec());
    }

    /// The next batch of work, or `None` when there is none until something
    /// else happens.
    pub fn ready(&mut self) -> Option<GroupReady> {
        if !self.raft.has_ready() {
            return None;
        }
        let mut ready = self.raft.ready();
        let entries = ready.take_entries();
        let installed = self.note_installed(ready.snapshot());
        let hard_state = ready.hs().map(convert);
        let committed = ready.take_committed_entries();
        let answered = ready
            .take_read_states()
            .into_iter()
            .filter_map(|state| {
                let context = ReadContext::from_bytes(&state.request_ctx)?;
                Some((context, state.index))
            })
            .collect();
        let must_sync = ready.must_sync();
        let number = ready.number();
        let term = self.raft.store().hard_state().term;
        if hard_state.is_some_and(|hard_state| hard_state.term != term) {
            self.term_batch = number;
        }
        let mut messages = self.release(ready.take_messages());
        let mut after_persisting = ready.take_persisted_messages();
        // That a leader is heard says nothing of entries: reads elsewhere need not wait for this disk.
        let is_heard =
            |message: &mut Message| message.get_msg_type() == MessageType::MsgHeartbeatResponse;
        let heard = after_persisting.extract_if(.., is_heard).collect();
        messages.extend(self.release(heard));
        if must_sync || self.awaited > self.persisted {
            self.hold(number, after_persisting);
        } else {
            messages.extend(after_persisting);
        }
        self.note_offered(&messages);
        self.raft.mut_store().append(&entries);
        if let Some(hard_state) = hard_state {
            self.raft.mut_store().set_hard_state(hard_state);
        }
        self.raft.advance_append_async(ready);
        self.latest = number;
        if must_sync {
            self.awaited = number;
        } else if self.awaited == self.persisted {
            // Nothing earlier is in flight: the crate may forget this batch at
            // once. A node that only reads would otherwise pile them up.
            self.raft.on_persist_ready(number);
        }
        Some(GroupReady {
            // A ready without anything to sync needs no word of its own: the
            // next persisted number covers it.
            persist: must_sync.then_some(number),
            installed,
            hard_state,
            entries,
            committed,
            reads: answered,
            messages,
        })
    }

    /// Everything up to batch `number` of [`GroupReady::persist`] is on disk.
    /// Returns the messages that waited for it.
    pub fn on_persisted(&mut self, number: u64) -> Vec<Message> {
        self.persisted = self.persisted.max(number);
        let covered = if self.persisted == self.awaited {
            self.latest
        } else {
            number
        };
        self.raft.on_persist_ready(covered);
        let mut messages = Vec::new();
        while let Some((awaited, _)) = self.held.front()
            && *awaited <= covered
            && let Some((_, mut released)) = self.held.pop_front()
        {
            messages.append(&mut released);
        }
        messages
    }

    /// A leader's messages may leave before its entries are durable, but never
    /// before the hard state of its term is: a leader that forgot its term could
    /// lead it twice, and differently. Holds back what must wait.
    fn release(&mut self, messages: Vec<Message>) -> Vec<Message> {
        if self.term_batch <= self.persisted {
            return messages;
        }
        self.hold(self.term_batch, messages);
        Vec::new()
    }

    fn hold(&mut self, number: u64, messages: Vec<Message>) {
        if !messages.is_empty() {
            self.held.push_back((number, messages));
        }
    }

    /// Hands in a message of a peer. One that makes no sense, or contradicts what is committed here, is
    /// dropped, as a network may drop any: the crate would end the process for some of them.
    ///
    /// # Errors
    /// Why it was dropped.
    pub fn step(&mut self, message: Message) -> Result<(), Dropped> {
        self.check(&message)?;
        // What the crate refuses it has not looked at.
        let _ = self.raft.step(message);
        Ok(())
    }

    /// Entries up to `index`, of `term`, were applied.
    pub fn on_applied(&mut self, index: u64, term: u64) {
        self.applied_term = term;
        self.installing = self.installing.filter(|installing| *installing > index);
        self.raft.advance_apply_to(index);
    }

    /// The entries behind those that [`Group::compact`] has forgotten, in order, as they were handed out to
    /// be persisted.
    pub fn kept(&self) -> impl Iterator<Item = &Entry> {
        self.raft.store().entries()
    }

    /// Forgets applied entries up to `index`: those that no other replica needs, and the oldest of the others
    /// while they are more than `kept_bytes_max`. What is held for somebody stays, up to `held_bytes_max`.
    pub fn compact(&mut self, index: u64, kept_bytes_max: u64, held_bytes_max: u64) {
        let index = index.min(self.raft.raft.raft_log.applied);
        let needless = if self.is_alone() {
            index
        } else {
            self.held_by_all().unwrap_or(0).min(index)
        };
        let held = self.held_from().map_or(index, |held| held.min(index));
        let store = self.raft.mut_store();
        store.compact(needless);
        store.shorten(held, kept_bytes_max);
        if held < index && store.bytes() > held_bytes_max {
            store.shorten(index, kept_bytes_max);
            self.break_holds();
        }
    }
}

fn convert(hard_state: &RaftHardState) -> HardState {
    HardState {
        term: hard_state.term,
        vote: hard_state.vote,
        commit: hard_state.commit,
    }
}
