//! What comes in through the door: connections, frames, requests without a session. Each item is judged
//! here, then handed to its shard: at once while nobody waits and judging has cost the turn little, else
//! when its connection has its turn.

use domp_protocol::error::ErrorCode;
use domp_protocol::frame::{FRAME_HEADER_BYTES, Frame, FrameKind, Item, ItemKind};
use domp_protocol::handshake::{Versions, Welcome, WelcomeLimits, encode_goodbye, encode_welcome};
use domp_protocol::limits;
use domp_protocol::reply::{ErrorDetail, encode_error_detail};
use domp_protocol::transaction::{OutcomeOfRequest, OutcomeRequest, Outline, Transaction};
use domp_state::entry::{BatchHead, BatchKind};

use super::queues::{Sender, Stalled, Waiting};
use super::{Attach, Stateless};
use crate::commands::Turn;
use crate::cost;
use crate::node::Node;
use crate::replies::{Socket, refusal};
use crate::shard::{Question, Shard, Stamper};
use crate::spaces::{DEFAULT_SPACE, META};
use crate::storage::NoRoom;

/// Why an item is not taken.
struct Refused {
    code: ErrorCode,
    /// Of what there is too little, where the code leaves that open; empty: nothing to add.
    what: &'static str,
}

impl From<ErrorCode> for Refused {
    fn from(code: ErrorCode) -> Self {
        Self { code, what: "" }
    }
}

impl Refused {
    fn overloaded(what: &'static str) -> Self {
        let code = ErrorCode::Overloaded;
        Self { code, what }
    }
}

/// Free space is below the floor.
const DISK_IS_LOW: &str = "disk: free space is below the floor; reads go on";
/// See `Node::is_under_snapshot_pressure`.
const SNAPSHOT_IS_BEHIND: &str =
    "snapshot: writes to this space outrun its snapshot and the disk is behind; reads go on";

/// One item on its way in.
pub struct Intake<'a> {
    pub sender: &'a Sender,
    pub item: Item<'a>,
    /// As the frame says: the payload must agree.
    pub space: u32,
    pub deadline_us: u64,
}

/// Items that came together.
pub struct Batch<'a> {
    /// As whoever sent them says: each must agree.
    pub space: u32,
    pub count: u32,
    /// Of all items, one behind the other.
    pub bytes: &'a [u8],
    pub deadline_us: u64,
}

/// What a verified item asks for.
struct Asked<'a> {
    /// The space that it names itself.
    space: u32,
    reads: bool,
    /// Of a transaction.
    outline: Option<Outline>,
    /// The idempotency key that a question is about.
    key: Option<&'a [u8]>,
}

/// Why an item was not taken.
enum NotTaken {
    /// Its sender is told so.
    Refused(Refused),
    /// It has to wait where it is.
    Stalled(Stalled),
}

impl From<ErrorCode> for NotTaken {
    fn from(code: ErrorCode) -> Self {
        Self::Refused(code.into())
    }
}

impl From<Refused> for NotTaken {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

impl Node {
    /// The gateway let a connection in. Answers with a welcome frame, or with
    /// a goodbye when its session can't be resumed.
    pub fn on_attach(&mut self, socket: Socket, attach: &Attach<'_>, turn: &mut Turn) {
        if self.draining {
            self.goodbye(socket, ErrorCode::ShuttingDown, turn);
            return;
        }
        if !self.door.has_keys() {
            // The meta group has not said yet who may sign.
            self.goodbye(socket, ErrorCode::Unavailable, turn);
            return;
        }
        let resumed = match self.door.resuming(attach) {
            Ok(resumed) => resumed,
            Err(code) => return self.goodbye(socket, code, turn),
        };
        if let Some(token) = &resumed {
            // A node that restarted while its wall clock went back could otherwise stamp
            // entries below the birth of a session it minted, and this connection below
            // the one before, which shards would then take for the newer.
            self.hlc.observe(token.birth.max(token.epoch));
        }
        if !self.peers.are_none() && !self.may_mint(self.next_stamp()) {
            // Whoever leads could not take a session that is born so late, or may not: most clocks are unknown.
            self.goodbye(socket, ErrorCode::Unavailable, turn);
            return;
        }
        if let Some(generation) = self.door.owner(socket.slot) {
            // Its farewell is still to come, or never was one.
            self.forget_work(Socket {
                generation,
                ..socket
            });
        }
        let stamp = self.hlc.now(self.clock.wall_ms, 1);
        match self.door.attach(socket, attach, resumed, stamp) {
            Ok(attached) => {
                let welcome = Welcome {
                    version: Versions::OURS.max,
                    versions: Versions::OURS,
                    session: attached.token,
                    resumed: resumed.is_some(),
                    epoch: attached.epoch,
                    server_time_ms: self.clock.wall_ms,
                    node: self.identity.node,
                    limits: self.limits(),
                    default_space: u32::try_from(DEFAULT_SPACE).unwrap_or(u32::MAX),
                };
                turn.replies.push_frame(socket, &encode_welcome(&welcome));
            }
            Err(code) => self.goodbye(socket, code, turn),
        }
    }

