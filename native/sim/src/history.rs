//! What was committed, what was answered, and whether the two agree.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use domp_node::Applied;
use domp_oracle::keys::{Outcome, Value};
use domp_oracle::request::{Question, Request};
use domp_oracle::{AppliedItem, Expected, Shard};
use domp_protocol::frame::ItemKind;
use domp_protocol::reply::{ReplyHead, parse_error_detail};
use domp_protocol::transaction::{Guard, Operation};
use domp_protocol::{ErrorCode, Outcome as Meaning};

use crate::compare::{check_read_results, check_reply};
use crate::ids::RequestId;
use crate::logged::check_logged;
use crate::past::Past;
use crate::replicas::Replicas;
use crate::situations::{Situation, Situations};

/// Index of the founding: the first entry comes behind it.
pub const FOUNDING_INDEX: u64 = 1;

/// A promise was broken; how.
pub type Broken = String;

/// A request as a client sent it.
#[derive(Clone, Debug)]
pub struct Sent {
    pub id: RequestId,
    pub group: u64,
    pub kind: ItemKind,
    pub payload: Vec<u8>,
    pub reads: bool,
    /// The highest revision anybody had been told of the shard when it left.
    pub floor: u64,
}

/// An answer on its way out of the node.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Every request of that connection and sequence: one, unless ids were abused.
    pub candidates: Vec<Sent>,
    pub head: ReplyHead,
    pub payload: Vec<u8>,
}

/// What the log decided of an item: its kind, its bytes, its answer. Asked for with every answer.
type Decision = Rc<(ItemKind, Vec<u8>, Expected)>;

/// Three quarters of the longest entry of a world.
const LARGE_ENTRY_BYTES: usize = 48 << 10;

/// How often a request reached the node, was refused at its door, and came into an entry.
#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    arrived: u64,
    refused: u64,
    logged: u64,
}

impl Attempts {
    /// Each arrival is refused, or comes into one entry at the most.
    fn check(self, id: RequestId) -> Result<(), Broken> {
        if self.refused + self.logged <= self.arrived {
            return Ok(());
        }
        Err(format!(
            "Promise 4: {id:?} arrived {} times, was refused as not submitted {} times, and is in {} entries",
            self.arrived, self.refused, self.logged
        ))
    }
}

/// All shards as they should be, and all that was said of them.
pub struct History {
    pub shards: BTreeMap<u64, Shard>,
    /// By shard, the bytes of every entry behind the founding.
    pub logs: BTreeMap<u64, Vec<Vec<u8>>>,
    expected: BTreeMap<(u64, RequestId), Vec<Decision>>,
    /// By what was asked for as well.
    attempts: BTreeMap<(u64, RequestId, Vec<u8>), Attempts>,
    executed: BTreeSet<(u64, RequestId)>,
    /// Ids of which somebody was told that they never take effect.
    absent: BTreeSet<(u64, RequestId)>,
    /// Floors at the first sending.
    first_floor: BTreeMap<(u64, RequestId), u64>,
    /// By shard, the highest revision that reached a client.
    pub told: BTreeMap<u64, u64>,
    /// Shards of which a file is missing: they serve nothing.
    pub damaged: BTreeSet<u64>,
    /// What a client found wrong, if one did.
    pub wrong: Option<Broken>,
    pub situations: Situations,
    /// Whether the disk was ever full: else nobody may be told that it is.
    pub was_full: bool,
    /// Revisions that guards may ask for.
    pub revisions: Vec<u64>,
    /// By shard.
    past: BTreeMap<u64, Past>,
}

impl History {
    pub fn new() -> Self {
        Self {
            shards: BTreeMap::new(),
            logs: BTreeMap::new(),
            expected: BTreeMap::new(),
            attempts: BTreeMap::new(),
            executed: BTreeSet::new(),
            absent: BTreeSet::new(),
            first_floor: BTreeMap::new(),
            told: BTreeMap::new(),
            damaged: BTreeSet::new(),
            wrong: None,
            situations: Situations::default(),
            was_full: false,
            revisions: Vec::new(),
            past: BTreeMap::new(),
        }
    }

    /// The floor of a request that leaves now.
    pub fn sending(&mut self, group: u64, id: RequestId) -> u64 {
        let floor = self.told.get(&group).copied().unwrap_or_default();
        self.first_floor.entry((group, id)).or_insert(floor);
        floor
    }

