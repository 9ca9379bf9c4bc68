//! Looks at the bytes of segments that no frame uses, which recovery passes over.

use super::CheckReport;
use crate::Disk;
use crate::bytes::is_zero;
use crate::layout::{BLOCK, FILE_HEADER_BYTES, segment_name};
use crate::recover::{RecoverError, doing};
use crate::walk::Walk;
use crate::window::Window;

/// Notes bytes behind a seal, or in a prepared segment, that are not zero. Recovery cleans the end of the
/// log itself; these are never read.
pub(super) fn check_unused(
    disk: &mut dyn Disk,
    report: &mut CheckReport,
    walk: &Walk,
) -> Result<(), RecoverError> {
    let Some(end) = &walk.end else {
        return Ok(());
    };
    let mut unused: Vec<(String, u64, u64)> = report
        .segments
        .iter()
        .filter(|segment| segment.number != end.segment)
        .map(|segment| (segment.file.clone(), segment.used_bytes, segment.bytes))
        .collect();
    if let Some(prepared) = walk.prepared {
        let start = FILE_HEADER_BYTES as u64;
        unused.push((segment_name(prepared.segment), start, prepared.bytes));
    }
    let present = disk.list().map_err(doing("listing the log"))?;
    let mut window = Window::default();
    for (file, from, to) in unused {
        let io = |error| RecoverError::Io {
            doing: format!("reading {file}"),
            error,
        };
        let len = present
            .iter()
            .find(|info| info.name == file)
            .map_or(0, |info| info.len);
        window.open(&file);
        let mut at = from;
        while at + BLOCK <= to.min(len) {
            if !is_zero(window.read(disk, len, at, BLOCK).map_err(io)?) {
                report.note(&file, at, "bytes that are not in use are not zero".into());
                break;
            }
            at += BLOCK;
        }
    }
    Ok(())
}
