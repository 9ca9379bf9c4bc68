//! What comes in through the door: connections, frames, requests without a session. Each item is judged
//! here, then handed to its shard.

use domp_protocol::error::ErrorCode;
use domp_protocol::frame::{Frame, FrameKind, Item, ItemKind};
use domp_protocol::handshake::{Versions, Welcome, WelcomeLimits, encode_goodbye, encode_welcome};
use domp_protocol::limits;
use domp_protocol::reply::{ErrorDetail, encode_error_detail};
use domp_protocol::transaction::{OutcomeOfRequest, OutcomeRequest, Transaction};
use domp_state::entry::{BatchHead, BatchKind};

use super::{Attach, Stateless};
use crate::commands::Turn;
use crate::node::Node;
use crate::replies::{Socket, refusal};
use crate::shard::Stamper;
use crate::spaces::{DEFAULT_SPACE, META};

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
struct Intake<'a> {
    socket: Socket,
    principal: u64,
    read_only: bool,
    batch: BatchHead,
    item: Item<'a>,
    /// As the frame says: the payload must agree.
    space: u32,
    deadline_us: u64,
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
        let batch = attached.batch(frame.acked_below);
        for item in frame.items() {
            let intake = Intake {
                socket,
                principal: attached.token.principal,
                read_only: attached.read_only,
                batch,
                item,
                space: frame.space,
                deadline_us,
            };
            self.take(&intake, turn);
        }
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
        let deadline_us = self.deadline_us(frame.timeout_ms, waited_us);
        for item in frame.items() {
            if item.kind != ItemKind::Transaction {
                let origin = (socket, frame.space, item.sequence);
                return self.refuse(origin, &ErrorCode::InvalidRequest.into(), turn);
            }
            let intake = Intake {
                socket,
                principal: request.principal,
                read_only: request.read_only,
                batch: BatchHead::stateless(request.principal),
                item,
                space: frame.space,
                deadline_us,
            };
            self.take(&intake, turn);
        }
    }

    /// A connection closed. What it proposed goes on; its answers go nowhere.
    pub fn on_detach(&mut self, socket: Socket) {
        self.door.detach(socket);
    }

    /// Judges one item and hands it to its shard.
    fn take(&mut self, intake: &Intake<'_>, turn: &mut Turn) {
        if let Err(refused) = self.try_take(intake) {
            let origin = (intake.socket, intake.space, intake.item.sequence);
            self.refuse(origin, &refused, turn);
        }
    }

    fn try_take(&mut self, intake: &Intake<'_>) -> Result<(), Refused> {
        let item = &intake.item;
        let (space, reads, outline) = match item.kind {
            ItemKind::Transaction => {
                let transaction = Transaction::parse(item.payload)?;
                let outline = transaction.outline();
                if outline.guarded_keys() > limits::VISITED_KEYS_MAX {
                    return Err(ErrorCode::TooLarge.into());
                }
                let reads = transaction.is_read_only();
                let needs_key = !reads && intake.batch.kind == BatchKind::Stateless;
                if needs_key && transaction.idempotency_key().is_none() {
                    return Err(ErrorCode::IdempotencyKeyRequired.into());
                }
                (transaction.space(), reads, Some(outline))
            }
            ItemKind::Outcome => {
                let request = OutcomeRequest::parse(item.payload)?;
                if let Some(token) = &request.session {
                    if !self.door.accepts(token, intake.principal) {
                        return Err(ErrorCode::SessionRefused.into());
                    }
                    self.hlc.observe(token.birth);
                }
                (request.space, false, None)
            }
            ItemKind::OutcomeOf => {
                OutcomeOfRequest::parse(item.payload)?;
                return Err(ErrorCode::UnsupportedOperation.into());
            }
        };
        // The frame's word led it here, perhaps past others: it must not have been another's.
        if space != intake.space {
            return Err(ErrorCode::InvalidRequest.into());
        }
        if self.draining {
            return Err(ErrorCode::ShuttingDown.into());
        }
        if intake.deadline_us <= self.clock.monotonic_us {
            return Err(ErrorCode::DeadlineExceeded.into());
        }
        let id = u64::from(space);
        let is_behind = !reads && self.is_under_snapshot_pressure(id);
        let Some(shard) = self.shards.get_mut(&id) else {
            let damaged = self.damaged.contains_key(&id) || self.damaged.contains_key(&META);
            return Err(if damaged {
                ErrorCode::ShardDamaged
            } else {
                ErrorCode::UnknownSpace
            }
            .into());
        };
        if let (true, Some(outline)) = (reads, outline) {
            self.unanswered_bytes += item.payload.len();
            shard.read(intake.socket, item, outline, intake.deadline_us);
        } else {
            if intake.read_only {
                return Err(ErrorCode::Forbidden.into());
            }
            if is_behind {
                return Err(Refused::overloaded(SNAPSHOT_IS_BEHIND));
            }
            if !self.storage.reserve(item.bytes.len()) {
                return Err(Refused::overloaded(DISK_IS_LOW));
            }
            let mut stamper = Stamper {
                hlc: &mut self.hlc,
                clock: self.clock,
            };
            shard.write(
                (intake.socket, item.sequence),
                &intake.batch,
                item,
                outline,
                &mut stamper,
            )?;
        }
        if self.touched.last() != Some(&id) {
            self.touched.push(id);
        }
        Ok(())
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
        let retry_after_ms = if code.retryable() { 1000 } else { 0 };
        let goodbye = encode_goodbye(code, code.meaning(), retry_after_ms);
        turn.replies.push_frame(socket, &goodbye);
    }

    /// Says goodbye to a connection whose bytes make no sense and hears it no more.
    fn expel(&mut self, socket: Socket, code: ErrorCode, turn: &mut Turn) {
        self.goodbye(socket, code, turn);
        self.door.detach(socket);
    }

    fn deadline_us(&self, timeout_ms: u32, waited_us: u64) -> u64 {
        let arrived_us = self.clock.monotonic_us.saturating_sub(waited_us);
        arrived_us.saturating_add(u64::from(timeout_ms) * 1000)
    }

    fn limits(&self) -> WelcomeLimits {
        let cut = |limit: u64| u32::try_from(limit).unwrap_or(u32::MAX);
        WelcomeLimits {
            frame_bytes_max: cut(limits::FRAME_BYTES_MAX),
            transaction_bytes_max: cut(limits::TRANSACTION_BYTES_MAX),
            key_bytes_max: cut(limits::KEY_BYTES_MAX),
            value_bytes_max: cut(limits::VALUE_BYTES_MAX),
            operations_max: cut(limits::OPERATIONS_MAX),
            guards_max: cut(limits::GUARDS_MAX),
            window: self.config.limits.session_window,
            outstanding_bytes_max: cut(limits::OUTSTANDING_BYTES_MAX),
            session_ttl_ms: self.config.limits.session_ttl_ms,
        }
    }
}
