//! The steps of the cases: replicas of a group, each with a disk, and what flies between them.
//!
//! ```text
//! open a of a b c        opens a replica of these voters on an empty disk, or behind that:
//!   applied 5/1            what is applied
//!   term 2 vote b commit 5 the hard state
//!   log 6/2="x" 7/2        the entries
//!   kept 5/1="w"           entries that are applied, up to there; the one before them is of term 1
//! open all of a b c      opens all of them
//! restart a [applied 5/1]  opens it again from what its disk holds: what was not persisted is lost
//!
//! a campaign             stands for election
//! a propose "x" "y"      tells their indices, or that one is refused
//! a ready                hands out work:
//! < persist 3: HARD STATE; ENTRIES   to write, and to be told by `persisted`; `-`: nobody waits for it
//! < committed ENTRIES                to apply
//! < read 77 at 6                     the read of that context must see that index
//! < to b: MESSAGE                    leaves now
//! a persisted 3          all up to that batch is durable; tells the messages that waited for it
//! a applied 6/2          all up to there is applied
//! a read_index 77        asks what a read must see
//! a compact 6            forgets entries that no other replica needs
//! a compact 6 keeping 1000  and does not go beyond what is in excess of so many bytes of memory
//! a ticks 12             so much time passes for it
//! a hears c: MESSAGE     as if c had sent it: tells why it is dropped, if it is; see `told` below
//! a kept                 tells the entries that are not forgotten
//! a status               tells what the replica knows
//!
//! deliver a to b         all that flies from a to b arrives
//! cut c                  what flies to c and from c is lost, until `heal c`
//! settle                 everybody does what is handed out at once and everything arrives, until nothing
//!                        happens any more; tells what was committed and read where:
//! < a b committed ENTRIES            both the same
//! < a read 77 at 6
//! ```
//!
//! No time passes: who has heard a leader goes on believing in it until it starts again.
//!
//! In every case, whatever it expects, no message leaves before what it claims is durable, entries are
//! handed out as committed in a row, when the disks of a majority and the replica's own hold them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use domp_consensus::{Entry, Group, GroupReady, Message, MessageType, ReadContext, Start};

use super::disk::Disk;
use super::show::{
    data, entry, id, name, number, position, show_entries, show_hard_state, show_message,
};

/// All replicas of a case and what is between them.
#[derive(Default)]
pub struct World {
    replicas: BTreeMap<u64, Replica>,
    flying: BTreeMap<(u64, u64), VecDeque<Message>>,
    cut: BTreeSet<u64>,
}

struct Replica {
    group: Group,
    voters: Vec<u64>,
    disk: Disk,
    /// (index, term) of the last entry that was handed out as committed.
    handed_out: (u64, u64),
}

/// What was handed out, checked and sent.
struct Turn {
    committed: Vec<Entry>,
    reads: Vec<(ReadContext, u64)>,
    lines: Vec<String>,
}

/// A group that is busy after so many rounds goes round in circles.
const ROUNDS_MAX: usize = 100;

