/** Which part of a transaction an error is about. */

import type { ErrorDetail } from "./error-detail.js";
import type { ErrorName } from "./generated/errors.js";
import type { Guard, Operation } from "./generated/operations.js";

/** The parts of a transaction that an error may be about. */
export interface Parts {
  readonly guards?: readonly Guard[] | undefined;
  readonly then?: readonly Operation[] | undefined;
  readonly otherwise?: readonly Operation[] | undefined;
}

export type Place = Pick<ErrorDetail, "operation" | "guard" | "key">;

/** Errors that always speak of one operation, if no guard is there to be spoken of. */
const OF_OPERATION: ReadonlySet<ErrorName> = new Set<ErrorName>([
  "wrong_kind",
  "number_overflow",
  "out_of_bounds",
]);

/** The place that a server told, with what it left unsaid where the transaction leaves no doubt. */
export function locate(code: ErrorName, told: Partial<Place>, parts: Parts): Place {
  const { guards = [], then = [], otherwise } = parts;
  const { guard } = told;
  const isOnly = guards.length === 0 && then.length === 1 && OF_OPERATION.has(code);
  const operation = told.operation ?? (isOnly && guard === undefined ? 0 : undefined);
  let item: Guard | Operation | undefined;
  if (guard !== undefined) item = guards[guard];
  // Of two branches, only the server knows which one ran.
  else if (operation !== undefined && otherwise === undefined) item = then[operation];
  return { operation, guard, key: told.key ?? keyOf(item) };
}

/** The key of a guard or operation, the first of its range; undefined: there is none. */
export function keyOf(item: Guard | Operation | undefined): Uint8Array | undefined {
  if (item === undefined) return undefined;
  if ("key" in item) return item.key;
  return "from" in item && item.from.length > 0 ? item.from : undefined;
}
