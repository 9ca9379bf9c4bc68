/**
 * The typed face of the native addon, and the only room that loads it.
 *
 * Frames do not pass through native calls: both sides read and write one block of memory with two
 * rings in it (rings.ts). What does pass is not hot, and JSON.
 */

export { EngineError, type EngineOptions } from "./addon.js";
export { type Engine, openEngine } from "./engine.js";
export { type OfflineReplies, type OfflineRequest, offline } from "./offline.js";
export { callerPrefix } from "./prefixes.js";
export type * from "./reports.js";
export { RecordKind, type Visit } from "./rings.js";
