//! The engine as its owner sees it: opened on a directory, fed through the
//! rings, asked through control requests, closed.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::options::Options;
use crate::rings::{BODY_BYTES_MAX, HEADER_BYTES, Memory};
use crate::shared::{Answer, Command, Control, EngineState, Shared, Wake, answer_once};
use crate::start::{self, Started};
use crate::worker::End;

/// How long opening waits for the node to serve. A node that is not ready by then
/// is reported so and goes on trying.
const READY_TIMEOUT_MS: u64 = 5_000;

/// A ring must hold the longest record there can be.
const RING_BYTES_MIN: u32 = 16 << 20;
const _: () = assert!(BODY_BYTES_MAX + HEADER_BYTES <= RING_BYTES_MIN);

/// A running engine. Dropping it ends it at once, without a drain; see [`Engine::close`].
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    worker: Mutex<Option<JoinHandle<()>>>,
}

impl Engine {
    /// Makes the memory for an engine's rings.
    ///
    /// # Errors
    /// When the rings are too small or of odd sizes, or there is no memory for them.
    pub fn memory_for(options: &Options) -> io::Result<Arc<Memory>> {
        let least = options.inbound_ring_bytes.min(options.outbound_ring_bytes);
        if least < RING_BYTES_MIN {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "a ring must hold the longest record: 16 MiB at least",
            ));
        }
        Memory::new(options.inbound_ring_bytes, options.outbound_ring_bytes).map(Arc::new)
    }

    /// Starts an engine over rings that no other has used. `opened` gets its
    /// report (JSON) once it serves, or why it does not; `wake` is called when
    /// there are replies to fetch, there is room again in a ring that was full,
    /// or the engine has failed. Both are called on the worker's thread.
    pub fn open(options: Options, memory: Arc<Memory>, wake: Wake, opened: Answer) -> Self {
        let shared = Arc::new(Shared::new(memory, wake));
        let opened = Arc::new(Mutex::new(Some(opened)));
        let (theirs, their_opened) = (shared.clone(), opened.clone());
        let worker = thread::Builder::new()
            .name("domp-worker".into())
            .spawn(move || live(&theirs, &options, &their_opened));
        let worker = match worker {
            Ok(worker) => {
                shared.set_worker(worker.thread().clone());
                Some(worker)
            }
            Err(error) => {
                let why = format!("can't start the worker's thread: {error}");
                finish(&shared, EngineState::Failed, Some(why.clone()), vec![]);
                answer_once(&opened, Err(why));
                None
            }
        };
        Self {
            shared,
            worker: Mutex::new(worker),
        }
    }

    /// The memory with the rings.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.shared.memory
    }

    /// Wakes the worker: frames are in the inbound ring and it said it sleeps,
    /// or replies were fetched and it said it waits for room.
    pub fn submit(&self) {
        self.shared.unpark_worker();
    }

    /// Why the engine failed, if it did.
    pub fn fatal(&self) -> Option<String> {
        self.shared.fatal()
    }

    /// Asks something; `answer` is called on the worker's thread, or here when the engine has ended.
    pub fn control(&self, control: Control, answer: Answer) {
        self.send(Command::Control(control, answer));
    }

    /// Refuses new requests, finishes the accepted ones, marks the log, waits for
    /// the replies to be fetched, and ends. `done` gets `{"drained":…}`: false when
    /// that took longer than allowed, and what was accepted may or may not be applied.
    pub fn close(&self, done: Answer) {
        self.send(Command::Close(done));
    }

    /// Ends the engine without finishing anything, and waits for its threads.
    /// What was acknowledged is on the disk, as always.
    pub fn abandon(&self) {
        self.shared.abandon();
        self.join();
    }

    /// Waits for the worker's thread; returns at once where it has ended.
    pub fn join(&self) {
        let worker = self
            .worker
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(worker) = worker {
            // The thread catches its own panics and reports them.
            let _ = worker.join();
        }
    }

    fn send(&self, command: Command) {
        if let Err(command) = self.shared.send(command) {
            refuse(command, &self.ended());
        }
    }

    fn ended(&self) -> String {
        self.fatal()
            .unwrap_or_else(|| "the engine is closed".to_owned())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.abandon();
    }
}

/// Answers a command that no worker will see. Closing what has ended is no failure.
fn refuse(command: Command, why: &str) {
    match command {
        Command::Control(_, answer) => answer(Err(why.to_owned())),
        Command::Close(answer) => answer(Ok(closed(false))),
    }
}

fn closed(drained: bool) -> String {
    format!("{{\"drained\":{drained}}}")
}

/// The worker thread's whole life.
fn live(shared: &Arc<Shared>, options: &Options, opened: &Mutex<Option<Answer>>) {
    let open = |outcome: Result<String, String>| answer_once(opened, outcome);
    let started = catch_unwind(AssertUnwindSafe(|| start::start(shared, options)));
    let started = started.unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
    match started {
        Ok(started) => run(shared, started, &open),
        Err(why) => {
            finish(shared, EngineState::Failed, Some(why.clone()), vec![]);
            open(Err(why));
        }
    }
}

fn run(shared: &Arc<Shared>, started: Started, open: &dyn Fn(Result<String, String>)) {
    let Started {
        mut worker,
        directory,
        report,
    } = started;
    let end = catch_unwind(AssertUnwindSafe(|| {
        match worker.run_until_ready(READY_TIMEOUT_MS) {
            Ok(ready) => {
                shared.set_state(EngineState::Running);
                open(Ok(report.to_json(ready, worker.now_us())));
                worker.run()
            }
            Err(end) => end,
        }
    }));
    let end = end.unwrap_or_else(|panic| End::Fatal(panicked(panic.as_ref())));
    let why = match &end {
        End::Fatal(why) => why.clone(),
        _ => "the engine is closed".to_owned(),
    };
    let answers = worker.take_close_answers();
    worker.refuse_waiters(&why);
    // Before the directory is given back: the background thread may still write to it.
    let node = worker.stop();
    drop(directory);
    match end {
        End::Fatal(why) => {
            finish(shared, EngineState::Failed, Some(why.clone()), answers);
            open(Err(why));
        }
        End::Drained => {
            finish(shared, EngineState::Stopped, None, vec![]);
            for answer in answers {
                answer(Ok(closed(true)));
            }
        }
        End::DrainTimedOut | End::Abandoned => {
            finish(shared, EngineState::Stopped, None, answers);
            open(Err(why));
        }
    }
    if shared.is_abandoned() || shared.fatal().is_some() {
        // When the process goes, giving the state's memory back piece by piece is
        // lost time; after a failure it may not even be whole.
        std::mem::forget(node);
    }
}

/// Takes no more commands, answers those that were never seen, shows the state.
fn finish(shared: &Shared, state: EngineState, fatal: Option<String>, closing: Vec<Answer>) {
    let why = fatal
        .clone()
        .unwrap_or_else(|| "the engine is closed".to_owned());
    let unseen = shared.end(state, fatal);
    if state == EngineState::Failed {
        // The gateway learns of it when it comes to drain.
        shared.wake_gateway();
    }
    for sent in unseen {
        refuse(sent.command, &why);
    }
    for answer in closing {
        answer(Ok(closed(false)));
    }
}

/// What a panic said.
fn panicked(panic: &(dyn std::any::Any + Send)) -> String {
    let said = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned());
    format!("the engine panicked: {said}")
}