    /// A frame came from a connection. `waited_us`: how long it waited before
    /// it got here. The bytes must not change while this runs.
    pub fn on_frame(&mut self, socket: Socket, bytes: &[u8], waited_us: u64, turn: &mut Turn) {
        // A connection that is gone gets no answer.
        let Some(attached) = self.door.get(socket).copied() else {
            return;
        };
        self.counters.frames += 1;
        let frame = match Frame::parse(bytes) {
            Ok(frame) if frame.kind == FrameKind::Submit => frame,
            Ok(_) => return self.expel(socket, ErrorCode::InvalidFrame, turn),
            Err(code) => return self.expel(socket, code, turn),
        };
        let deadline_us = self.deadline_us(frame.timeout_ms, waited_us);
        let sender = Sender {
            socket,
            principal: attached.token.principal,
            grants: attached.grants,
            batch: attached.batch(frame.acked_below),
            late: self.draining,
        };
        self.take_frame(sender, &frame, bytes, deadline_us, turn);
    }

    /// A request came from a stateless door: one transaction in a submit frame.
    pub fn on_stateless(
        &mut self,
        socket: Socket,
        request: &Stateless<'_>,
        waited_us: u64,
        turn: &mut Turn,
    ) {
        self.counters.frames += 1;
        let frame = match Frame::parse(request.frame) {
            Ok(frame) if frame.kind == FrameKind::Submit && frame.count == 1 => frame,
            Ok(_) => return self.goodbye(socket, ErrorCode::InvalidFrame, turn),
            Err(code) => return self.goodbye(socket, code, turn),
        };
        for item in frame.items() {
            if item.kind != ItemKind::Transaction {
                let origin = (socket, frame.space, item.sequence);
                return self.refuse(origin, &ErrorCode::InvalidRequest.into(), turn);
            }
        }
        let deadline_us = self.deadline_us(frame.timeout_ms, waited_us);
        let sender = Sender {
            socket,
            principal: request.principal,
            grants: request.grants,
            batch: BatchHead::stateless(request.principal),
            late: self.draining,
        };
        self.take_frame(sender, &frame, request.frame, deadline_us, turn);
    }

    /// A connection closed. What it proposed goes on; what waits is forgotten; its answers
    /// go nowhere.
    pub fn on_detach(&mut self, socket: Socket) {
        self.door.detach(socket);
        self.forget_work(socket);
    }

    fn take_frame(
        &mut self,
        sender: Sender,
        frame: &Frame<'_>,
        bytes: &[u8],
        deadline_us: u64,
        turn: &mut Turn,
    ) {
        let batch = Batch {
            space: frame.space,
            count: frame.count,
            bytes: &bytes[FRAME_HEADER_BYTES..],
            deadline_us,
        };
        self.take_batch(sender, &batch, frame.items(), turn);
    }

    /// Takes the items of a batch, as far as it is their turn; the others wait for it.
    pub(super) fn take_batch<'a>(
        &mut self,
        sender: Sender,
        batch: &Batch<'a>,
        mut items: impl Iterator<Item = Item<'a>>,
        turn: &mut Turn,
    ) {
        let (mut count, mut at) = (batch.count, 0);
        // While nobody waits, nobody is passed.
        while self.intake_left > 0
            && self.queues.is_empty()
            && let Some(item) = items.next()
        {
            let intake = Intake {
                sender: &sender,
                item,
                space: batch.space,
                deadline_us: batch.deadline_us,
            };
            if self.take(&intake, turn).is_err() {
                break;
            }
            count -= 1;
            at += item.bytes.len();
        }
        if count > 0 {
            let waiting = Waiting {
                sender,
                space: batch.space,
                deadline_us: batch.deadline_us,
                count,
                at: 0,
                bytes: batch.bytes[at..].into(),
            };
            self.enqueue(waiting, turn);
        }
    }

    /// Judges one item and hands it to its shard, or refuses it. Returns what that cost.
    pub(crate) fn take(&mut self, intake: &Intake<'_>, turn: &mut Turn) -> Result<u64, Stalled> {
        self.take_item(intake, false, turn)
    }

    /// The same of one that waited until its shard was led here, and is the first of those.
    pub(crate) fn take_led(
        &mut self,
        intake: &Intake<'_>,
        turn: &mut Turn,
    ) -> Result<u64, Stalled> {
        self.take_item(intake, true, turn)
    }

