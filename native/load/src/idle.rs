//! Holds connections open and does nothing with them: what they cost the
//! server can be read meanwhile.

use crate::arguments::Arguments;
use crate::fault::{Fault, Result};
use crate::json;
use crate::system::{self, System};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde::Serialize;
use std::io::BufRead;

#[derive(Serialize)]
struct Open {
    open: usize,
}

/// `idle --system S --address A`, then lines `open N` on standard input.
///
/// # Errors
/// The server refuses a connection, or the command is unknown.
pub fn run(arguments: &Arguments) -> Result<()> {
    arguments.allow_only(&system::ARGUMENTS)?;
    let system = System::from_arguments(arguments)?;
    raise_file_limit()?;
    let mut held = Vec::new();
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let count = match line.split_once(' ') {
            Some(("open", count)) => count.parse::<usize>(),
            _ => return Err(Fault::new(format!("unknown command `{line}`"))),
        };
        let count = count.map_err(|_| Fault::new(format!("`{line}` has no number")))?;
        for _ in 0..count {
            held.push(system.open()?);
        }
        println!("{}", json::line(&Open { open: held.len() }));
    }
    Ok(())
}

/// Files this process may open: as many as it is allowed to ask for.
fn raise_file_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}
