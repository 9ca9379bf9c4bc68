//! The node: events in, commands out.

use std::collections::BTreeMap;

use domp_core::entry::BatchHead;
use domp_core::hlc::Hlc;
use domp_log::{JobResult, LogWrite};
use domp_protocol::error::ErrorCode;
use domp_protocol::frame::{Frame, FrameKind, Item, ItemKind};
use domp_protocol::handshake::{Versions, Welcome, WelcomeLimits, encode_goodbye, encode_welcome};
use domp_protocol::limits;
use domp_protocol::reply::{ErrorDetail, encode_error_detail};
use domp_protocol::transaction::{OutcomeOfRequest, OutcomeRequest, Transaction};

use crate::agenda::Agenda;
use crate::config::{Clock, Config};
use crate::control::{ControlReply, ControlRequest, NodeStatistics, ShardStatistics};
use crate::door::{Attach, Door, Stateless, idempotent_batch};
use crate::shard::{Shard, Stamper};
use crate::snapshots::Snapshots;
use crate::spaces::{DEFAULT_SPACE, META};
use crate::storage::{JobOutcome, Storage};
use crate::turn::{Socket, Turn, refusal};

/// One node. See the crate's documentation for the order of calls.
pub struct Node {
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    pub(crate) hlc: Hlc,
    pub(crate) door: Door,
    pub(crate) storage: Storage,
    pub(crate) shards: BTreeMap<u64, Shard>,
    /// Shards whose log is damaged: they serve nothing.
    pub(crate) damaged: BTreeMap<u64, String>,
    pub(crate) names: BTreeMap<u64, String>,
    pub(crate) snapshots: Snapshots,
    /// Shards that something happened to in this turn.
    pub(crate) touched: Vec<u64>,
    /// Shards that a turn must look at: those touched are among them when it ends.
    pub(crate) agenda: Agenda,
    /// The shard in whose hands the replies were full last: the others come before it.
    pub(crate) filled_by: u64,
    /// Memory of what waits for nothing but room for its answer.
    pub(crate) unanswered_bytes: usize,
    pub(crate) started: bool,
    pub(crate) draining: bool,
    pub(crate) counters: Counters,
    pub(crate) meta_applied: u64,
    /// A control request that waits for the snapshots under way.
    pub(crate) snapshot_waiters: Vec<u32>,
    pub(crate) fatal: Option<String>,
}

/// Counters since start that belong to no shard.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub frames: u64,
    pub refused: u64,
    pub reads: u64,
    pub proposed: u64,
    pub entries: u64,
}

/// One item on its way in.
struct Intake<'a> {
    socket: Socket,
    principal: u64,
    read_only: bool,
    /// `None`: no write is possible, for want of an idempotency key.
    batch: Option<BatchHead>,
    item: Item<'a>,
    /// As the frame says: the payload must agree.
    space: u32,
    deadline_us: u64,
}

impl Node {
    /// Whether the node serves: every healthy shard leads and the space
    /// `default` was created.
    pub fn is_ready(&self) -> bool {
        self.started
            && self.shards.values().all(Shard::serves)
            && (self.names.contains_key(&DEFAULT_SPACE)
                || self.damaged.contains_key(&META)
                || self
                    .shards
                    .get(&META)
                    .is_some_and(|meta| meta.state.spaces_revision() > 0))
    }

    /// Whether frames may be handed in: false while as much is proposed as may
    /// wait for the disk, or as much waits to be answered as may. Leave them in
    /// their queue until a write completes or a turn has answered.
    pub fn accepts_frames(&self) -> bool {
        self.storage.has_room()
            && self.storage.backlog_bytes() < self.config.backlog_bytes_max
            && (self.unanswered_bytes as u64) < limits::UNANSWERED_BYTES_MAX
            && !self.is_under_snapshot_pressure()
    }

    /// Whether snapshots hold everything that was ever proposed, and nothing is on its way.
    pub(crate) fn is_covered(&self) -> bool {
        self.is_ready() && self.is_quiet() && self.shards.values().all(Shard::is_covered)
    }

    /// Begins a turn at `clock`, whose monotonic time must not go back.
    pub fn begin_turn(&mut self, clock: Clock) {
        self.clock = Clock {
            monotonic_us: clock.monotonic_us.max(self.clock.monotonic_us),
            wall_ms: clock.wall_ms,
        };
    }

