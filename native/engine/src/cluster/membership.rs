//! What a data directory says of the cluster that its node belongs to: the files of its folder `cluster`.
//!
//! | file | what |
//! |---|---|
//! | `cluster.json` | the cluster, this node, all members and where they listen for each other |
//! | `authority.pem` | the certificate by which the members know each other |
//! | `node.pem`, `node-key.pem` | this node's certificate and its key |
//! | `unfounded` | nobody has started here yet: the first start founds the groups with the others, and removes it |
//!
//! Without `unfounded` an empty directory is one that was lost: founding again would make a voter that has
//! forgotten what it said.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use domp_node::{BootReport, Config};
use domp_transport::{Certificate, Credentials, Identity, NodeKey};
use serde::{Deserialize, Serialize};

use crate::disk::sync_directory;

/// The folder in the data directory.
pub(super) const FOLDER: &str = "cluster";
pub(super) const CLUSTER_FILE: &str = "cluster.json";
pub(super) const AUTHORITY_FILE: &str = "authority.pem";
pub(super) const CERTIFICATE_FILE: &str = "node.pem";
pub(super) const KEY_FILE: &str = "node-key.pem";
pub(super) const UNFOUNDED_FILE: &str = "unfounded";
/// What `cluster.json` is written as.
pub(super) const FORMAT: u32 = 1;

/// `cluster.json`. Identities are hexadecimal: they pass 2^53.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ClusterFile {
    pub format: u32,
    pub cluster: String,
    pub node: String,
    pub members: Vec<MemberLine>,
}

/// A line of it.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct MemberLine {
    pub node: String,
    pub address: String,
}

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub node: u64,
    /// Where it listens for the others: host and port.
    pub address: String,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Membership {
    pub cluster: u128,
    pub node: u64,
    /// All of them, this node too.
    pub members: Vec<Member>,
    pub credentials: Credentials,
    folder: PathBuf,
    is_unfounded: bool,
}

impl Membership {
    /// Reads it from a data directory; `None`: the node is alone. The error is for the operator.
    pub fn read(directory: &Path) -> Result<Option<Self>, String> {
        let folder = directory.join(FOLDER);
        if !folder.is_dir() {
            return Ok(None);
        }
        let text = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path)
                .map_err(|error| format!("can't read {}: {error}", path.display()))
        };
        let said = |name: &str, why: String| {
            let path = folder.join(name);
            format!("{}: {why}", path.display())
        };
        let (cluster, node, members) =
            parse(&text(CLUSTER_FILE)?).map_err(|why| said(CLUSTER_FILE, why))?;
        let certificate = |name: &str| {
            Certificate::from_pem(&text(name)?).map_err(|error| said(name, error.to_string()))
        };
        let key = NodeKey::from_pem(&text(KEY_FILE)?)
            .map_err(|error| said(KEY_FILE, error.to_string()))?;
        let credentials = Credentials {
            key,
            certificate: certificate(CERTIFICATE_FILE)?,
            authorities: vec![certificate(AUTHORITY_FILE)?],
        };
        let is_unfounded = folder.join(UNFOUNDED_FILE).exists();
        Ok(Some(Self {
            cluster,
            node,
            members,
            credentials,
            folder,
            is_unfounded,
        }))
    }

    /// Where this node listens, unless it is told otherwise.
    pub fn own_address(&self) -> &str {
        let own = self.members.iter().find(|member| member.node == self.node);
        own.map_or("", |member| member.address.as_str())
    }

    /// The others.
    pub fn others(&self) -> impl Iterator<Item = &Member> {
        self.members
            .iter()
            .filter(|member| member.node != self.node)
    }

    /// Whether a start may begin on a directory that is `blank` but for the folder.
    pub fn judge_start(&self, blank: bool) -> Result<(), String> {
        if blank && !self.is_unfounded {
            return Err(format!(
                "the data of node {:016x} is gone, and it can't begin anew under that name: what it \
                 promised the others is lost with it. Put the data back as it was when the node was \
                 last stopped",
                self.node
            ));
        }
        Ok(())
    }

    /// Tells the node what it is to found, if anything.
    pub fn configure(&self, config: &mut Config) {
        config.drawn.node = self.node;
        config.founders = self.members.iter().map(|member| member.node).collect();
        config.cluster = self.cluster;
    }

    /// Who this start of the node is, if the data is this node's.
    pub fn identify(&self, boot: &BootReport, nonce: u64) -> Result<Identity, String> {
        if boot.identity.node != self.node {
            return Err(format!(
                "the data is of node {:016x}, and {} of node {:016x}",
                boot.identity.node,
                self.folder.display(),
                self.node
            ));
        }
        Ok(Identity {
            cluster: self.cluster,
            node: self.node,
            incarnation: boot.incarnation.as_ref().map_or(0, |start| start.number),
            nonce,
        })
    }

    /// Something of this node is durable: from now on an empty directory is one that was lost.
    pub fn note_durable(&mut self) -> io::Result<()> {
        if !self.is_unfounded {
            return Ok(());
        }
        match fs::remove_file(self.folder.join(UNFOUNDED_FILE)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        sync_directory(&self.folder)?;
        self.is_unfounded = false;
        Ok(())
    }
}