    /// Whether the space asked exists: one that is dropped takes what was on its way with it.
    fn spaces_and_meta(&self, answer: &Answer) -> bool {
        let group = answer.candidates[0].group;
        group == 0 || self.spaces().contains(&group)
    }

    /// A request reaches the node.
    pub fn arrives(&mut self, sent: &Sent) {
        let key = (sent.group, sent.id, sent.payload.clone());
        self.attempts.entry(key).or_default().arrived += 1;
    }

    /// A request is in an entry, which was not known before.
    fn note_logged(&mut self, group: u64, id: RequestId, item: &AppliedItem) -> Result<(), Broken> {
        let key = (group, id, item.payload.clone());
        // What the node or its operator asked for came by another way.
        if let Some(attempts) = self.attempts.get_mut(&key) {
            attempts.logged += 1;
            attempts.check(id)?;
        }
        Ok(())
    }

    /// The door says that a request was not submitted.
    fn note_refused(&mut self, answer: &Answer) -> Result<(), Broken> {
        let [sent] = answer.candidates.as_slice() else {
            // An id was abused: nobody can tell which of the two this is about.
            return Ok(());
        };
        let key = (sent.group, sent.id, sent.payload.clone());
        if let Some(attempts) = self.attempts.get_mut(&key) {
            attempts.refused += 1;
            attempts.check(sent.id)?;
        }
        self.situations.note(Situation::RefusedAtDoor);
        Ok(())
    }

    /// An answer reached its client.
    pub fn delivered(&mut self, group: u64, revision: u64) {
        let told = self.told.entry(group).or_default();
        *told = (*told).max(revision);
    }

    /// The ids of the spaces that exist now.
    pub fn spaces(&self) -> Vec<u64> {
        let Some(meta) = self.shards.get(&0) else {
            return Vec::new();
        };
        let ids = meta
            .keys
            .map
            .values()
            .filter_map(|entry| match entry.value {
                Value::Number(id) => u64::try_from(id).ok(),
                Value::Bytes(_) => None,
            });
        ids.collect()
    }

    /// The name of a space that exists now.
    pub fn space_name(&self, group: u64) -> Option<Vec<u8>> {
        let table = &self.shards.get(&0)?.keys.map;
        let mut names = table.iter().filter(
            |(_, entry)| matches!(entry.value, Value::Number(id) if u64::try_from(id) == Ok(group)),
        );
        names.next().map(|(name, _)| name.clone())
    }

    fn shard(&mut self, group: u64) -> &mut Shard {
        self.shards
            .entry(group)
            .or_insert_with(|| Shard::new(group))
    }