    fn take_item(
        &mut self,
        intake: &Intake<'_>,
        is_in_order: bool,
        turn: &mut Turn,
    ) -> Result<u64, Stalled> {
        match self.try_take(intake, is_in_order) {
            Ok(()) => {}
            Err(NotTaken::Stalled(why)) => return Err(why),
            Err(NotTaken::Refused(refused)) => {
                let origin = (intake.sender.socket, intake.space, intake.item.sequence);
                self.refuse(origin, &refused, turn);
            }
        }
        let cost = intake.item.bytes.len() as u64 + cost::REQUEST;
        self.intake_left = self.intake_left.saturating_sub(cost);
        self.counters.work += cost;
        Ok(cost)
    }

    fn try_take(&mut self, intake: &Intake<'_>, is_in_order: bool) -> Result<(), NotTaken> {
        let sender = intake.sender;
        // Nothing is done for whoever no longer waits for it.
        if intake.deadline_us <= self.clock.monotonic_us {
            return Err(ErrorCode::DeadlineExceeded.into());
        }
        let item = &intake.item;
        let Asked {
            space,
            reads,
            outline,
            key,
        } = self.read_item(intake)?;
        // The frame's word led it here, perhaps past others: it must not have been another's.
        if space != intake.space {
            return Err(ErrorCode::InvalidRequest.into());
        }
        if sender.late {
            return Err(ErrorCode::ShuttingDown.into());
        }
        // What waits for a leader is not passed by what comes later.
        let is_behind_others =
            !is_in_order && !self.handing.is_quiet() && self.handing.holds(u64::from(space));
        let full = self.is_full_of_unanswered();
        let takes_writes = reads || self.takes_writes();
        let id = u64::from(space);
        let is_behind = !reads && self.is_under_snapshot_pressure(id);
        let serving = self.shards.get_mut(&id);
        let Some(shard) = serving.filter(|shard| !shard.is_stopped()) else {
            let damaged = self.damaged.contains_key(&id) || self.damaged.contains_key(&META);
            return Err(if damaged {
                ErrorCode::ShardDamaged
            } else if self.names.contains_key(&id) {
                // Its shard is still to be founded: the log has no room for that yet.
                ErrorCode::Unavailable
            } else if !self.peers.are_none() {
                return self.pass_by(intake, reads);
            } else {
                ErrorCode::UnknownSpace
            }
            .into());
        };
        if !shard.takes(reads) || is_behind_others {
            return self.pass_by(intake, reads);
        }
        let room = self.config.answers_bytes_max;
        if sender.socket.is_remote() && !self.remote.has_room(sender.socket, reads, room) {
            return Err(NotTaken::Stalled(Stalled::Answers(reads)));
        }
        if let (true, Some(outline)) = (reads, outline) {
            if full || shard.are_reads_ahead(sender.socket) {
                return Err(NotTaken::Stalled(Stalled::Reads(space)));
            }
            self.unanswered_bytes += item.payload.len();
            shard.read(sender.socket, item, outline, intake.deadline_us);
        } else if let Some(key) = key {
            if full || shard.are_reads_ahead(sender.socket) {
                return Err(NotTaken::Stalled(Stalled::Reads(space)));
            }
            let question = Question::new(
                sender.socket,
                item,
                sender.principal,
                key,
                intake.deadline_us,
            );
            self.unanswered_bytes += question.held_bytes();
            shard.ask_about(question);
        } else {
            if !sender.grants.may_write(space) {
                return Err(ErrorCode::Forbidden.into());
            }
            if is_behind {
                return Err(Refused::overloaded(SNAPSHOT_IS_BEHIND).into());
            }
            if full || !takes_writes {
                return Err(NotTaken::Stalled(Stalled::Writes));
            }
            match self.storage.reserve(item.bytes.len()) {
                Ok(()) => {}
                Err(NoRoom::Yet) => {
                    return Err(NotTaken::Stalled(Stalled::Room(item.bytes.len())));
                }
                Err(NoRoom::Full) => return Err(Refused::overloaded(DISK_IS_LOW).into()),
            }
            let mut stamper = Stamper {
                hlc: &mut self.hlc,
                clock: self.clock,
            };
            shard.write(
                (sender.socket, item.sequence),
                &sender.batch,
                item,
                outline,
                &mut stamper,
            )?;
        }
        if sender.socket.is_remote() && outline.is_none_or(|_| !reads) {
            let room = &mut self.remote;
            room.reserve(sender.socket, space, item.sequence);
        }
        if self.touched.last() != Some(&id) {
            self.touched.push(id);
        }
        Ok(())
    }

