import { addU64, encode } from "../../src/protocol/builder.js";
import { buildSingle, FrameKind, type OwnBytes } from "../../src/protocol/frame.js";
import * as field from "../../src/protocol/generated/fields.js";
import type { Welcome } from "../../src/protocol/hello.js";

/** Builds a `welcome` frame, for tests that stand in for a server; real ones do so in Rust. */
export function buildWelcome(welcome: Welcome): OwnBytes {
  const { limits } = welcome;
  const payload = encode((builder) => {
    const session = builder.createByteVector(welcome.session);
    builder.startObject(field.LIMITS_FIELDS);
    addU64(builder, field.LIMITS_SESSION_TTL_MS, limits.sessionTtlMs, "sessionTtlMs");
    builder.addFieldInt32(field.LIMITS_OUTSTANDING_BYTES_MAX, limits.outstandingBytesMax, 0);
    builder.addFieldInt32(field.LIMITS_WINDOW, limits.window, 0);
    builder.addFieldInt32(field.LIMITS_GUARDS_MAX, limits.guardsMax, 0);
    builder.addFieldInt32(field.LIMITS_OPERATIONS_MAX, limits.operationsMax, 0);
    builder.addFieldInt32(field.LIMITS_VALUE_BYTES_MAX, limits.valueBytesMax, 0);
    builder.addFieldInt32(field.LIMITS_KEY_BYTES_MAX, limits.keyBytesMax, 0);
    builder.addFieldInt32(field.LIMITS_TRANSACTION_BYTES_MAX, limits.transactionBytesMax, 0);
    builder.addFieldInt32(field.LIMITS_FRAME_BYTES_MAX, limits.frameBytesMax, 0);
    const limitsAt = builder.endObject();
    builder.startObject(field.WELCOME_FIELDS);
    addU64(builder, field.WELCOME_NODE, welcome.node, "node");
    addU64(builder, field.WELCOME_SERVER_TIME_MS, welcome.serverTimeMs, "serverTimeMs");
    addU64(builder, field.WELCOME_EPOCH, welcome.epoch, "epoch");
    builder.addFieldInt32(field.WELCOME_DEFAULT_SPACE, welcome.defaultSpace, 0);
    builder.addFieldOffset(field.WELCOME_LIMITS, limitsAt, 0);
    builder.addFieldOffset(field.WELCOME_SESSION, session, 0);
    builder.addFieldInt16(field.WELCOME_VERSION, welcome.version, 0);
    builder.addFieldInt16(field.WELCOME_VERSION_MIN, welcome.versions.min, 0);
    builder.addFieldInt16(field.WELCOME_VERSION_MAX, welcome.versions.max, 0);
    builder.addFieldInt8(field.WELCOME_RESUMED, Number(welcome.resumed), 0);
    return builder.endObject();
  });
  return buildSingle(FrameKind.welcome, payload);
}