    /// Takes what a turn applied and answered.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn turn(&mut self, applied: &[Applied], answers: &[Answer]) -> Result<(), Broken> {
        self.turn_of(None, applied, answers)
    }

    /// The same of one machine among several: others may have applied more, or less, so that its reads are held
    /// against what it applied itself.
    ///
    /// # Errors
    /// The first broken promise.
    pub fn turn_of(
        &mut self,
        mut machine: Option<&mut Replicas>,
        applied: &[Applied],
        answers: &[Answer],
    ) -> Result<(), Broken> {
        let mut reads: Vec<&Answer> = answers.iter().filter(|answer| is_read(answer)).collect();
        reads
            .iter()
            .try_for_each(|answer| self.check_damage(answer))?;
        reads.sort_by_key(|answer| answer.head.revision);
        for entry in applied {
            self.check_reads(machine.as_deref(), &mut reads, entry.group)?;
            self.apply(entry)?;
            if let Some(machine) = machine.as_deref_mut() {
                machine.apply(entry)?;
            }
            self.check_reads(machine.as_deref(), &mut reads, entry.group)?;
        }
        let groups: BTreeSet<u64> = reads
            .iter()
            .map(|answer| answer.candidates[0].group)
            .collect();
        for group in groups {
            self.check_reads(machine.as_deref(), &mut reads, group)?;
        }
        if machine.is_some() {
            // Another machine answered it, by what that had applied then.
            let left = std::mem::take(&mut reads);
            for answer in left {
                if !self.check_past(answer)? {
                    reads.push(answer);
                }
            }
        }
        if let Some(left) = reads.first() {
            return Err(format!(
                "Promise 3: a read of space {} claims revision {}, which the shard never had",
                left.candidates[0].group, left.head.revision
            ));
        }
        answers
            .iter()
            .filter(|answer| !is_read(answer))
            .try_for_each(|answer| self.answer(answer))
    }

    /// An entry was applied, now or by an earlier run of the node.
    ///
    /// # Errors
    /// It is not the one that was applied at that index before, or leaves a gap.
    pub fn apply(&mut self, applied: &Applied) -> Result<(), Broken> {
        let group = applied.group;
        let log = self.logs.entry(group).or_default();
        let known = FOUNDING_INDEX + log.len() as u64;
        if applied.index <= FOUNDING_INDEX {
            return Err(format!("shard {group} has an entry before its founding"));
        }
        if applied.index <= known {
            let at = usize::try_from(applied.index - FOUNDING_INDEX - 1).expect("in memory");
            return if log[at] == applied.entry {
                Ok(())
            } else {
                Err(format!(
                    "Promise 1: entry {} of shard {group} changed",
                    applied.index
                ))
            };
        }
        if applied.index != known + 1 {
            return Err(format!(
                "Promise 1: entry {} of shard {group} follows entry {known}",
                applied.index
            ));
        }
        log.push(applied.entry.clone());
        self.shard(group);
        let past = self.past.entry(group).or_default();
        past.before(&self.shards[&group]);
        let shard = self.shard(group);
        let limits = shard.limits;
        let entry = shard
            .apply(&applied.entry)
            .and_then(|entry| check_logged(&applied.entry, &entry).map(|()| entry))
            .map_err(|why| format!("entry {} of shard {group}: {why}", applied.index))?;
        let revision = shard.revision;
        let changed = shard.limits != limits;
        let past = self.past.entry(group).or_default();
        past.after(&self.shards[&group]);
        if changed {
            self.situations.note(Situation::LimitsTaken);
        }
        if !entry.expired.is_empty() {
            self.situations.note(Situation::Expired);
        }
        if applied.entry.len() > LARGE_ENTRY_BYTES {
            self.situations.note(Situation::LargeEntry);
        }
        self.revisions.push(revision);
        if self.revisions.len() > 64 {
            self.revisions.remove(0);
        }
        for item in entry.items {
            let id = RequestId::of(&item);
            let key = (group, id);
            self.note_logged(group, id, &item)?;
            if item.by_key {
                self.situations.note(Situation::DecidedByKey);
            }
            if item.executed {
                self.note_execution(group, &item);
                let lasting = matches!(id, RequestId::Session { .. });
                if !self.executed.insert(key) && lasting {
                    return Err(format!("Promise 2: {id:?} was executed twice"));
                }
                let took_effect = matches!(
                    &item.expected,
                    Expected::Decided { decided, .. }
                        if matches!(decided.outcome, Some(Outcome::Executed { .. }))
                );
                if took_effect && lasting && self.absent.contains(&key) {
                    return Err(format!(
                        "Promise 4: {id:?} took effect although it was said never to"
                    ));
                }
            }
            self.expected.entry(key).or_default().push(Rc::new((
                item.kind,
                item.payload,
                item.expected,
            )));
        }
        Ok(())
    }

    fn note_execution(&mut self, group: u64, item: &AppliedItem) {
        let Expected::Decided { decided, .. } = &item.expected else {
            return;
        };
        let Ok(transaction) = Request::read(&item.payload) else {
            return;
        };
        match &decided.outcome {
            Some(Outcome::Executed {
                failed_guard: Some(guard),
                answers,
                ..
            }) => {
                self.situations.note(Situation::GuardFailed);
                let guard = transaction.guards.get(*guard as usize);
                if matches!(guard, Some(Guard::Unchanged { .. })) {
                    self.situations.note(Situation::Phantom);
                }
                if !answers.is_empty() {
                    self.situations.note(Situation::ElseRan);
                }
            }
            Some(Outcome::Executed { .. }) if group == 0 => {
                self.situations.note(match transaction.then.first() {
                    Some(Operation::SpaceDrop { .. }) => Situation::SpaceDropped,
                    _ => Situation::SpaceCreated,
                });
            }
            Some(Outcome::Aborted(_)) => self.situations.note(Situation::Aborted),
            _ => {}
        }
    }

    /// Checks the reads of a shard that saw it as it is now.
    fn check_reads(
        &mut self,
        machine: Option<&Replicas>,
        reads: &mut Vec<&Answer>,
        group: u64,
    ) -> Result<(), Broken> {
        let shard = match machine {
            None => &*self.shard(group),
            Some(machine) => match machine.get(group) {
                Some(replica) => &replica.shard,
                None => return Ok(()),
            },
        };
        let revision = shard.revision;
        let mut result = Ok(());
        reads.retain(|answer| {
            let sent = &answer.candidates[0];
            if sent.group != group || answer.head.revision != revision {
                return true;
            }
            if result.is_ok() {
                result = check_read(shard, sent, answer);
            }
            false
        });
        result
    }

    /// Checks a read against the state that had its revision; false: there was none.
    fn check_past(&self, answer: &Answer) -> Result<bool, Broken> {
        let sent = &answer.candidates[0];
        let log = self.logs.get(&sent.group).map(Vec::as_slice);
        let past = self.past.get(&sent.group);
        let shard = past.and_then(|past| past.at(answer.head.revision, log.unwrap_or_default()));
        let Some(shard) = shard else {
            return Ok(false);
        };
        check_read(&shard, sent, answer).map(|()| true)
    }

    /// Checks an answer to a write, to an outcome request, or a refusal.
    fn answer(&mut self, answer: &Answer) -> Result<(), Broken> {
        if answer.candidates.is_empty() {
            return Err(format!("an answer to nobody's request: {:?}", answer.head));
        }
        let head = &answer.head;
        self.note_answer(head, &answer.payload)?;
        self.check_damage(answer)?;
        if head.code == Some(ErrorCode::LeaderChanged) {
            // It may be in an entry, now or later, or in none.
            return Ok(());
        }
        if let Some(code) = head.code
            && is_said_at_the_door(code)
        {
            if code.outcome() == Meaning::NotSubmitted && self.spaces_and_meta(answer) {
                return self.note_refused(answer);
            }
            return Ok(());
        }
        let mut why = String::from("nothing of that id was committed");
        for sent in &answer.candidates {
            let key = (sent.group, sent.id);
            let decisions = self.expected.get(&key).cloned().unwrap_or_default();
            for (kind, payload, expected) in decisions.iter().map(AsRef::as_ref) {
                if *kind != sent.kind || *payload != sent.payload {
                    continue;
                }
                match check_reply(head, &answer.payload, expected) {
                    Ok(()) => return self.agree(sent, head, expected),
                    Err(difference) => why = difference,
                }
            }
        }
        // A refusal by the shard that left no trace the door would also give.
        Err(format!(
            "Promise 1: the answer {head:?} to {:?} is not what the log says: {why}",
            answer.candidates[0].id
        ))
    }

    /// A shard of which a file is missing answers nothing else; no other says so.
    fn check_damage(&self, answer: &Answer) -> Result<(), Broken> {
        let group = answer.candidates[0].group;
        let says = answer.head.code == Some(ErrorCode::ShardDamaged);
        let is_damaged = self.damaged.contains(&group);
        if says && !is_damaged {
            return Err(format!("Promise 6: shard {group} says it is damaged"));
        }
        if is_damaged && answer.head.code.is_none() {
            return Err(format!("Promise 6: damaged shard {group} answers"));
        }
        Ok(())
    }

    fn agree(&mut self, sent: &Sent, head: &ReplyHead, expected: &Expected) -> Result<(), Broken> {
        let key = (sent.group, sent.id);
        let mut absent = None;
        match expected {
            Expected::Decided { decided, .. } => {
                let floor = self.first_floor.get(&key).copied().unwrap_or_default();
                let lasting = matches!(sent.id, RequestId::Session { .. });
                // What a key decided before is of an earlier revision.
                let fresh = lasting && self.executed.contains(&key);
                if decided.revision <= floor && fresh && decided.outcome.is_some() {
                    return Err(format!(
                        "Promise 3: {:?} was committed at {} although {floor} was known when it was first sent",
                        sent.id, decided.revision
                    ));
                }
                let never = head
                    .code
                    .is_some_and(|code| code.outcome() == Meaning::NotApplied);
                // A key may be used again once it was forgotten.
                if never && lasting {
                    absent = Some(sent.id);
                }
            }
            Expected::OutcomeOf { decided, .. } => {
                let never = !matches!(decided.outcome, Some(Outcome::Executed { .. }));
                self.situations.note(if never {
                    Situation::OutcomeNever
                } else {
                    Situation::OutcomeApplied
                });
                absent = never.then(|| asked(sent)).flatten();
            }
            Expected::Refused(_) => {}
        }
        if let Some(id) = absent {
            let took_effect = self
                .expected
                .get(&(sent.group, id))
                .is_some_and(|decisions| {
                    decisions.iter().any(|decision| {
                        let (_, _, expected) = decision.as_ref();
                        matches!(expected, Expected::Decided { decided, .. }
                        if matches!(decided.outcome, Some(Outcome::Executed { .. })))
                    })
                });
            if took_effect {
                return Err(format!(
                    "Promise 4: {id:?} is said never to take effect, but it did"
                ));
            }
            self.absent.insert((sent.group, id));
        }
        Ok(())
    }

    fn note_answer(&mut self, head: &ReplyHead, payload: &[u8]) -> Result<(), Broken> {
        if head.replayed {
            self.situations.note(Situation::Replayed);
        }
        let situation = match head.code {
            Some(ErrorCode::SessionSuperseded) => Situation::Superseded,
            Some(ErrorCode::SessionExpired) => Situation::SessionExpired,
            Some(ErrorCode::RequestIdConflict) => Situation::Conflict,
            Some(ErrorCode::WindowExceeded) => Situation::WindowExceeded,
            Some(ErrorCode::RequestIdStale) => Situation::Stale,
            Some(ErrorCode::Fenced) => Situation::Fenced,
            Some(ErrorCode::CrossShard) => Situation::CrossShard,
            Some(ErrorCode::DeadlineExceeded) => Situation::Deadline,
            Some(ErrorCode::Overloaded) => match parse_error_detail(payload) {
                Ok(detail) if detail.message.starts_with("disk") => {
                    if !self.was_full {
                        return Err("a write was refused for a full disk that never was".to_owned());
                    }
                    Situation::DiskFull
                }
                Ok(detail) if detail.message.starts_with("too much") => Situation::Crowded,
                _ => return Ok(()),
            },
            Some(ErrorCode::ShardDamaged) => Situation::DamagedRefused,
            Some(ErrorCode::TooLarge) => Situation::TooLarge,
            Some(ErrorCode::IdempotencyConflict) => Situation::KeyConflict,
            _ => return Ok(()),
        };
        self.situations.note(situation);
        Ok(())
    }
}

