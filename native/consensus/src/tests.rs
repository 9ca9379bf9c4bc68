use raft::eraftpb::MessageType;

use super::*;

/// Drives a group as its owner does: persists at once.
fn settle(group: &mut Group) -> (Vec<Entry>, Vec<(u64, u64)>, Vec<Entry>) {
    let (mut written, mut reads, mut applied) = (Vec::new(), Vec::new(), Vec::new());
    while let Some(ready) = group.ready() {
        written.extend(ready.entries);
        reads.extend(ready.reads);
        for entry in ready.committed {
            group.on_applied(entry.index, entry.term);
            applied.push(entry);
        }
        if let Some(number) = ready.persist {
            group.on_persisted(number);
        }
    }
    (written, reads, applied)
}

fn leader() -> Group {
    let mut group = Group::open(1, &[1], Start::default()).expect("an empty start is valid");
    group.campaign();
    settle(&mut group);
    group
}

#[test]
fn a_sole_voter_leads_and_commits_its_first_entry() {
    let group = leader();
    assert!(group.is_leader() && group.serves_reads());
    assert_eq!(
        (group.last_index(), group.commit_index(), group.term()),
        (1, 1, 1)
    );
    assert_eq!(group.applied(), (1, 1));
}

#[test]
fn nothing_is_committed_before_it_is_persisted() {
    let mut group = leader();
    let index = group
        .propose(b"a".to_vec())
        .expect("a leader takes proposals");
    let ready = group.ready().expect("an entry to persist");
    assert_eq!(ready.entries.len(), 1);
    assert!(ready.committed.is_empty());
    assert!(group.ready().is_none_or(|more| more.committed.is_empty()));
    assert!(group.commit_index() < index);
    group.on_persisted(ready.persist.expect("entries must be synced"));
    let (_, _, applied) = settle(&mut group);
    assert_eq!(
        applied.iter().map(|entry| entry.index).collect::<Vec<_>>(),
        [index]
    );
}

#[test]
fn several_batches_may_be_in_flight_and_commit_in_order() {
    let mut group = leader();
    let mut numbers = Vec::new();
    for n in 0..3_u8 {
        group.propose(vec![n]).expect("a leader takes proposals");
        numbers.push(group.ready().expect("an entry").persist.expect("a number"));
    }
    assert!(numbers.is_sorted());
    group.on_persisted(numbers[2]);
    let (_, _, applied) = settle(&mut group);
    assert_eq!(
        applied
            .iter()
            .map(|entry| entry.data[0])
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
}

#[test]
fn a_read_index_names_the_commit_it_must_see() {
    let mut group = leader();
    group
        .propose(b"a".to_vec())
        .expect("a leader takes proposals");
    settle(&mut group);
    group.read_index(77);
    let (_, reads, _) = settle(&mut group);
    assert_eq!(reads, [(77, group.commit_index())]);
}

#[test]
fn a_restart_continues_behind_what_was_applied() {
    let mut group = leader();
    for n in 0..10_u8 {
        group.propose(vec![n]).expect("a leader takes proposals");
    }
    let (written, _, applied) = settle(&mut group);
    assert_eq!((written.len(), applied.len()), (10, 10));
    // Applied up to 5; the rest was only persisted, with an older commit index known.
    let start = Start {
        applied: 5,
        applied_term: 1,
        hard_state: HardState {
            term: 1,
            vote: 1,
            commit: 3,
        },
        entries: written
            .into_iter()
            .filter(|entry| entry.index > 5)
            .collect(),
    };
    let mut again = Group::open(1, &[1], start).expect("what was written fits together");
    again.campaign();
    let (_, _, applied) = settle(&mut again);
    let data: Vec<Vec<u8>> = applied.iter().map(|entry| entry.data.to_vec()).collect();
    // Index 6 holds 4: the leader's own first entry was index 1.
    assert_eq!(
        data,
        [vec![4], vec![5], vec![6], vec![7], vec![8], vec![9], vec![]]
    );
    assert_eq!(again.term(), 2);
}

#[test]
fn a_gap_in_what_was_recovered_is_refused() {
    let entry = Entry {
        index: 3,
        term: 1,
        ..Entry::default()
    };
    let start = Start {
        applied: 1,
        applied_term: 1,
        entries: vec![entry],
        ..Start::default()
    };
    assert_eq!(
        Group::open(1, &[1], start).err(),
        Some(OpenError::Gap {
            expected: 2,
            found: 3
        })
    );
}

#[test]
fn compaction_stops_at_what_was_applied() {
    let mut group = leader();
    for n in 0..4_u8 {
        group.propose(vec![n]).expect("a leader takes proposals");
    }
    settle(&mut group);
    group.compact(u64::MAX);
    group
        .propose(b"z".to_vec())
        .expect("a compacted log grows on");
    let (_, _, applied) = settle(&mut group);
    assert_eq!(applied.len(), 1);
}

/// What a message claims to be durable: the term it speaks for.
fn claimed_term(message: &Message) -> u64 {
    match message.get_msg_type() {
        // Asks what would be, claims nothing.
        MessageType::MsgRequestPreVote => 0,
        _ => message.term,
    }
}

#[test]
fn no_message_leaves_before_the_hard_state_of_its_term_is_durable() {
    let mut group = Group::open(1, &[1, 2, 3], Start::default()).expect("an empty start is valid");
    group.campaign();
    let (mut durable_term, mut claims) = (0, 0);
    for _ in 0..10 {
        let mut sent = Vec::new();
        while let Some(ready) = group.ready() {
            for message in &ready.messages {
                assert!(
                    claimed_term(message) <= durable_term,
                    "left too early: {message:?}"
                );
            }
            sent.extend(ready.messages);
            if let Some(number) = ready.persist {
                durable_term = group.hard_state().term;
                sent.extend(group.on_persisted(number));
            }
        }
        claims += sent
            .iter()
            .filter(|message| claimed_term(message) > 0)
            .count();
        for message in &sent {
            if matches!(
                message.get_msg_type(),
                MessageType::MsgRequestPreVote | MessageType::MsgRequestVote
            ) {
                group.step(granted(message));
            }
        }
    }
    assert!(group.is_leader(), "both peers agreed");
    assert!(
        claims >= 4,
        "it asked both for their votes and sent both its first entry"
    );
}

/// A peer's consent to a request for its vote.
fn granted(request: &Message) -> Message {
    let mut answer = Message {
        from: request.to,
        to: request.from,
        term: request.term,
        ..Message::default()
    };
    answer.set_msg_type(raft::vote_resp_msg_type(request.get_msg_type()));
    answer
}