impl World {
    /// Does a step; what came out of it.
    ///
    /// # Panics
    /// When it is no step, or breaks what must hold in every case.
    pub fn step(&mut self, text: &str) -> Vec<String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        match *words.as_slice() {
            ["open", who, ref settings @ ..] => self.open(who, settings),
            ["restart", who] => {
                let applied = self.replica(who).group.applied();
                self.restart(id(who), applied)
            }
            ["restart", who, "applied", applied] => self.restart(id(who), position(applied)),
            ["deliver", from, "to", to] => self.deliver(id(from), id(to)),
            ["cut", who] => {
                let who = id(who);
                self.cut.insert(who);
                self.flying
                    .retain(|&(from, to), _| from != who && to != who);
                Vec::new()
            }
            ["heal", who] => {
                self.cut.remove(&id(who));
                Vec::new()
            }
            ["settle"] => self.settle(),
            [who, "ready"] => match self.replica(who).group.ready() {
                None => vec!["nothing".into()],
                Some(ready) => self.take(id(who), ready).lines,
            },
            [who, "persisted", batch] => self.persisted(id(who), number(batch)),
            [who, "hears", from, ref words @ ..] => {
                let message = told(id(from.trim_end_matches(':')), id(who), words);
                match self.replica(who).group.step(message) {
                    Ok(()) => Vec::new(),
                    Err(why) => vec![format!("dropped: {why}")],
                }
            }
            [who, ref words @ ..] => self.replica(who).step(words),
            [] => panic!("an empty step"),
        }
    }

    fn replica(&mut self, name: &str) -> &mut Replica {
        let replica = self.replicas.get_mut(&id(name));
        replica.unwrap_or_else(|| panic!("{name} is not open"))
    }

    fn open(&mut self, who: &str, settings: &[&str]) -> Vec<String> {
        let mut start = Start::default();
        let mut voters = Vec::new();
        let mut about = "";
        for &word in settings {
            match (about, word) {
                (_, "of" | "applied" | "term" | "vote" | "commit" | "log" | "kept") => about = word,
                ("of", word) => voters.push(id(word)),
                ("applied", word) => (start.applied, start.applied_term) = position(word),
                ("term", word) => start.hard_state.term = number(word),
                ("vote", word) => start.hard_state.vote = id(word),
                ("commit", word) => start.hard_state.commit = number(word),
                ("log", word) => start.entries.push(entry(word)),
                ("kept", word) => {
                    start.kept.push(entry(word));
                    start.kept_behind_term = 1;
                }
                _ => panic!("`open` takes no `{word}`"),
            }
        }
        let opened = match who {
            "all" => voters.clone(),
            who => vec![id(who)],
        };
        let open = |who| self.begin(who, voters.clone(), start.clone(), Disk::of(&start));
        opened.into_iter().flat_map(open).collect()
    }

    fn restart(&mut self, who: u64, applied: (u64, u64)) -> Vec<String> {
        let replica = self.replicas.remove(&who).expect("it is open");
        let mut disk = replica.disk;
        disk.crash();
        let start = Start {
            applied: applied.0,
            applied_term: applied.1,
            hard_state: disk.hard_state,
            entries: disk.entries_behind(applied.0),
            ..Start::default()
        };
        self.begin(who, replica.voters, start, disk)
    }

    fn begin(&mut self, who: u64, voters: Vec<u64>, start: Start, disk: Disk) -> Vec<String> {
        let handed_out = (start.applied, start.applied_term);
        match Group::open(who, &voters, start) {
            Ok(group) => {
                let replica = Replica {
                    group,
                    voters,
                    disk,
                    handed_out,
                };
                self.replicas.insert(who, replica);
                Vec::new()
            }
            Err(error) => vec![format!("refused: {error}")],
        }
    }

    fn take(&mut self, who: u64, ready: GroupReady) -> Turn {
        self.check_committed(who, &ready.committed);
        let mut lines = Vec::new();
        let number = ready.persist.map_or("-".into(), |batch| batch.to_string());
        let hard_state = ready.hard_state.map(show_hard_state);
        let entries = (!ready.entries.is_empty()).then(|| show_entries(&ready.entries));
        let parts: Vec<String> = hard_state.into_iter().chain(entries).collect();
        if ready.persist.is_some() || !parts.is_empty() {
            lines.push(format!("persist {number}: {}", parts.join("; ")));
        }
        if !ready.committed.is_empty() {
            lines.push(format!("committed {}", show_entries(&ready.committed)));
        }
        for (context, index) in &ready.reads {
            lines.push(format!("read {} at {index}", context.count));
        }
        let replica = self.replicas.get_mut(&who).expect("it was ready");
        replica
            .disk
            .write(ready.persist, ready.hard_state, ready.entries);
        lines.extend(self.send(who, ready.messages));
        if lines.is_empty() {
            lines.push("no work".into());
        }
        Turn {
            committed: ready.committed,
            reads: ready.reads,
            lines,
        }
    }

    fn check_committed(&mut self, who: u64, committed: &[Entry]) {
        for entry in committed {
            let shown = show_entries([entry]);
            let replica = &self.replicas[&who];
            let (before, _) = replica.handed_out;
            assert_eq!(entry.index, before + 1, "{shown} came behind {before}");
            assert!(
                replica.disk.holds(entry),
                "{shown} was handed out as committed and is not on the disk of {}",
                name(who)
            );
            let holds = |id: &&u64| {
                let replica = self.replicas.get(id);
                replica.is_some_and(|replica| replica.disk.holds(entry))
            };
            let holders = replica.voters.iter().filter(holds).count();
            assert!(
                holders > replica.voters.len() / 2,
                "{shown} was handed out as committed and is on {holders} disks"
            );
            let replica = self.replicas.get_mut(&who).expect("it was ready");
            replica.handed_out = (entry.index, entry.term);
        }
    }

    fn persisted(&mut self, who: u64, batch: u64) -> Vec<String> {
        let replica = self.replicas.get_mut(&who).expect("it is open");
        replica.disk.persist(batch);
        let released = replica.group.on_persisted(batch);
        self.send(who, released)
    }

    fn send(&mut self, from: u64, messages: Vec<Message>) -> Vec<String> {
        let mut lines = Vec::new();
        for message in messages {
            let line = format!("to {}: {}", name(message.to), show_message(&message));
            assert!(
                self.replicas[&from].disk.vouches_for(&message),
                "left before what it claims is durable: {line}"
            );
            if !self.cut.contains(&from) && !self.cut.contains(&message.to) {
                let flying = self.flying.entry((from, message.to)).or_default();
                flying.push_back(message);
            }
            lines.push(line);
        }
        lines
    }

    fn deliver(&mut self, from: u64, to: u64) -> Vec<String> {
        let messages = self.flying.remove(&(from, to));
        let messages = messages.unwrap_or_else(|| panic!("nothing flies there"));
        let mut lines = Vec::new();
        // To nobody, it is lost.
        if let Some(replica) = self.replicas.get_mut(&to) {
            for message in messages {
                let shown = show_message(&message);
                if let Err(why) = replica.group.step(message) {
                    lines.push(format!("dropped {shown}: {why}"));
                }
            }
        }
        lines
    }

    fn settle(&mut self) -> Vec<String> {
        let ids: Vec<u64> = self.replicas.keys().copied().collect();
        let mut committed: BTreeMap<u64, Vec<Entry>> = BTreeMap::new();
        let mut reads = Vec::new();
        for _ in 0..ROUNDS_MAX {
            let mut is_idle = true;
            for &who in &ids {
                let replica = self.replicas.get_mut(&who).expect("it is open");
                if let Some(batch) = replica.disk.awaited() {
                    is_idle = false;
                    self.persisted(who, batch);
                }
                let replica = self.replicas.get_mut(&who).expect("it is open");
                if replica.handed_out > replica.group.applied() {
                    let (index, term) = replica.handed_out;
                    replica.group.on_applied(index, term);
                }
                if let Some(ready) = replica.group.ready() {
                    is_idle = false;
                    let turn = self.take(who, ready);
                    committed.entry(who).or_default().extend(turn.committed);
                    reads.extend(turn.reads.into_iter().map(|read| (who, read)));
                }
            }
            let pairs: Vec<(u64, u64)> = self.flying.keys().copied().collect();
            for (from, to) in pairs {
                is_idle = false;
                self.deliver(from, to);
            }
            if is_idle {
                let mut lines = committed_lines(&committed);
                for (who, (context, index)) in reads {
                    lines.push(format!("{} read {} at {index}", name(who), context.count));
                }
                return lines;
            }
        }
        panic!("they do not settle");
    }
}

