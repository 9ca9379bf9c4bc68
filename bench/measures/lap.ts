/**
 * What the log writes to the disk for a byte of frames, once its segments are used again: making a
 * segment writes it whole, using it again does not.
 */

import type { LoadProcess } from "../load.js";
import { progress } from "../progress.js";
import { rounded, type Value } from "../rows.js";
import { sumOfMetric } from "../systems/domp.js";

const FRAME_BYTES = "domp_node_log_written_bytes_total";
const DISK_BYTES = "domp_node_log_disk_bytes_total";

/**
 * Frames after which every segment that the server keeps was made: they double from 16 MiB to 128 MiB, and
 * under such a load the log reaches a gibibyte before a snapshot gives them back; another lap of them is
 * under way meanwhile.
 */
const LAP_BYTES = 2.75 * 2 ** 30;
/** Frames that are measured after that: several segments of full length. */
const MEASURED_BYTES = 0.75 * 2 ** 30;
/** Fewer may lie within one segment, whose making or using again would be all that is seen. */
const MEASURED_BYTES_MIN = 0.25 * 2 ** 30;
/** A disk on which that takes longer is left alone. */
const PATIENCE_MS = 120_000;

/** Both counters of the log at one moment; undefined where the server does not tell. */
export interface LogBytes {
  readonly frames: number | undefined;
  readonly disk: number | undefined;
}

/** Reads both from the text of `/metrics`. */
export function logBytes(metrics: string): LogBytes {
  return { frames: sumOfMetric(metrics, FRAME_BYTES), disk: sumOfMetric(metrics, DISK_BYTES) };
}

/** The values of the row, from the counters after the first lap and after some more. */
export function lapValues(lap: LogBytes | undefined, end: LogBytes): Record<string, Value> {
  const none = (reason: string) => ({ disk_bytes_per_log_byte: null, disk_bytes_reason: reason });
  if (end.disk === undefined) return none(`the server does not tell ${DISK_BYTES}`);
  if (end.frames === undefined) return none(`the server does not tell ${FRAME_BYTES}`);
  const frames = end.frames - (lap?.frames ?? end.frames);
  if (lap?.disk === undefined || lap.frames === undefined || frames < MEASURED_BYTES_MIN) {
    return none("the log did not come round in time");
  }
  return {
    disk_bytes_per_log_byte: rounded((end.disk - lap.disk) / frames),
    lap_log_bytes: frames,
    // Of all that was written since the start: the segments that had to be made are in it.
    first_disk_bytes_per_log_byte: rounded(lap.disk / lap.frames),
  };
}

/** Loads the server until its log has come round, and somewhat longer. */
export async function measureLap(
  load: LoadProcess,
  windowS: number,
  metrics: () => Promise<string>,
): Promise<Record<string, Value>> {
  const begunMs = performance.now();
  let lap: LogBytes | undefined;
  let now = logBytes(await metrics());
  const until = async (frames: number): Promise<boolean> => {
    while ((now.frames ?? frames) < frames) {
      if (performance.now() - begunMs > PATIENCE_MS) return false;
      await load.window(0, windowS);
      now = logBytes(await metrics());
    }
    return true;
  };
  if (now.frames === undefined || now.disk === undefined) return lapValues(undefined, now);
  if (await until(LAP_BYTES)) {
    lap = now;
    progress("recovery: the log has come round once");
    // As far as there was time for: a shorter stretch is a stretch, too.
    await until((lap.frames ?? 0) + MEASURED_BYTES);
    progress("recovery: and goes on");
  }
  return lapValues(lap, now);
}
