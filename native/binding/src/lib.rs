//! The native surface: `open`, `submit`, `drain`, `control`, `close`, and nothing more.
//!
//! Frames and replies do not come through here. They stand in the memory that
//! `open` returns (see `domp_engine::rings`), which `src/engine` reads and
//! writes; these functions wake the worker and carry what is not hot. What would
//! be added must say why it can't be a control request.
//!
//! Nothing is static but the allocator: each open makes an engine of its own.
//!
//! Life of an engine here: the JavaScript handle and the array buffer each hold
//! a share of it. Closing ends its threads; if JavaScript never closes, they end
//! with the environment (a cleanup hook, which also covers `process.exit`) or
//! when the handle is collected. The wake-up function is weak: an open engine
//! alone does not keep the process alive, a request under way does.

mod options;
mod promise;

use std::sync::{Arc, Weak};

use domp_engine::rings::Memory;
use domp_engine::{Control, Engine, offline};
use napi::bindgen_prelude::{ArrayBuffer, External, Function, Object};
use napi::threadsafe_function::ThreadsafeFunctionCallMode;
use napi::{Env, Error, Result, Status};
use napi_derive::napi;

pub use options::{ControlRequest, OpenOptions};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What JavaScript holds.
type Handle = External<Arc<Engine>>;

/// Opens an engine. Returns at once `{engine, memory, inboundBytes, outboundBytes,
/// opened}`; `opened` resolves to the report (JSON) when the engine serves.
///
/// # Errors
/// Options that make no sense; no memory or threads.
#[napi]
pub fn open<'env>(
    env: &'env Env,
    options: OpenOptions,
    wake: Function<'env, (), ()>,
) -> Result<Object<'env>> {
    let options = options.into_options()?;
    let wake = wake
        .build_threadsafe_function::<()>()
        .weak::<true>()
        .callee_handled::<false>()
        .build()?;
    let memory = Engine::memory_for(&options)
        .map_err(|error| Error::new(Status::InvalidArg, error.to_string()))?;
    let buffer = array_buffer(env, &memory)?;
    // From here on nothing fails: a promise that is never settled would keep the event loop alive.
    let (opened, promise) = promise::promise(env)?;
    let engine = Arc::new(Engine::open(
        options,
        memory,
        Box::new(move || {
            // A wake-up that can't be queued comes too late: the environment is closing.
            let _ = wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        }),
        opened,
    ));
    let weak = Arc::downgrade(&engine);
    // Registered after the wake-up function and so run before its own teardown:
    // once the worker has ended, nobody calls it.
    env.add_env_cleanup_hook(weak, |engine: Weak<Engine>| {
        if let Some(engine) = engine.upgrade() {
            engine.abandon();
        }
    })?;

    let mut object = Object::new(env)?;
    object.set("memory", buffer)?;
    object.set("inboundBytes", engine.memory().inbound_bytes())?;
    object.set("outboundBytes", engine.memory().outbound_bytes())?;
    object.set("engine", External::new(engine))?;
    object.set("opened", promise)?;
    Ok(object)
}

/// Wakes the worker, which said that it sleeps.
#[napi]
pub fn submit(engine: &Handle) {
    engine.submit();
}

/// Tells the worker, which said that it waits for room, that replies were
/// fetched. Returns why the engine failed, if it did.
#[napi]
pub fn drain(engine: &Handle) -> Option<String> {
    engine.submit();
    engine.fatal()
}

/// Asks what is not hot; resolves to JSON. `statistics`, `snapshot`, `notices` and `drain`
/// go to an open engine; `check` and `log` read a directory that no engine holds, `prepare` makes directories.
///
/// # Errors
/// A request of an unknown kind, or one that lacks what it needs.
#[napi(ts_return_type = "Promise<string>")]
pub fn control<'env>(
    env: &'env Env,
    engine: Option<&Handle>,
    request: ControlRequest,
) -> Result<Object<'env>> {
    let online = match request.kind.as_str() {
        "statistics" => Some(Control::Statistics),
        "snapshot" => Some(Control::Snapshot),
        "notices" => Some(Control::Notices),
        "drain" => Some(Control::Drain),
        _ => None,
    };
    // Everything that can fail comes before the promise: one that is never settled would keep
    // the event loop alive.
    if let Some(control) = online {
        let needed = || Error::new(Status::InvalidArg, "this request needs an open engine");
        let engine = engine.ok_or_else(needed)?;
        let (answer, promise) = promise::promise(env)?;
        engine.control(control, answer);
        Ok(promise)
    } else {
        let request = request.into_offline()?;
        let (answer, promise) = promise::promise(env)?;
        offline::run(request, answer);
        Ok(promise)
    }
}

/// Drains and ends the engine; resolves to JSON, `{"drained":…}`.
///
/// # Errors
/// None of its own.
#[napi(ts_return_type = "Promise<string>")]
pub fn close<'env>(env: &'env Env, engine: &Handle) -> Result<Object<'env>> {
    let (done, promise) = promise::promise(env)?;
    engine.close(done);
    Ok(promise)
}

/// An array buffer over an engine's shared memory, which it keeps alive.
fn array_buffer<'env>(env: &'env Env, memory: &Arc<Memory>) -> Result<ArrayBuffer<'env>> {
    let memory = memory.clone();
    let (base, bytes) = (memory.base(), memory.bytes());
    // SAFETY: the block lives until the finalizer drops its share of it; it is
    // mapped once and wrapped once. JavaScript and the worker share it by the
    // rings' protocol, whose cursors both access atomically.
    let buffer = unsafe {
        ArrayBuffer::from_external(env, base.as_ptr(), bytes, memory, |_env, memory| {
            drop(memory);
        })
    }?;
    if buffer.as_ptr() == base.as_ptr() {
        Ok(buffer)
    } else {
        // Some hosts (Electron) allow no foreign memory and were handed a copy.
        Err(Error::new(
            Status::GenericFailure,
            "this JavaScript host does not allow memory shared with native code",
        ))
    }
}