fn parse(text: &str) -> Result<(u128, u64, Vec<Member>), String> {
    let file: ClusterFile = serde_json::from_str(text).map_err(|error| error.to_string())?;
    if file.format != FORMAT {
        return Err(format!(
            "it is of format {}, and this program knows {FORMAT}",
            file.format
        ));
    }
    let cluster = hexadecimal(&file.cluster, 32)?;
    let node = node_id(&file.node)?;
    let mut members = Vec::new();
    for line in file.members {
        let node = node_id(&line.node)?;
        if members.iter().any(|member: &Member| member.node == node) {
            return Err(format!("node {} is there twice", line.node));
        }
        judge_address(&line.address)?;
        let address = line.address;
        members.push(Member { node, address });
    }
    if !members.iter().any(|member| member.node == node) {
        return Err("the node is not among the members".to_owned());
    }
    Ok((cluster, node, members))
}

fn node_id(text: &str) -> Result<u64, String> {
    let number = hexadecimal(text, 16)?;
    u64::try_from(number)
        .ok()
        .filter(|node| *node > 0)
        .ok_or_else(|| format!("{text:?} is no node's id"))
}

fn hexadecimal(text: &str, digits: usize) -> Result<u128, String> {
    let is_whole = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = is_whole.then(|| u128::from_str_radix(text, 16).ok());
    number
        .flatten()
        .ok_or_else(|| format!("{text:?} is not {digits} hexadecimal digits"))
}

/// Whether it is a host and a port that another can dial.
pub(super) fn judge_address(address: &str) -> Result<(), String> {
    let bad = || format!("{address:?} is no HOST:PORT, such as 127.0.0.1:7402 or [::1]:7402");
    let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
    let is_port = port.parse::<u16>().is_ok_and(|port| port > 0);
    let is_host = match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']').is_some_and(|host| !host.is_empty()),
        None => !host.is_empty() && !host.contains(':'),
    };
    let is_clean = !address
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || c == '/');
    (is_port && is_host && is_clean)
        .then_some(())
        .ok_or_else(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: &str = "00000000000000000000000000000001";

    fn file(node: &str, members: &[(&str, &str)]) -> String {
        let members = members.iter().map(|(node, address)| MemberLine {
            node: (*node).to_owned(),
            address: (*address).to_owned(),
        });
        crate::report::json(&ClusterFile {
            format: FORMAT,
            cluster: CLUSTER.to_owned(),
            node: node.to_owned(),
            members: members.collect(),
        })
    }

    #[test]
    fn what_is_written_is_read() {
        let (one, two) = ("0000000000000001", "ffffffffffffffff");
        let text = file(one, &[(one, "127.0.0.1:1"), (two, "[::1]:65535")]);
        let (cluster, node, members) = parse(&text).expect("it is well-formed");
        assert_eq!((cluster, node), (1, 1));
        assert_eq!(members[1].node, u64::MAX);
        assert_eq!(members[1].address, "[::1]:65535");
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_named() {
        let one = "0000000000000001";
        let good = file(one, &[(one, "a:1")]);
        let unknown = good.replace("\"node\"", "\"nodes\"");
        let later = good.replace("\"format\":1", "\"format\":2");
        for (text, word) in [
            (file(one, &[]), "among"),
            (file(one, &[(one, "a:1"), (one, "b:1")]), "twice"),
            (file("1", &[("1", "a:1")]), "hexadecimal"),
            (
                file("0000000000000000", &[("0000000000000000", "a:1")]),
                "no node",
            ),
            (file(one, &[(one, "a:0")]), "HOST:PORT"),
            (unknown, "unknown field"),
            (later, "format 2"),
            (String::new(), "EOF"),
        ] {
            let why = parse(&text).expect_err(&text);
            assert!(why.contains(word), "{why}");
        }
    }

    #[test]
    fn addresses_are_a_host_and_a_port() {
        for good in ["127.0.0.1:7402", "node-1.example:1", "[::1]:65535"] {
            assert_eq!(judge_address(good), Ok(()), "{good}");
        }
        for bad in [
            "", "a", "a:", ":1", "a:0", "a:65536", "::1:5", "[]:1", "[::1:1", "a b:1", "a/b:1",
        ] {
            assert!(judge_address(bad).is_err(), "{bad}");
        }
    }
}
