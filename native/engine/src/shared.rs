//! What the worker and the engine's owner share beside the rings.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::Thread;

use crate::rings::{Memory, Word};

/// What [`Word::State`] says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EngineState {
    /// Recovering; frames wait in the ring.
    Opening = 0,
    /// Serving.
    Running = 1,
    /// Closed in good order.
    Stopped = 2,
    /// Ended by a failure; [`crate::Engine::fatal`] says which.
    Failed = 3,
}

/// A request that is not hot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Counters and distributions of engine and node, as JSON.
    Statistics,
    /// Snapshot what has changed; answered when it is on disk.
    Snapshot,
    /// What the operator's log has not been told yet, as JSON; answered at once.
    Notices,
    /// Refuse new requests, finish the accepted ones, mark the log; answered when that is done.
    Drain,
}

/// Takes the answer to a control request: JSON, or what went wrong.
pub type Answer = Box<dyn FnOnce(Result<String, String>) + Send>;

/// Gives an answer that may have been given already.
pub(crate) fn answer_once(answer: &Mutex<Option<Answer>>, outcome: Result<String, String>) {
    let answer = lock(answer).take();
    if let Some(answer) = answer {
        answer(outcome);
    }
}

/// What the owner asks of the worker.
pub(crate) enum Command {
    Control(Control, Answer),
    /// Drain, then end.
    Close(Answer),
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control(control, _) => f.debug_tuple("Control").field(control).finish(),
            Self::Close(_) => f.write_str("Close"),
        }
    }
}

/// A command, and where the inbound ring's writer was when it was sent: records
/// before that were pushed before the command.
#[derive(Debug)]
pub(crate) struct Sent {
    pub command: Command,
    pub inbound_tail: u32,
}

/// Wakes the gateway; called by the worker.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// See the module.
pub(crate) struct Shared {
    pub memory: Arc<Memory>,
    wake: Wake,
    worker: OnceLock<Thread>,
    /// `None`: the worker has ended and takes no more.
    commands: Mutex<Option<VecDeque<Sent>>>,
    any_command: AtomicBool,
    fatal: Mutex<Option<String>>,
    /// End at once, without finishing anything.
    abandoned: AtomicBool,
}

impl Shared {
    pub fn new(memory: Arc<Memory>, wake: Wake) -> Self {
        Self {
            memory,
            wake,
            worker: OnceLock::new(),
            commands: Mutex::new(Some(VecDeque::new())),
            any_command: AtomicBool::new(false),
            fatal: Mutex::new(None),
            abandoned: AtomicBool::new(false),
        }
    }

    /// Says which thread the worker is; by its spawner, before any command.
    pub fn set_worker(&self, worker: Thread) {
        // There is one worker: a second call would be a fault of this crate, and changes nothing.
        let _ = self.worker.set(worker);
    }

    pub fn unpark_worker(&self) {
        if let Some(worker) = self.worker.get() {
            worker.unpark();
        }
    }

    /// Wakes the gateway unless a wake-up is under way; true if it did.
    pub fn wake_gateway(&self) -> bool {
        let pending = self
            .memory
            .word(Word::WakePending)
            .swap(1, Ordering::SeqCst)
            != 0;
        if !pending {
            (self.wake)();
        }
        !pending
    }

    /// Hands the worker a command, or gives it back when the worker has ended.
    pub fn send(&self, command: Command) -> Result<(), Command> {
        match &mut *lock(&self.commands) {
            Some(commands) => {
                let inbound_tail = self.memory.word(Word::InboundTail).load(Ordering::SeqCst);
                commands.push_back(Sent {
                    command,
                    inbound_tail,
                });
                self.any_command.store(true, Ordering::Release);
            }
            None => return Err(command),
        }
        self.unpark_worker();
        Ok(())
    }

    /// Whether there is a command to take.
    pub fn has_command(&self) -> bool {
        self.any_command.load(Ordering::Acquire)
    }

    pub fn next_command(&self) -> Option<Sent> {
        if !self.any_command.load(Ordering::Acquire) {
            return None;
        }
        let mut commands = lock(&self.commands);
        let next = commands.as_mut().and_then(VecDeque::pop_front);
        let more = commands
            .as_ref()
            .is_some_and(|commands| !commands.is_empty());
        self.any_command.store(more, Ordering::Release);
        next
    }

    /// The worker has ended: it takes no more commands. Returns those it never saw.
    pub fn end(&self, state: EngineState, fatal: Option<String>) -> VecDeque<Sent> {
        if let Some(why) = fatal {
            lock(&self.fatal).get_or_insert(why);
        }
        self.set_state(state);
        lock(&self.commands).take().unwrap_or_default()
    }

    pub fn set_state(&self, state: EngineState) {
        self.memory
            .word(Word::State)
            .store(state as u32, Ordering::SeqCst);
    }

    pub fn fatal(&self) -> Option<String> {
        lock(&self.fatal).clone()
    }

    pub fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.unpark_worker();
    }

    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("fatal", &self.fatal())
            .finish_non_exhaustive()
    }
}

/// Nothing that could panic half way is done under these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
