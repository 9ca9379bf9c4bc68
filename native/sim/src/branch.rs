//! Worlds beside the world: what would a node find on a disk that rots or lies?

use domp_log::memory::{Fault, MemoryDisk, Tear};
use domp_log::{Disk, Job, LogWrite, run_job, run_write};
use domp_node::{
    Applied, BootError, BootReport, Clock, Config, ControlRequest, Grants, Node, Socket, Stateless,
    Turn,
};
use domp_protocol::ErrorCode;
use domp_protocol::frame::{FrameBuilder, FrameKind, ItemKind, frame_header};
use domp_protocol::reply::{ReplyHead, parse_replies};

use crate::history::{Answer, Broken, History, Sent};
use crate::ids::RequestId;
use crate::loss::Loss;
use crate::requests::audit as audit_request;
use crate::rng::Rng;
use crate::situations::Situation;

/// A frame of encoded reply items about a space.
pub fn replies_frame(space: u32, items: &[&[u8]]) -> Vec<u8> {
    let count = u32::try_from(items.len()).expect("few items");
    let mut frame = frame_header(FrameKind::Replies, count, 0, 0, space).to_vec();
    for item in items {
        frame.extend_from_slice(item);
    }
    frame
}

/// Boots a node from a disk.
pub fn boot(
    config: &Config,
    disk: &mut MemoryDisk,
    clock: Clock,
) -> Result<(Node, BootReport), BootError> {
    Node::boot(config.clone(), disk, clock, &mut |_| {})
}

/// Something handed to the node in a turn.
type Happening<'e> = Box<dyn FnOnce(&mut Node, &mut Turn) + 'e>;

/// A node on a disk of its own, without a network, run turn by turn.
struct Bench<'a> {
    node: Node,
    disk: &'a mut MemoryDisk,
    clock: Clock,
    turn: Turn,
    applied: Vec<Applied>,
    replies: Vec<(ReplyHead, Vec<u8>)>,
}

impl<'a> Bench<'a> {
    fn new(node: Node, disk: &'a mut MemoryDisk, clock: Clock) -> Self {
        let turn = Turn {
            applied: Some(Vec::new()),
            ..Turn::default()
        };
        Self {
            node,
            disk,
            clock,
            turn,
            applied: Vec::new(),
            replies: Vec::new(),
        }
    }

    /// Turns until `until`, carrying out what the node says at once.
    fn run(
        &mut self,
        mut event: Option<Happening<'_>>,
        until: impl Fn(&Node, &Turn, usize) -> bool,
    ) -> Result<(), Broken> {
        for _ in 0..2_000 {
            self.turn.clear();
            self.node.begin_turn(self.clock);
            if let Some(event) = event.take() {
                event(&mut self.node, &mut self.turn);
            }
            self.node.end_turn(&mut self.turn);
            loop {
                if let Some(why) = &self.turn.fatal {
                    return Err(format!("the node ended by itself: {why}"));
                }
                self.applied
                    .extend(self.turn.applied.iter().flatten().cloned());
                for span in self.turn.replies.spans.iter().filter(|span| !span.frame) {
                    let bytes = &self.turn.replies.bytes[span.start as usize..span.end as usize];
                    let frame = replies_frame(span.space, &[bytes]);
                    let parsed = parse_replies(&frame).map_err(|code| format!("{code:?}"))?;
                    for reply in parsed {
                        let (head, payload) = reply;
                        self.replies.push((head, payload.to_vec()));
                    }
                }
                let write = self.turn.write.take();
                let jobs = std::mem::take(&mut self.turn.jobs);
                if until(&self.node, &self.turn, self.replies.len()) && write.is_none() {
                    return Ok(());
                }
                if write.is_none() && jobs.is_empty() {
                    break;
                }
                if let Some(write) = &write {
                    run_write(self.disk, write).map_err(|error| format!("write: {error}"))?;
                }
                self.turn.clear();
                self.node.begin_turn(self.clock);
                if let Some(write) = write {
                    self.node.on_written(write);
                }
                for (id, job) in jobs {
                    let result = run_job(self.disk, &job);
                    self.node.on_job(id, result, &mut self.turn);
                }
                self.node.end_turn(&mut self.turn);
            }
            self.clock.monotonic_us += 6_000;
            self.clock.wall_ms += 6;
        }
        Err("Promise 11: the node does not come to the point".to_owned())
    }

    fn ready(&mut self) -> Result<(), Broken> {
        self.run(None, |node, _, _| node.is_ready())
    }