/// A message by its words: `append term 2 commit 1 behind 3/2: 4/2="x"`, `heartbeat term 2 commit 9`,
/// `append_response term 2 has 9`, `append_response term 2 refused 3 hint 1`, `timeout_now term 2`,
/// `propose "x"`.
fn told(from: u64, to: u64, words: &[&str]) -> Message {
    let mut message = Message {
        from,
        to,
        ..Message::default()
    };
    let (kind, mut words) = words.split_first().expect("a kind");
    message.set_msg_type(match *kind {
        "append" => MessageType::MsgAppend,
        "append_response" => MessageType::MsgAppendResponse,
        "heartbeat" => MessageType::MsgHeartbeat,
        "timeout_now" => MessageType::MsgTimeoutNow,
        "propose" => MessageType::MsgPropose,
        kind => panic!("`{kind}` is no message that a case can make up"),
    });
    while let [word, rest @ ..] = words {
        let (value, after) = rest.split_first().unwrap_or((&"", &[]));
        words = after;
        match *word {
            "term" => message.term = number(value),
            "commit" => message.commit = number(value),
            "has" => message.index = number(value),
            "refused" => (message.reject, message.index) = (true, number(value)),
            "hint" => message.reject_hint = number(value),
            "behind" => {
                (message.index, message.log_term) = position(value.trim_end_matches(':'));
            }
            word => {
                message.mut_entries().push(entry(word));
                words = rest;
            }
        }
    }
    message
}

