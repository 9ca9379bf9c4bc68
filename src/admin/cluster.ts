/** What `/cluster` tells: the cluster as this node sees it. */

import type { Statistics } from "../engine/index.js";

/** The cluster as one node sees it. Identities are hexadecimal. */
export interface ClusterView {
  /** Null: the node is alone. */
  readonly cluster: string | null;
  readonly node: string;
  readonly members: readonly MemberView[];
  readonly spaces: readonly SpaceView[];
}

/** A node of the cluster. */
export interface MemberView {
  readonly node: string;
  /** Where it listens for the others; null: it is alone. */
  readonly address: string | null;
  /** Whether this node reaches it; itself it does. */
  readonly reached: boolean;
  /** Why not. */
  readonly why: string | null;
}

/** A space, or (id 0, without a name) the names of all spaces. */
export interface SpaceView {
  readonly id: number;
  readonly name: string;
  /** The node that leads it, as far as this one knows. */
  readonly leader: string | null;
  readonly term: number;
  /** Of this node's replica. */
  readonly appliedIndex: number;
  readonly keys: number;
  /** Only on the leader: how many entries the others are behind. */
  readonly lags: readonly { readonly node: string; readonly entries: number }[];
  /** Why it serves nothing here; null: it does. */
  readonly stopped: string | null;
}

/** Makes it of what the engine says. */
export function clusterView({ engine, node, peers }: Statistics): ClusterView {
  const { cluster } = engine;
  const standings = new Map(peers?.nodes.map((standing) => [standing.node, standing]));
  const members = (cluster?.members ?? [{ node: engine.node, address: null }]).map(
    (member): MemberView => {
      if (member.node === engine.node) return { ...member, reached: true, why: null };
      const { reached = false, why = "not heard of yet" } = standings.get(member.node) ?? {};
      return { ...member, reached, why };
    },
  );
  const serving = node.shards.map(
    (shard): SpaceView => ({
      id: shard.group,
      name: shard.name,
      leader: shard.ledBy,
      term: shard.term,
      appliedIndex: shard.appliedIndex,
      keys: shard.keys,
      lags: shard.lags,
      stopped: null,
    }),
  );
  const stopped = node.stopped.map(
    ({ group, name, why }): SpaceView => ({
      id: group,
      name,
      leader: null,
      term: 0,
      appliedIndex: 0,
      keys: 0,
      lags: [],
      stopped: why,
    }),
  );
  // A stopped shard is among the others too.
  const halted = new Set(stopped.map(({ id }) => id));
  const spaces = [...serving.filter(({ id }) => !halted.has(id)), ...stopped];
  return {
    cluster: cluster?.cluster ?? null,
    node: engine.node,
    members,
    spaces: spaces.sort((a, b) => a.id - b.id),
  };
}