/// The id that an outcome request asks about.
fn asked(sent: &Sent) -> Option<RequestId> {
    let request = Question::read(&sent.payload).ok()?;
    let own = match sent.id {
        RequestId::Session { session, .. } => session,
        RequestId::Key { .. } => return None,
    };
    let session = request
        .session
        .map_or(own, |(birth, nonce, _)| (birth, nonce));
    Some(RequestId::Session {
        session,
        sequence: request.sequence,
    })
}

fn is_read(answer: &Answer) -> bool {
    answer.head.code.is_none() && answer.candidates.first().is_some_and(|sent| sent.reads)
}

/// Codes that the door gives before anything is proposed. None claims more
/// than that this attempt did nothing.
fn is_said_at_the_door(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::InvalidRequest
            | ErrorCode::UnsupportedOperation
            | ErrorCode::TooLarge
            | ErrorCode::CrossShard
            | ErrorCode::UnknownSpace
            | ErrorCode::Overloaded
            | ErrorCode::DeadlineExceeded
            | ErrorCode::Unavailable
            | ErrorCode::ShuttingDown
            | ErrorCode::ShardDamaged
            | ErrorCode::Forbidden
            | ErrorCode::IdempotencyKeyRequired
    )
}

fn check_read(shard: &Shard, sent: &Sent, answer: &Answer) -> Result<(), Broken> {
    if shard.revision < sent.floor {
        return Err(format!(
            "Promise 3: a read saw revision {} although {} was known when it was sent",
            shard.revision, sent.floor
        ));
    }
    let request = Request::read(&sent.payload)
        .map_err(|why| format!("an answered read can't be read: {why}"))?;
    match shard.read(&request) {
        Outcome::Aborted(code) => Err(format!("a read was answered that aborts with {code:?}")),
        outcome @ Outcome::Executed { .. } => {
            check_read_results(&answer.payload, outcome.results())
                .map_err(|difference| format!("Promise 3: a read differs: {difference}"))
        }
    }
}
