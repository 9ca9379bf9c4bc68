//! Which limits a start replays the log under, and how others come into force.

use std::path::Path;

use domp_node::{Clock, Config, Node, StateLimits};

use crate::disk::{RealDisk, limit_fields, load_state_limits, store_state_limits};
use crate::options::Options;

/// The limits that the options ask for.
pub(crate) fn configured(options: &Options) -> StateLimits {
    let usual = StateLimits::default();
    StateLimits {
        session_ttl_ms: options.session_ttl_ms.unwrap_or(usual.session_ttl_ms),
        session_window: options.session_window.unwrap_or(usual.session_window),
        sessions_max: options.sessions_max.unwrap_or(usual.sessions_max),
        idempotency_ttl_ms: options
            .idempotency_ttl_ms
            .unwrap_or(usual.idempotency_ttl_ms),
        idempotency_keys_max: options
            .idempotency_keys_max
            .unwrap_or(usual.idempotency_keys_max),
    }
}

/// Makes the limits of `config` those of the directory. Where the log was written
/// under others it is brought into snapshots first: nothing is then left that would
/// have to be replayed under those. A crash at any moment leaves the old limits
/// with the old log, or the new ones with nothing to replay.
///
/// Returns what changed, for the operator.
pub(crate) fn enforce(
    config: &Config,
    directory: &Path,
    disk: &mut RealDisk,
    clock: Clock,
) -> Result<Option<String>, String> {
    let written = load_state_limits(directory).map_err(|error| error.to_string())?;
    let changes = match &written {
        // A new directory, or one from before there was the file: its log was
        // applied under what was configured.
        None => None,
        Some(written) if *written == config.limits => return Ok(None),
        Some(written) => Some(describe(written, &config.limits)),
    };
    if let (Some(limits), Some(changes)) = (written, &changes) {
        let old = Config {
            limits,
            ..config.clone()
        };
        Node::settle(old, disk, clock, &mut Vec::new()).map_err(|error| {
            format!(
                "the configuration has other limits than the data directory {} was written \
                 with ({changes}). They change once all data is in snapshots, which failed: \
                 {error}. Start with the former values, or mend that first",
                directory.display()
            )
        })?;
    }
    store_state_limits(directory, &config.limits).map_err(|error| error.to_string())?;
    Ok(changes)
}

fn describe(written: &StateLimits, wanted: &StateLimits) -> String {
    let changes = limit_fields(written)
        .into_iter()
        .zip(limit_fields(wanted))
        .filter(|(before, after)| before.2 != after.2)
        .map(|((name, setting, before), (_, _, after))| {
            let unit = if name.ends_with("_ms") { " ms" } else { "" };
            format!("{setting} from {before}{unit} to {after}{unit}")
        });
    changes.collect::<Vec<_>>().join(", ")
}
