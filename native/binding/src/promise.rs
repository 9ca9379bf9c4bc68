//! A promise that the engine settles from any of its threads.

use domp_engine::Answer;
use napi::bindgen_prelude::Object;
use napi::{Env, Error, Result, Status};

type Resolver = Box<dyn FnOnce(Env) -> Result<String>>;

/// Makes a promise and what settles it: with JSON, or with an error's message.
/// Until it is settled it keeps the event loop alive.
pub fn promise(env: &Env) -> Result<(Answer, Object<'_>)> {
    let (deferred, promise) = env.create_deferred::<String, Resolver>()?;
    let answer: Answer = Box::new(move |outcome| match outcome {
        Ok(json) => deferred.resolve(Box::new(|_env| Ok(json))),
        Err(why) => deferred.reject(Error::new(Status::GenericFailure, why)),
    });
    Ok((answer, promise))
}