/// Who committed what, with those who committed the same in one line.
fn committed_lines(committed: &BTreeMap<u64, Vec<Entry>>) -> Vec<String> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (&who, entries) in committed.iter().filter(|(_, entries)| !entries.is_empty()) {
        let entries = show_entries(entries);
        match all.iter_mut().find(|(_, others)| *others == entries) {
            Some((names, _)) => {
                names.push(' ');
                names.push_str(&name(who));
            }
            None => all.push((name(who), entries)),
        }
    }
    all.iter()
        .map(|(names, entries)| format!("{names} committed {entries}"))
        .collect()
}

impl Replica {
    fn step(&mut self, words: &[&str]) -> Vec<String> {
        let group = &mut self.group;
        match *words {
            ["campaign"] => group.campaign(),
            ["propose", ref all @ ..] => {
                let indices: Vec<String> = all
                    .iter()
                    .map(|word| match group.propose(data(word).to_vec()) {
                        Ok(index) => index.to_string(),
                        Err(_) => "refused".into(),
                    })
                    .collect();
                return vec![indices.join(" ")];
            }
            ["applied", place] => {
                let (index, term) = position(place);
                group.on_applied(index, term);
            }
            ["read_index", count] => group.read_index(ReadContext {
                replica: group.id(),
                incarnation: 1,
                count: number(count),
            }),
            ["compact", index] => group.compact(number(index), 0, 0),
            ["compact", index, "keeping", bytes] => {
                group.compact(number(index), number(bytes), u64::MAX);
            }
            ["ticks", count] => {
                for _ in 0..number(count) {
                    group.tick();
                }
            }
            ["kept"] => {
                let kept = show_entries(group.kept());
                return vec![if kept.is_empty() {
                    "nothing".into()
                } else {
                    kept
                }];
            }
            ["status"] => return vec![self.status()],
            _ => panic!("no step of a replica"),
        }
        Vec::new()
    }

    fn status(&self) -> String {
        let group = &self.group;
        let role = match (group.is_leader(), group.serves_reads()) {
            (true, true) => "leads and serves reads",
            (true, false) => "leads",
            (false, false) => "does not lead",
            (false, true) => panic!("a replica that does not lead serves reads"),
        };
        let state = group.hard_state();
        assert_eq!(
            (state.term, state.commit),
            (group.term(), group.commit_index())
        );
        let (index, term) = group.applied();
        format!(
            "{role}, {} last {} applied {index}/{term}",
            show_hard_state(state),
            group.last_index()
        )
    }
}