    /// The gateway let a connection in. Answers with a welcome frame, or with
    /// a goodbye when its session can't be resumed.
    pub fn on_attach(&mut self, socket: Socket, attach: &Attach<'_>, turn: &mut Turn) {
        if self.draining {
            self.goodbye(socket, ErrorCode::ShuttingDown, turn);
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
                    node: self.config.node,
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
                batch: Some(batch),
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
                return self.refuse(origin, ErrorCode::InvalidRequest, turn);
            }
            let intake = Intake {
                socket,
                principal: request.principal,
                read_only: request.read_only,
                batch: request
                    .key
                    .map(|key| idempotent_batch(request.principal, key)),
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

    /// The write of an earlier turn is on stable storage. Its buffers come back
    /// to be used again.
    pub fn on_written(&mut self, write: LogWrite) {
        for (group, number) in self.storage.on_written(write, self.clock) {
            if let Some(shard) = self.shards.get_mut(&group) {
                shard.on_persisted(number);
                self.touched.push(group);
            }
        }
    }

    /// A background job ended.
    pub fn on_job(&mut self, id: u64, result: JobResult, turn: &mut Turn) {
        match self.storage.on_job(id, result, self.clock) {
            JobOutcome::Nothing => {}
            JobOutcome::Snapshot(job, result) => self.on_snapshot_job(job, &result),
            JobOutcome::Fatal(why) => turn.fatal = Some(why),
        }
    }

    /// A request that is not hot.
    pub fn on_control(&mut self, id: u32, request: ControlRequest, turn: &mut Turn) {
        match request {
            ControlRequest::Statistics => {
                let statistics = Box::new(self.statistics());
                turn.controls
                    .push((id, ControlReply::Statistics(statistics)));
            }
            ControlRequest::Snapshot => {
                self.want_all_snapshots();
                self.snapshot_waiters.push(id);
            }
            ControlRequest::Drain => {
                self.draining = true;
                turn.controls.push((id, ControlReply::Done));
            }
        }
    }

    /// Judges one item and hands it to its shard.
    fn take(&mut self, intake: &Intake<'_>, turn: &mut Turn) {
        if let Err(code) = self.try_take(intake) {
            let origin = (intake.socket, intake.space, intake.item.sequence);
            self.refuse(origin, code, turn);
        }
    }

    fn try_take(&mut self, intake: &Intake<'_>) -> Result<(), ErrorCode> {
        let item = &intake.item;
        let (space, reads, outline) = match item.kind {
            ItemKind::Transaction => {
                let transaction = Transaction::parse(item.payload)?;
                let outline = transaction.outline();
                if outline.guarded_keys() > limits::VISITED_KEYS_MAX {
                    return Err(ErrorCode::TooLarge);
                }
                if transaction.idempotency_key().is_some() {
                    return Err(ErrorCode::UnsupportedOperation);
                }
                let reads = transaction.is_read_only();
                (transaction.space(), reads, Some(outline))
            }
            ItemKind::Outcome => {
                let request = OutcomeRequest::parse(item.payload)?;
                if let Some(token) = &request.session {
                    if !self.door.accepts(token, intake.principal) {
                        return Err(ErrorCode::SessionRefused);
                    }
                    self.hlc.observe(token.birth);
                }
                (request.space, false, None)
            }
            ItemKind::OutcomeOf => {
                OutcomeOfRequest::parse(item.payload)?;
                return Err(ErrorCode::UnsupportedOperation);
            }
        };
        // The frame's word led it here, perhaps past others: it must not have been another's.
        if space != intake.space {
            return Err(ErrorCode::InvalidRequest);
        }
        if self.draining {
            return Err(ErrorCode::ShuttingDown);
        }
        if intake.deadline_us <= self.clock.monotonic_us {
            return Err(ErrorCode::DeadlineExceeded);
        }
        let id = u64::from(space);
        let Some(shard) = self.shards.get_mut(&id) else {
            let damaged = self.damaged.contains_key(&id) || self.damaged.contains_key(&META);
            return Err(if damaged {
                ErrorCode::ShardDamaged
            } else {
                ErrorCode::UnknownSpace
            });
        };
        if let (true, Some(outline)) = (reads, outline) {
            self.unanswered_bytes += item.payload.len();
            shard.read(intake.socket, item, outline, intake.deadline_us);
        } else {
            if intake.read_only {
                return Err(ErrorCode::Forbidden);
            }
            let batch = intake
                .batch
                .as_ref()
                .ok_or(ErrorCode::IdempotencyKeyRequired)?;
            if !self.storage.reserve(item.bytes.len()) {
                return Err(ErrorCode::Overloaded);
            }
            let mut stamper = Stamper {
                hlc: &mut self.hlc,
                clock: self.clock,
            };
            shard.write(
                (intake.socket, item.sequence),
                batch,
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
        code: ErrorCode,
        turn: &mut Turn,
    ) {
        self.counters.refused += 1;
        let detail = match code {
            ErrorCode::Overloaded => encode_error_detail(&ErrorDetail {
                message: "disk: free space is below the floor; reads go on".to_owned(),
                retry_after_ms: 1000,
                ..ErrorDetail::default()
            }),
            _ => Vec::new(),
        };
        turn.replies
            .push(socket, space, &refusal(sequence, code), &detail);
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

    fn statistics(&self) -> NodeStatistics {
        let mut counters = self.counters;
        for shard in self.shards.values() {
            counters.proposed += shard.counters.proposed;
            counters.reads += shard.counters.reads;
            counters.entries += shard.counters.entries;
        }
        let storage = self.storage.statistics();
        NodeStatistics {
            node: self.config.node,
            connections: self.door.attached() as u64,
            frames: counters.frames,
            proposed: counters.proposed,
            reads: counters.reads,
            refused: counters.refused,
            entries: counters.entries,
            writes: storage.writes,
            written_bytes: storage.written_bytes,
            backlog_bytes: self.storage.backlog_bytes(),
            snapshots: self.snapshots.finished(),
            snapshots_failed: self.snapshots.failed(),
            segments: storage.segments,
            disk_low: self.storage.is_low(),
            draining: self.draining,
            shards: self
                .shards
                .values()
                .map(|shard| self.shard_statistics(shard))
                .collect(),
        }
    }

    fn shard_statistics(&self, shard: &Shard) -> ShardStatistics {
        ShardStatistics {
            group: shard.id(),
            name: self.names.get(&shard.id()).cloned().unwrap_or_default(),
            leader: shard.is_leader(),
            damage: None,
            term: shard.term(),
            applied_index: shard.state.applied_index(),
            revision: shard.state.revision(),
            lease_ms: shard.lease_now_ms(self.clock),
            log_bytes: shard.log_bytes,
            snapshot_index: shard.snapshot_index,
            state: shard.state.statistics(),
        }
    }
}
