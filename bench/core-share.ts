/** A cgroup that holds processes together to one core's share of the processor. */

import { existsSync } from "node:fs";
import { mkdir, readFile, rmdir, writeFile } from "node:fs/promises";
import path from "node:path";

const PERIOD_US = 100_000;

/** Where the cpu controller may be, by version of cgroups. */
const ROOTS = [
  { root: "/sys/fs/cgroup", marker: "cgroup.controllers", version: 2 },
  { root: "/sys/fs/cgroup/unified", marker: "cgroup.controllers", version: 2 },
  { root: "/sys/fs/cgroup/cpu", marker: "cpu.cfs_quota_us", version: 1 },
  { root: "/sys/fs/cgroup/cpu,cpuacct", marker: "cpu.cfs_quota_us", version: 1 },
] as const;

export class CoreShare {
  readonly #directory: string;

  private constructor(directory: string) {
    this.#directory = directory;
  }

  /** Undefined where this machine has no cpu cgroup that we may use. */
  static async make(): Promise<CoreShare | undefined> {
    for (const { root, marker, version } of ROOTS) {
      if (!existsSync(path.join(root, marker))) continue;
      const directory = path.join(root, `domp-bench-${process.pid}`);
      try {
        if (version === 2) await enableCpu(root);
        await mkdir(directory);
      } catch {
        continue;
      }
      try {
        if (version === 2) {
          await writeFile(path.join(directory, "cpu.max"), `${PERIOD_US} ${PERIOD_US}`);
        } else {
          await writeFile(path.join(directory, "cpu.cfs_period_us"), String(PERIOD_US));
          await writeFile(path.join(directory, "cpu.cfs_quota_us"), String(PERIOD_US));
        }
        return new CoreShare(directory);
      } catch {
        await rmdir(directory);
      }
    }
    return undefined;
  }

  /** Takes a process in, with all threads it has and will have. */
  async add(pid: number): Promise<void> {
    await writeFile(path.join(this.#directory, "cgroup.procs"), String(pid));
  }

  /** To be called when its processes have ended. */
  async remove(): Promise<void> {
    await rmdir(this.#directory);
  }
}

/** Lets groups below the root have shares of the processor. */
async function enableCpu(root: string): Promise<void> {
  const file = path.join(root, "cgroup.subtree_control");
  if (!(await readFile(file, "utf8")).split(/\s+/).includes("cpu")) await writeFile(file, "+cpu");
}
