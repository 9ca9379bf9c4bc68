//! Looks at the bytes of segments that no frame uses, which recovery passes over.

use super::CheckReport;
use crate::Disk;
use crate::layout::{BLOCK, FILE_HEADER_BYTES, FileHeader, FileKind, segment_name};
use crate::recover::{RecoverError, doing};
use crate::walk::Walk;
use crate::window::Window;

/// Notes sectors behind a seal, or in a prepared segment, that are not blank. Recovery cleans the end of the
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
        .filter(|segment| segment.number != end.segment.number)
        .map(|segment| (segment.file.clone(), segment.used_bytes, segment.bytes))
        .collect();
    if let Some(prepared) = walk.prepared {
        let start = FILE_HEADER_BYTES as u64;
        let name = segment_name(prepared.segment.number);
        unused.push((name, start, prepared.bytes));
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
        if len < BLOCK {
            continue;
        }
        let header = window.read(disk, len, 0, BLOCK).map_err(io)?;
        let Some(header) = FileHeader::decode(header, FileKind::Segment).header() else {
            // Told already. What its sectors should be like is not known.
            continue;
        };
        let mut at = from;
        while at + BLOCK <= to.min(len) {
            let block = window.read(disk, len, at, BLOCK).map_err(io)?;
            if !header.identity().is_blank(at, block) {
                let what = "sectors that are not in use are not blank";
                report.note(&file, at, what.into());
                break;
            }
            at += BLOCK;
        }
    }
    Ok(())
}
