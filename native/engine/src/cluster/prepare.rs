//! Makes the directories from which the nodes of a cluster are first started.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use domp_transport::{Authority, NodeKey, Validity};
use serde::Serialize;

use super::membership::{
    AUTHORITY_FILE, CERTIFICATE_FILE, CLUSTER_FILE, ClusterFile, FOLDER, FORMAT, KEY_FILE,
    MemberLine, UNFOUNDED_FILE, judge_address,
};
use crate::disk::{create_durably, replace_durably};
use crate::randomness::{random_bytes, random_u64};
use crate::report::json;

/// How many nodes a cluster may be prepared for: an even number bears no more failures than the one below.
const SIZES: [usize; 3] = [3, 5, 7];
/// The authority's key, beside the nodes' directories.
const AUTHORITY_KEY_FILE: &str = "authority-key.pem";
/// Certificates' dates only warn.
const VALID_FOR: Duration = Duration::from_secs(10 * 365 * 86_400);
const CLOCKS_DIFFER: Duration = Duration::from_secs(86_400);

/// What was made.
#[derive(Serialize)]
struct Prepared {
    cluster: String,
    nodes: Vec<PreparedNode>,
}

#[derive(Serialize)]
struct PreparedNode {
    node: String,
    address: String,
    directory: String,
}

/// Makes a data directory for each node, which listens for the others at that address. Answers what was made,
/// as JSON. The error is for the operator; then nothing was made that a start would take.
pub(crate) fn prepare(directory: &Path, addresses: &[String]) -> Result<String, String> {
    if !SIZES.contains(&addresses.len()) {
        return Err(format!(
            "a cluster has 3, 5 or 7 nodes, and these are {}",
            addresses.len()
        ));
    }
    for (at, address) in addresses.iter().enumerate() {
        judge_address(address)?;
        if addresses[..at].contains(address) {
            return Err(format!("{address} is there twice"));
        }
    }
    let name = |at: usize| directory.join(format!("node-{}", at + 1));
    let doing = |error| format!("can't write in {}: {error}", directory.display());
    for path in (0..addresses.len())
        .map(name)
        .chain([directory.join(AUTHORITY_KEY_FILE)])
    {
        if path.try_exists().map_err(doing)? {
            return Err(format!(
                "{} is there already: a cluster is prepared once, into an empty directory",
                path.display()
            ));
        }
    }

    let randomness = |error| format!("the system gives no randomness: {error}");
    let cluster = u128::from_le_bytes(random_bytes().map_err(randomness)?);
    let mut members: Vec<MemberLine> = Vec::new();
    let mut nodes = Vec::new();
    for address in addresses {
        let node = random_u64().map_err(randomness)?.max(1);
        nodes.push(node);
        members.push(MemberLine {
            node: format!("{node:016x}"),
            address: address.clone(),
        });
    }
    let signing = |error: domp_transport::AuthorityError| error.to_string();
    let authority = Authority::generate(cluster).map_err(signing)?;
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let validity = Validity {
        from_unix_s: now.saturating_sub(CLOCKS_DIFFER).as_secs(),
        until_unix_s: now.saturating_add(VALID_FOR).as_secs(),
    };
    create_durably(directory).map_err(doing)?;
    put(
        directory,
        AUTHORITY_KEY_FILE,
        authority.key_pem().as_bytes(),
    )?;
    let mut prepared = Vec::new();
    for (at, node) in nodes.iter().enumerate() {
        let key = NodeKey::generate().map_err(signing)?;
        let request = key.signing_request(cluster, *node).map_err(signing)?;
        let certificate = authority.sign(&request, *node, validity).map_err(signing)?;
        let data = name(at);
        let folder = data.join(FOLDER);
        create_durably(&folder).map_err(doing)?;
        let file = ClusterFile {
            format: FORMAT,
            cluster: format!("{cluster:032x}"),
            node: format!("{node:016x}"),
            members: members
                .iter()
                .map(|line| MemberLine {
                    node: line.node.clone(),
                    address: line.address.clone(),
                })
                .collect(),
        };
        put(&folder, KEY_FILE, key.pem().as_bytes())?;
        put(&folder, CERTIFICATE_FILE, certificate.pem().as_bytes())?;
        put(
            &folder,
            AUTHORITY_FILE,
            authority.certificate().pem().as_bytes(),
        )?;
        put(&folder, CLUSTER_FILE, json(&file).as_bytes())?;
        // Last: what is not whole founds nothing.
        put(&folder, UNFOUNDED_FILE, b"")?;
        prepared.push(PreparedNode {
            node: file.node,
            address: members[at].address.clone(),
            directory: data.to_string_lossy().into_owned(),
        });
    }
    Ok(json(&Prepared {
        cluster: format!("{cluster:032x}"),
        nodes: prepared,
    }))
}

fn put(folder: &Path, name: &str, contents: &[u8]) -> Result<(), String> {
    replace_durably(folder, &format!("{name}.new"), name, contents).map_err(|error| {
        let path = folder.join(name);
        let _ = fs::remove_file(folder.join(UNFOUNDED_FILE));
        format!("can't write {}: {error}", path.display())
    })
}
