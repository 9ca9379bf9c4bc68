/** `POST /v1/transactions`: one transaction in JSON, carried out once. */

import type { Principal } from "../../policy/index.js";
import { ProtocolError } from "../../protocol/error.js";
import type { Reply } from "../../protocol/frame.js";
import { HTTP_BODY_BYTES_MAX, IDEMPOTENCY_KEY_BYTES_MAX } from "../../protocol/generated/limits.js";
import { answerToJson, type NamedTransaction, parseTransaction } from "../../protocol/json.js";
import { locate } from "../../protocol/locate.js";
import { encodeTransaction, isWrite } from "../../protocol/transaction.js";
import { MEMORY_RETRY_MS } from "../memory.js";
import type { HttpContext } from "./door.js";
import type { Exchange, Failure } from "./exchange.js";
import { submitToSpace } from "./spaces.js";

const utf8Bytes = new TextEncoder();

export async function postTransaction(
  context: HttpContext,
  exchange: Exchange,
  principal: Principal,
): Promise<void> {
  const body = await exchange.readBody(HTTP_BODY_BYTES_MAX);
  if (!body.ok) {
    exchange.fail(bodyProblem(body.code), true);
    return;
  }
  const read = readTransaction(body.bytes);
  if (!("space" in read)) {
    exchange.fail(read);
    return;
  }
  const writes = [...read.then, ...(read.otherwise ?? [])].some(isWrite);
  const { idempotencyKey } = exchange.request;
  const refusal = writes ? judgeWrite(principal, idempotencyKey) : undefined;
  if (refusal !== undefined) {
    exchange.fail(refusal);
    return;
  }
  const answer = await submitToSpace(context, exchange, read.space, {
    caller: principal,
    encode: (space) =>
      encodeTransaction({
        space,
        guards: read.guards,
        then: read.then,
        otherwise: read.otherwise,
        // What only reads is neither recorded nor repeated.
        idempotencyKey: writes ? utf8Bytes.encode(idempotencyKey) : undefined,
      }),
  });
  if (answer.ok) respond(exchange, read, answer.reply);
  else exchange.fail(located(answer.failure, read));
}

/** The failure with all that is known of its place. */
function located(failure: Failure, transaction: NamedTransaction): Failure {
  const { operation, guard, key } = locate(failure.code, failure, transaction);
  return {
    ...failure,
    ...(operation !== undefined && { operation }),
    ...(guard !== undefined && { guard }),
    ...(key !== undefined && { key }),
  };
}

function respond(exchange: Exchange, transaction: NamedTransaction, reply: Reply): void {
  exchange.respondJson(200, answerToJson(transaction, reply), [["Cache-Control", "no-store"]]);
}

function bodyProblem(code: "too_large" | "overloaded" | "aborted"): Failure {
  switch (code) {
    case "too_large":
      return { code, message: `a body has at most ${HTTP_BODY_BYTES_MAX} bytes` };
    case "overloaded":
      return {
        code,
        message: "the memory that is kept for clients is used up",
        retryAfterMs: MEMORY_RETRY_MS,
      };
    case "aborted":
      return { code };
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true });

function readTransaction(body: Uint8Array): NamedTransaction | Failure {
  let text: string;
  try {
    text = utf8.decode(body);
  } catch {
    return { code: "invalid_request", message: "the body is not UTF-8" };
  }
  try {
    return parseTransaction(text);
  } catch (error) {
    if (!(error instanceof ProtocolError)) throw error;
    return { code: "invalid_request", message: error.message };
  }
}

function judgeWrite(principal: Principal, idempotencyKey: string): Failure | undefined {
  if (principal.access === "read") {
    return { code: "forbidden", message: "this token may only read" };
  }
  if (idempotencyKey === "") return { code: "idempotency_key_required" };
  if (utf8Bytes.encode(idempotencyKey).length > IDEMPOTENCY_KEY_BYTES_MAX) {
    const message = `an Idempotency-Key has at most ${IDEMPOTENCY_KEY_BYTES_MAX} bytes`;
    return { code: "invalid_request", message };
  }
  return undefined;
}