    /// Everything a space holds.
    fn read_all(&mut self, space: u64) -> Result<(ReplyHead, Vec<u8>), Broken> {
        let mut read = self.try_read_all(space)?;
        // A space that was just created is founded when the log has room.
        for _ in 0..100 {
            if read.0.code != Some(ErrorCode::Unavailable) {
                break;
            }
            read = self.try_read_all(space)?;
        }
        Ok(read)
    }

    fn try_read_all(&mut self, space: u64) -> Result<(ReplyHead, Vec<u8>), Broken> {
        let space = u32::try_from(space).expect("few spaces");
        let request = audit_request(space);
        let mut builder = FrameBuilder::new(FrameKind::Submit);
        builder.push_item(1, ItemKind::Transaction, &request.payload);
        let frame = builder.finish(0, 60_000, space);
        let before = self.replies.len();
        let event = move |node: &mut Node, turn: &mut Turn| {
            let socket = Socket {
                slot: 1_000,
                generation: 1,
                door: 0,
            };
            let stateless = Stateless {
                principal: 1,
                grants: Grants::READ,
                frame: &frame,
            };
            node.on_stateless(socket, &stateless, 0, turn);
        };
        self.run(Some(Box::new(event)), |_, _, replies| replies > before)?;
        Ok(self.replies[before].clone())
    }

    fn drain(&mut self) -> Result<(), Broken> {
        let event = |node: &mut Node, turn: &mut Turn| {
            node.on_control(9, ControlRequest::Drain, turn);
        };
        self.run(Some(Box::new(event)), |_, turn, _| turn.drained)
    }
}

/// Starts a node on the disk, compares everything it holds with the history, stops it.
///
/// # Errors
/// What differs.
pub fn audit(
    disk: &mut MemoryDisk,
    config: &Config,
    clock: Clock,
    history: &mut History,
) -> Result<(), Broken> {
    let (node, report) =
        boot(config, disk, clock).map_err(|error| format!("Promise 1: no start: {error}"))?;
    if !report.damaged.is_empty() {
        return Err(format!(
            "sound bytes were taken for damage: {:?}",
            report.damaged
        ));
    }
    for entry in &report.applied {
        history.apply(entry)?;
    }
    let mut bench = Bench::new(node, disk, clock);
    bench.ready()?;
    let mut spaces = history.spaces();
    spaces.push(0);
    for space in spaces {
        let (head, payload) = bench.read_all(space)?;
        let applied = std::mem::take(&mut bench.applied);
        check_all(history, space, &applied, head, payload)?;
    }
    bench.drain()?;
    let applied = std::mem::take(&mut bench.applied);
    history.turn(&applied, &[])
}

fn check_all(
    history: &mut History,
    space: u64,
    applied: &[Applied],
    head: ReplyHead,
    payload: Vec<u8>,
) -> Result<(), Broken> {
    if let Some(code) = head.code {
        return Err(format!("space {space} can't be read: {code:?}"));
    }
    let request = audit_request(u32::try_from(space).expect("few spaces"));
    let sent = Sent {
        id: RequestId::Key {
            key: [0; 16],
            principal: 0,
        },
        group: space,
        kind: ItemKind::Transaction,
        payload: request.payload,
        reads: true,
        floor: history.told.get(&space).copied().unwrap_or_default(),
    };
    history.turn(
        applied,
        &[Answer {
            candidates: vec![sent],
            head,
            payload,
        }],
    )
}

/// What a node made of a disk that is not as it was written.
enum Found {
    /// It said so: at boot, or for the shards concerned.
    Damage,
    /// It holds exactly what was committed.
    Everything,
    /// It holds less, and says nothing.
    Less,
}

/// Whether the directory is whole, as `domp check` would say; `None`: it can't even be read.
pub fn is_whole(disk: &mut MemoryDisk, config: &Config) -> Option<bool> {
    let report = domp_node::check(disk, config.apply_version_known).ok()?;
    // What harms the node's own records alone keeps nobody from being served.
    let harms = |finding: &domp_log::Finding| {
        let is_served = |group: &u64| *group == domp_log::NODE_GROUP;
        let harmless = match &finding.groups {
            domp_log::DamagedGroups::All => false,
            domp_log::DamagedGroups::Listed(groups) => groups.iter().all(is_served),
        };
        finding.severity == domp_log::Severity::Damage && !harmless
    };
    Some(!report.findings.iter().any(harms))
}

