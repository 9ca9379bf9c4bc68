/**
 * Whether a server that runs serves: found out by going the whole way, when asked, at most once a
 * second, and not while clients' writes go it anyway.
 */

import type { Readiness } from "../admin/index.js";
import type { Engine, Statistics } from "../engine/index.js";
import type { Gateway } from "../gateway/index.js";
import type { ErrorName } from "../protocol/generated/errors.js";

/** What the server is doing; only one that is serving may be ready. */
export type Stage = "starting" | "serving" | "draining" | "failed";

/** How long an answer holds, and how fresh a client's write must be to stand for ours. */
const FRESH_MS = 1_000;

/** A server that takes longer for one small write and read is not ready. */
const ATTEMPT_TIMEOUT_MS = 2_000;

/**
 * The write was judged as any other, and only its Idempotency-Key stood against it: there is no room for
 * one, or a server of another version used it just before.
 */
const PASSED: ReadonlySet<ErrorName> = new Set(["sessions_full", "request_id_conflict"]);

/** A space that serves nothing; its name is empty where it can't be told. */
interface Stopped {
  readonly group: number;
  readonly name: string;
}

export class ReadinessCheck {
  readonly #engine: Pick<Engine, "control" | "report">;
  readonly #gateway: Pick<Gateway, "probe" | "progressMs">;
  #answer: Promise<Readiness> | undefined;
  #askedMs = 0;

  constructor(
    engine: Pick<Engine, "control" | "report">,
    gateway: Pick<Gateway, "probe" | "progressMs">,
  ) {
    this.#engine = engine;
    this.#gateway = gateway;
  }

  /** The answer of this second. Rejects never. */
  ask(): Promise<Readiness> {
    const nowMs = performance.now();
    if (this.#answer === undefined || nowMs - this.#askedMs >= FRESH_MS) {
      this.#askedMs = nowMs;
      this.#answer = this.#find(nowMs);
    }
    return this.#answer;
  }

  async #find(nowMs: number): Promise<Readiness> {
    const statistics = await this.#statistics();
    if (statistics === undefined) return notReady("the engine does not answer");
    const { shards, diskLow } = statistics.node;
    const stopped = this.#stopped(statistics);
    const serving = shards.find(({ damage }) => damage === null);
    if (serving === undefined) return notReady(`every space is stopped${listed(stopped)}`);
    if (nowMs - this.#gateway.progressMs < FRESH_MS) return ready("ready", stopped);
    const { write, read } = await this.#gateway.probe(serving.group, ATTEMPT_TIMEOUT_MS);
    if (!read.ok) return notReady(`a read failed: ${describe(read.failure)}`);
    if (write.ok || PASSED.has(write.failure.code)) return ready("ready", stopped);
    if (diskLow && write.failure.code === "overloaded") {
      return ready("ready for reads; the disk is full, writes are refused", stopped);
    }
    return notReady(`a write failed: ${describe(write.failure)}`);
  }

  /** Spaces that serve nothing: those that are told now, and those the start found and nobody tells of. */
  #stopped({ node: { shards } }: Statistics): readonly Stopped[] {
    const told = new Set(shards.map(({ group }) => group));
    const found = this.#engine.report.recovery.damagedShards.filter(
      ({ group }) => !told.has(group),
    );
    return [
      ...shards.filter(({ damage }) => damage !== null),
      ...found.map(({ group }) => ({ group, name: "" })),
    ].sort((a, b) => a.group - b.group);
  }

  /** Undefined where the engine does not answer in time, or can't be asked. */
  #statistics(): Promise<Statistics | undefined> {
    return new Promise((resolve) => {
      const timer = setTimeout(() => resolve(undefined), ATTEMPT_TIMEOUT_MS);
      this.#engine
        .control("statistics")
        .catch(() => undefined)
        .then((statistics) => {
          clearTimeout(timer);
          resolve(statistics);
        });
    });
  }
}

function ready(text: string, stopped: readonly Stopped[]): Readiness {
  return { ready: true, text: stopped.length === 0 ? text : `${text}; stopped${listed(stopped)}` };
}

function notReady(why: string): Readiness {
  return { ready: false, text: `unavailable: ${why}` };
}

/** `: the names of spaces (group 0), default (group 1), group 7` */
function listed(stopped: readonly Stopped[]): string {
  if (stopped.length === 0) return "";
  const names = stopped.map(({ group, name }) => {
    const shown = group === 0 ? "the names of spaces" : name;
    return shown === "" ? `group ${group}` : `${shown} (group ${group})`;
  });
  return `: ${names.join(", ")}`;
}

function describe({ code, message }: { readonly code: ErrorName; readonly message?: string }) {
  return message === undefined || message === "" ? code : `${code} (${message})`;
}
