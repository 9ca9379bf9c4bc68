/** Watches the process for the metrics: how late its event loop runs, what it uses. */

import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";
import type { Statistics } from "../engine/index.js";
import type { Counters } from "../gateway/index.js";
import { type ProcessFigures, renderMetrics } from "./metrics.js";

/** How often the loop's lateness is sampled. */
const RESOLUTION_MS = 20;

const NANOSECONDS = 1e9;
const MICROSECONDS = 1e6;

export class ProcessProbe {
  readonly #delay: IntervalHistogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  readonly #startSeconds = Date.now() / 1000 - process.uptime();

  constructor() {
    this.#delay.enable();
  }

  /** The metrics' text; the event loop's delays begin anew with it. */
  render(source: {
    readonly version: string;
    readonly counters: Counters | undefined;
    readonly statistics: Statistics | undefined;
  }): string {
    return renderMetrics({ ...source, process: this.#figures() });
  }

  close(): void {
    this.#delay.disable();
  }

  #figures(): ProcessFigures {
    const { user, system } = process.cpuUsage();
    const delay = this.#delay;
    // A sample includes the pause it was planned for.
    const late = (ns: number) => Math.max(0, ns / NANOSECONDS - RESOLUTION_MS / 1000);
    const quantile = (percent: number) => late(delay.count === 0 ? 0 : delay.percentile(percent));
    const eventLoopDelay = {
      p50: quantile(50),
      p99: quantile(99),
      max: late(delay.count === 0 ? 0 : delay.max),
    };
    delay.reset();
    return {
      startSeconds: this.#startSeconds,
      residentBytes: process.memoryUsage.rss(),
      heapUsedBytes: process.memoryUsage().heapUsed,
      cpuSeconds: (user + system) / MICROSECONDS,
      eventLoopDelay,
    };
  }
}