/// Boots a node from a spoilt disk; it may refuse, but it may not say anything wrong, and what
/// checks a directory must say the same.
fn inspect(
    disk: &mut MemoryDisk,
    config: &Config,
    clock: Clock,
    history: &mut History,
) -> Result<Found, Broken> {
    let mut branched = Vec::new();
    inspect_on(disk, config, clock, history, &mut branched)
}

/// The same, where nodes of that branch have applied entries before.
fn inspect_on(
    disk: &mut MemoryDisk,
    config: &Config,
    clock: Clock,
    history: &mut History,
    branched: &mut Vec<Applied>,
) -> Result<Found, Broken> {
    let whole = is_whole(&mut disk.clone(), config).unwrap_or(false);
    let booted = boot(config, disk, clock);
    let refuses = booted
        .as_ref()
        .map_or(true, |(_, report)| !report.damaged.is_empty());
    if whole == refuses {
        return Err(format!(
            "Promise 6: the check of the directory says whole: {whole}, the start: {:?}",
            booted.map(|(_, report)| report.damaged)
        ));
    }
    let Ok((node, report)) = booted else {
        return Ok(Found::Damage);
    };
    branched.extend(report.applied.iter().cloned());
    let mut bench = Bench::new(node, disk, clock);
    if !report.damaged.is_empty() {
        let damaged: Vec<u64> = report.damaged.keys().copied().collect();
        bench.ready()?;
        for space in damaged {
            let (head, _) = bench.read_all(space)?;
            branched.append(&mut bench.applied);
            // Unless the space was dropped, as the meta group knew by then.
            let dropped = head.code == Some(ErrorCode::UnknownSpace)
                && !branch_of(history, branched).0.spaces().contains(&space);
            if head.code != Some(ErrorCode::ShardDamaged) && !dropped {
                return Err(format!(
                    "Promise 6: damaged shard {space} answers {:?}",
                    head.code
                ));
            }
            history.situations.note(Situation::DamagedRefused);
        }
        return Ok(Found::Damage);
    }
    bench.ready()?;
    branched.append(&mut bench.applied);
    let (mut model, mut less) = branch_of(history, branched);
    let live: Vec<u64> = model.spaces().into_iter().chain([0]).collect();
    for space in live {
        let known = history.shards.get(&space).map_or(0, |shard| shard.revision);
        let (head, payload) = bench.read_all(space)?;
        let applied = std::mem::take(&mut bench.applied);
        branched.extend(applied.iter().cloned());
        if head.code == Some(ErrorCode::Unavailable) && known == 0 {
            // There is no room to found it; nothing was ever in it.
            continue;
        }
        less |= head.code == Some(ErrorCode::UnknownSpace) || head.revision < known;
        if !less {
            check_all(&mut model, space, &applied, head, payload)
                .map_err(|why| format!("Promise 6: rot was served: {why}"))?;
        }
    }
    Ok(if less { Found::Less } else { Found::Everything })
}

/// What a branch has: all that the world has, and what was on its way to the disk or came since, which is
/// the branch's own. And whether that is another story than the world's.
fn branch_of(history: &History, branched: &[Applied]) -> (History, bool) {
    let mut model = History::new();
    model.shards = history.shards.clone();
    model.logs = history.logs.clone();
    let mut is_other = false;
    for entry in branched {
        is_other |= model.apply(entry).is_err();
    }
    (model, is_other)
}

/// Looks at a disk of which files were lost, or put back from elsewhere; then at the same disk,
/// after the node that may have refused it, with the files as they were.
///
/// # Errors
/// The node served an old state, or made of the files more than was lost.
pub fn lose_and_check(
    mut image: MemoryDisk,
    loss: &Loss,
    config: &Config,
    clock: Clock,
    history: &mut History,
) -> Result<(), Broken> {
    let named = |why: Broken| format!("{why} ({})", loss.what);
    image.set_capacity(u64::MAX);
    let sound = image.clone();
    loss.strike(&mut image);
    let mut branched = Vec::new();
    let found = inspect_on(&mut image, config, clock, history, &mut branched).map_err(named)?;
    match found {
        Found::Damage => history.situations.note(loss.situation),
        Found::Everything => history.situations.note(Situation::LossHarmless),
        Found::Less if loss.may_be_silent => {
            history.situations.note(Situation::LogEndOlder);
            return Ok(());
        }
        Found::Less => {
            return Err(named(
                "Promise 6: committed entries are gone, and nobody says so".to_owned(),
            ));
        }
    }
    if matches!(found, Found::Everything) || loss.may_be_silent {
        // It went on without the file, all of it or most groups: that is its history now.
        return Ok(());
    }
    loss.mend(&sound, &mut image);
    match inspect_on(&mut image, config, clock, history, &mut branched).map_err(named)? {
        Found::Everything => {
            history.situations.note(Situation::LossMended);
            Ok(())
        }
        Found::Damage | Found::Less => Err(named(
            "Promise 6: with its files put back as they were, the directory is not whole"
                .to_owned(),
        )),
    }
}

