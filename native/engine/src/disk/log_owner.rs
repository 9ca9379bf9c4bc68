//! Whose log a directory of its own holds: the file `node` in it, one line for a person and for the
//! next start. Two servers that are given one directory never run at a time, since it is locked; by
//! this they are told one after the other, too, and so is one that is given a wrong one.

use std::fs;
use std::io;
use std::path::Path;

use domp_log::{Identity, identity::IDENTITY_NAME};

use super::directory::{OpenDirectoryError, replace_durably};

/// Name of the file in the log's directory.
pub(super) const OWNER_NAME: &str = "node";
pub(super) const OWNER_NEW_NAME: &str = "node.new";

const WORDS: &str = "this directory holds the log of node ";

/// Refuses a log's directory of another node. One that names nobody is judged by what is in the log.
///
/// `founding`: a data directory that names nobody will found a node, and must not do so in another's
/// log directory; it may be looked at.
pub(super) fn judge(data: &Path, log: &Path, founding: bool) -> Result<(), OpenDirectoryError> {
    let failed = |path: &Path, name: &str| {
        let doing = format!("can't read {}", path.join(name).display());
        move |source| OpenDirectoryError::Io { doing, source }
    };
    let Some(owner) = read(log).map_err(failed(log, OWNER_NAME))? else {
        return Ok(());
    };
    let Some(owner) = parse(&owner) else {
        return Err(OpenDirectoryError::Apart(format!(
            "{} is damaged: it should say `{WORDS}`, and 16 hexadecimal digits. If this is the \
             node's log, remove that file: what the log says of itself decides then",
            log.join(OWNER_NAME).display()
        )));
    };
    let identity = match fs::read(data.join(IDENTITY_NAME)) {
        Ok(identity) => identity,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !founding {
                return Ok(());
            }
            return Err(OpenDirectoryError::Apart(format!(
                "{} holds the log of node {owner:016x}, and the data directory {} has no file \
                 `identity`: give the log of a new node a directory of its own",
                log.display(),
                data.display()
            )));
        }
        Err(error) => return Err(failed(data, IDENTITY_NAME)(error)),
    };
    // What is wrong with an identity is judged together with the log.
    let identity = std::str::from_utf8(&identity)
        .ok()
        .and_then(|text| Identity::parse(text).ok());
    match identity {
        Some(identity) if identity.node != owner => Err(OpenDirectoryError::Apart(format!(
            "{} holds the log of node {owner:016x}, but the data directory {} is of node {:016x}",
            log.display(),
            data.display(),
            identity.node
        ))),
        _ => Ok(()),
    }
}

/// Writes down whose log it is.
pub(super) fn claim(log: &Path, node: u64) -> io::Result<()> {
    let text = format!("{WORDS}{node:016x}\n");
    if read(log)?.as_deref() == Some(text.as_bytes()) {
        return Ok(());
    }
    replace_durably(log, OWNER_NEW_NAME, OWNER_NAME, text.as_bytes())
}

fn read(log: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(log.join(OWNER_NAME)) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn parse(bytes: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let digits = text.strip_prefix(WORDS)?.strip_suffix('\n')?;
    let node = u64::from_str_radix(digits, 16).ok()?;
    (format!("{node:016x}") == digits).then_some(node)
}
