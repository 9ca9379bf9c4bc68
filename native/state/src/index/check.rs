//! Verification of the whole structure, for tests.

use super::Index;
use super::edit::{Edges, FILL_MIN, Memory};
use super::inner::{Inner, Node};
use super::leaf::Leaf;

/// Bounds that a subtree's keys must keep: from the first on, below the second.
type Bounds<'i> = (Option<&'i [u8]>, Option<&'i [u8]>);

impl Index {
    /// Verifies the structure (order, bounds, counts, fill, depth, prefixes and heads, memory) and
    /// says what is wrong. Takes time in proportion to the whole index: for tests.
    ///
    /// # Errors
    /// A description of the first violation.
    pub fn check(&self) -> Result<(), String> {
        let mut memory = Memory::default();
        let edges = Edges {
            left: true,
            right: true,
        };
        let count = check_node(&self.root, self.levels, (None, None), edges, &mut memory)?;
        if count != self.len {
            return Err(format!("{count} records counted, {} believed", self.len));
        }
        if memory.records != self.memory.records || memory.nodes != self.memory.nodes {
            return Err(format!(
                "memory of records and nodes is {} and {}, believed {} and {}",
                memory.records, memory.nodes, self.memory.records, self.memory.nodes
            ));
        }
        match &self.root {
            Node::Inner(root) if root.len() < 2 => Err("the root has one child".to_owned()),
            _ => Ok(()),
        }
    }
}

fn check_node(
    node: &Node,
    levels: usize,
    bounds: Bounds<'_>,
    edges: Edges,
    memory: &mut Memory,
) -> Result<usize, String> {
    let least = if edges.left && edges.right {
        0
    } else if edges.left || edges.right {
        if levels == 0 { 1 } else { 2 }
    } else {
        FILL_MIN
    };
    if node.len() < least {
        return Err(format!(
            "{} of {least} slots used, {levels} levels up",
            node.len()
        ));
    }
    memory.nodes += node.own_bytes();
    match node {
        Node::Leaf(leaf) if levels == 0 => check_leaf(leaf, bounds, memory),
        Node::Inner(inner) if levels > 0 => check_inner(inner, levels, bounds, edges, memory),
        _ => Err("leaves of different depth".to_owned()),
    }
}

fn check_leaf(leaf: &Leaf, (low, high): Bounds<'_>, memory: &mut Memory) -> Result<usize, String> {
    leaf.check()?;
    for record in (0..leaf.len()).map(|slot| leaf.at(slot)) {
        let key = record.key();
        if low.is_some_and(|low| key < low) || high.is_some_and(|high| key >= high) {
            return Err(format!("key outside its leaf's bounds: {key:?}"));
        }
        memory.records += record.bytes();
    }
    Ok(leaf.len())
}

fn check_inner(
    inner: &Inner,
    levels: usize,
    (low, high): Bounds<'_>,
    edges: Edges,
    memory: &mut Memory,
) -> Result<usize, String> {
    inner.check()?;
    let last = inner.len() - 1;
    let mut total = 0;
    for slot in 0..=last {
        let bounds = (
            if slot == 0 {
                low
            } else {
                Some(inner.separator(slot - 1))
            },
            if slot == last {
                high
            } else {
                Some(inner.separator(slot))
            },
        );
        if let (Some(low), Some(high)) = bounds
            && low >= high
        {
            return Err(format!("separators out of order: {low:?} before {high:?}"));
        }
        let edges = Edges {
            left: edges.left && slot == 0,
            right: edges.right && slot == last,
        };
        let count = check_node(inner.child(slot), levels - 1, bounds, edges, memory)?;
        if count != inner.count(slot) {
            return Err(format!(
                "{count} records below a child, {} believed",
                inner.count(slot)
            ));
        }
        if slot < last {
            memory.nodes += inner.separator(slot).len();
        }
        total += count;
    }
    Ok(total)
}