/// Flips one bit of the image.
///
/// # Errors
/// The node neither found it nor was right to ignore it.
pub fn flip_and_check(
    mut image: MemoryDisk,
    config: &Config,
    clock: Clock,
    rng: &mut Rng,
    history: &mut History,
) -> Result<(), Broken> {
    let mut files = image.list().map_err(|error| error.to_string())?;
    files.sort();
    files.retain(|file| file.len > 0);
    if files.is_empty() {
        return Ok(());
    }
    let file = rng.pick(&files).clone();
    let contents = image.contents(&file.name).unwrap_or_default();
    let used = contents
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(1, |at| at + 1);
    let offset = rng.below(used as u64);
    let bit = u32::try_from(rng.below(8)).expect("a bit");
    image.flip_bit(&file.name, offset, bit);
    // What a full disk does is told in the world itself.
    image.set_capacity(u64::MAX);
    match inspect(&mut image, config, clock, history)
        .map_err(|why| format!("{why} (bit {bit} of {} at {offset})", file.name))?
    {
        Found::Damage => history.situations.note(Situation::BitFlipFound),
        Found::Everything => history.situations.note(Situation::BitFlipHarmless),
        Found::Less => {
            return Err(format!(
                "Promise 6: bit {bit} of {} at {offset} was flipped and committed entries were cut away",
                file.name
            ));
        }
    }
    Ok(())
}

/// A copy of the disk that loses or misdirects one write, then follows along.
pub struct Shadow {
    disk: MemoryDisk,
    lose: bool,
    blocks: i64,
    struck: bool,
    /// Writes still to follow after the one that went wrong.
    follow: u64,
    /// Writes that followed.
    followed: u64,
    broken: bool,
}

impl Shadow {
    pub fn new(disk: MemoryDisk, lose: bool, rng: &mut Rng) -> Self {
        let blocks = if rng.percent(50) { 1 } else { -1 };
        Self {
            disk,
            lose,
            blocks,
            struck: false,
            follow: rng.below(4),
            followed: 0,
            broken: false,
        }
    }

    /// The same write that the real disk gets.
    pub fn write(&mut self, write: &LogWrite) {
        if self.struck {
            self.followed += 1;
        } else {
            self.struck = true;
            let fault = if self.lose {
                Fault::Lose
            } else {
                Fault::Misdirect {
                    blocks: self.blocks,
                }
            };
            self.disk.inject_next(fault);
        }
        self.broken |= run_write(&mut self.disk, write).is_err();
    }

    /// The same job.
    pub fn job(&mut self, job: &Job) {
        let _ = run_job(&mut self.disk, job);
    }

    /// Whether it is time to see what a node makes of it.
    pub fn is_due(&self) -> bool {
        self.broken || (self.struck && self.followed >= self.follow)
    }
}

/// Boots a node from the shadow.
///
/// # Errors
/// The wrong write was neither found nor the documented limit.
pub fn judge(
    shadow: Shadow,
    config: &Config,
    clock: Clock,
    history: &mut History,
) -> Result<(), Broken> {
    let counts = shadow.disk.fault_counts();
    if shadow.broken || counts.lost + counts.misdirected == 0 {
        return Ok(());
    }
    let followed = shadow.followed;
    let mut image = shadow.disk.crash_torn(0, Tear::Nothing);
    let what = if shadow.lose { "lost" } else { "misdirected" };
    match inspect(&mut image, config, clock, history)
        .map_err(|why| format!("{why} (a {what} write, {followed} after it)"))?
    {
        Found::Damage if shadow.lose => history.situations.note(Situation::LostWriteFound),
        Found::Damage => history.situations.note(Situation::MisdirectedFound),
        Found::Everything => {}
        // Nothing came after it: one disk alone can't tell.
        Found::Less if followed == 0 => history.situations.note(Situation::LostTail),
        Found::Less => {
            return Err(format!(
                "Promise 6: a {what} write with {followed} after it went unnoticed"
            ));
        }
    }
    Ok(())
}
