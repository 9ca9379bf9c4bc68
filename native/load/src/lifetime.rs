//! Runs a program to its end and measures how long that takes: what a
//! server's start has to be held against is what its runtime alone takes.

use crate::arguments::Arguments;
use crate::fault::{Fault, Result};
use crate::json;
use serde::Serialize;
use std::time::Instant;

#[derive(Serialize)]
struct Lifetime {
    lifetime_us: u64,
}

/// `lifetime -- PROGRAM ARGUMENT…`
///
/// # Errors
/// The program can't be started, or fails.
pub fn run(arguments: &Arguments) -> Result<()> {
    arguments.allow_only(&[])?;
    let mut command = arguments.program("run")?;
    let start = Instant::now();
    let status = command.status()?;
    let elapsed = start.elapsed();
    if !status.success() {
        return Err(Fault::new(format!("the program ended: {status}")));
    }
    let lifetime_us = u64::try_from(elapsed.as_micros())
        .map_err(|_| Fault::new("the program ran for longer than can be told"))?;
    println!("{}", json::line(&Lifetime { lifetime_us }));
    Ok(())
}