    /// An item of a shard that is led elsewhere, or by nobody yet.
    fn pass_by(&mut self, intake: &Intake<'_>, reads: bool) -> Result<(), NotTaken> {
        let id = u64::from(intake.space);
        let may_wait = match self.shards.get(&id) {
            _ if self.peers.are_none() => false,
            // One hop: whoever was asked by another door leads, is about to, or says that it does not.
            shard if intake.sender.socket.is_remote() => shard.is_some_and(Shard::is_leader),
            _ => true,
        };
        if !may_wait {
            return Err(ErrorCode::Unavailable.into());
        }
        let kept = self.keep_waiting(intake, reads);
        kept.map_err(|what| Refused::overloaded(what).into())
    }

    /// Verifies an item and says what it asks for.
    fn read_item<'a>(&mut self, intake: &Intake<'a>) -> Result<Asked<'a>, ErrorCode> {
        let (item, sender) = (&intake.item, intake.sender);
        let asked = match item.kind {
            ItemKind::Transaction => {
                let transaction = Transaction::parse(item.payload)?;
                let outline = transaction.outline();
                if outline.guarded_keys() > limits::VISITED_KEYS_MAX {
                    return Err(ErrorCode::TooLarge);
                }
                let reads = transaction.is_read_only();
                let needs_key = !reads && sender.batch.kind == BatchKind::Stateless;
                if needs_key && transaction.idempotency_key().is_none() {
                    return Err(ErrorCode::IdempotencyKeyRequired);
                }
                Asked {
                    space: transaction.space(),
                    reads,
                    outline: Some(outline),
                    key: None,
                }
            }
            ItemKind::Outcome => {
                let request = OutcomeRequest::parse(item.payload)?;
                if let Some(token) = &request.session {
                    if !self.door.accepts(token, sender.principal) {
                        return Err(ErrorCode::SessionRefused);
                    }
                    self.hlc.observe(token.birth);
                }
                Asked {
                    space: request.space,
                    reads: false,
                    outline: None,
                    key: None,
                }
            }
            ItemKind::OutcomeOf => {
                let request = OutcomeOfRequest::parse(item.payload)?;
                Asked {
                    space: request.space,
                    reads: true,
                    outline: None,
                    key: Some(request.idempotency_key),
                }
            }
        };
        Ok(asked)
    }

    fn refuse(
        &mut self,
        (socket, space, sequence): (Socket, u32, u64),
        refused: &Refused,
        turn: &mut Turn,
    ) {
        self.counters.refused += 1;
        let detail = if refused.what.is_empty() {
            Vec::new()
        } else {
            encode_error_detail(&ErrorDetail {
                message: refused.what.to_owned(),
                retry_after_ms: refused.code.retry_after_ms(),
                ..ErrorDetail::default()
            })
        };
        turn.replies
            .push(socket, space, &refusal(sequence, refused.code), &detail);
    }

    fn goodbye(&mut self, socket: Socket, code: ErrorCode, turn: &mut Turn) {
        self.counters.refused += 1;
        let goodbye = encode_goodbye(code, code.meaning(), code.retry_after_ms());
        turn.replies.push_frame(socket, &goodbye);
    }

    /// Says goodbye to a connection whose bytes make no sense and hears it no more.
    fn expel(&mut self, socket: Socket, code: ErrorCode, turn: &mut Turn) {
        self.goodbye(socket, code, turn);
        self.door.detach(socket);
        self.forget_work(socket);
    }

    /// What a stamp taken now would be.
    fn next_stamp(&self) -> u64 {
        self.hlc.clone().now(self.clock.wall_ms, 1)
    }

    fn deadline_us(&self, timeout_ms: u32, waited_us: u64) -> u64 {
        let arrived_us = self.clock.monotonic_us.saturating_sub(waited_us);
        arrived_us.saturating_add(u64::from(timeout_ms) * 1000)
    }

    fn limits(&self) -> WelcomeLimits {
        let cut = |limit: u64| u32::try_from(limit).unwrap_or(u32::MAX);
        WelcomeLimits {
            frame_bytes_max: cut(self.config.frame_bytes_max),
            transaction_bytes_max: cut(limits::TRANSACTION_BYTES_MAX),
            key_bytes_max: cut(limits::KEY_BYTES_MAX),
            value_bytes_max: cut(limits::VALUE_BYTES_MAX),
            operations_max: cut(limits::OPERATIONS_MAX),
            guards_max: cut(limits::GUARDS_MAX),
            window: self.config.limits.session_window,
            outstanding_bytes_max: cut(self.config.outstanding_bytes_max),
            session_ttl_ms: self.config.limits.session_ttl_ms,
        }
    }
}
