import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { ProtocolError } from "../../src/protocol/error.js";
import type { Reply } from "../../src/protocol/frame.js";
import {
  answerToJson,
  type NamedTransaction,
  parseTransaction,
  resultToJson,
  transactionFromJson,
  transactionToJson,
} from "../../src/protocol/json.js";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** Every guard and operation, with every field. */
const EVERYTHING = {
  space: "games",
  if: [
    { exists: { key: "a" } },
    { absent: { key: { base64: "/wA=" } } },
    { version: { key: "a", version: 0 } },
    { modified: { key: "a", revision: "113246208000000000" } },
    { modified_at_most: { key: "a", revision: "18446744073709551615" } },
    { value: { key: "a", value: "" } },
    { value: { key: "a", value: 7 } },
    { value: { key: "a", value: { base64: "gA==" } } },
    { at_least: { key: "a", number: { number: "-9223372036854775808" } } },
    { unchanged: { from: "", revision: "1", count: 0 } },
    { unchanged: { from: "a", to: "b", revision: "1", count: 4096 } },
  ],
  then: [
    { get: { key: "a" } },
    { range: { from: "" } },
    { range: { from: "a", to: "b", limit: 3, reverse: true, keys_only: false } },
    { count: { from: "a" } },
    { put: { key: "a", value: "grüße" } },
    { put: { key: "a", value: { number: "9007199254740992" }, expire_after_ms: 5 } },
    { delete: { key: "a" } },
    { delete_range: { from: "", to: "z" } },
    { add: { key: "a", number: -1, floor: 0, ceiling: 10 } },
    { append: { key: "a", value: "more" } },
  ],
  else: [],
};

describe("a JSON transaction", () => {
  it("reads every guard and operation", () => {
    const { space, guards, then, otherwise } = transactionFromJson(EVERYTHING);
    assert.equal(space, "games");
    assert.deepEqual(guards[1], { kind: "absent", key: Uint8Array.of(0xff, 0) });
    assert.deepEqual(guards[4], {
      kind: "modifiedAtMost",
      key: bytes("a"),
      revision: 2n ** 64n - 1n,
    });
    assert.deepEqual(guards[6], { kind: "value", key: bytes("a"), value: 7n });
    assert.deepEqual(guards[8], { kind: "atLeast", key: bytes("a"), number: -(2n ** 63n) });
    assert.deepEqual(guards[9], {
      kind: "unchanged",
      from: bytes(""),
      to: undefined,
      revision: 1n,
      count: 0,
    });
    assert.deepEqual(then[2], {
      kind: "range",
      from: bytes("a"),
      to: bytes("b"),
      limit: 3,
      reverse: true,
      keysOnly: false,
    });
    assert.deepEqual(then[5], {
      kind: "put",
      key: bytes("a"),
      value: 2n ** 53n,
      expireAfterMs: 5,
    });
    assert.deepEqual(then[8], {
      kind: "add",
      key: bytes("a"),
      delta: -1n,
      floor: 0n,
      ceiling: 10n,
    });
    assert.deepEqual(otherwise, []);
  });

  it("is written as it was read", () => {
    assert.deepEqual(transactionToJson(transactionFromJson(EVERYTHING)), EVERYTHING);
  });

  it("may leave everything out", () => {
    const nothing = { space: "default", guards: [], then: [], otherwise: undefined };
    assert.deepEqual(transactionFromJson({}), nothing);
  });

  const refused: [what: string, json: unknown, message: RegExp][] = [
    ["an unknown part", { thn: [] }, /transaction: unknown name "thn"; did you mean "then"\?/],
    ["no object", [], /transaction: expected an object/],
    ["null", null, /transaction: expected an object/],
    ["an unknown operation", { then: [{ putt: {} }] }, /then\[0\]: .*did you mean "put"\?/],
    ["an operation far from any", { then: [{ frobnicate: {} }] }, /known are get, range/],
    ["an inherited name", { then: [{ constructor: {} }] }, /unknown name "constructor"/],
    ["two operations in one", { then: [{ get: {}, put: {} }] }, /exactly one of get/],
    ["no operation at all", { then: [{}] }, /then\[0\]: exactly one of get/],
    ["a guard among operations", { then: [{ exists: { key: "a" } }] }, /unknown name "exists"/],
    ["operations that are no list", { else: {} }, /else: a list/],
    ["an unknown field", { then: [{ put: { kye: "a" } }] }, /then\[0\]\.put: .*mean "key"\?/],
    ["a field of another kind", { then: [{ get: { key: "a", to: "b" } }] }, /unknown name "to"/],
    [
      "a missing field",
      { if: [{ version: { key: "a" } }] },
      /if\[0\]\.version: version is missing/,
    ],
    ["a deletion without bounds", { then: [{ delete_range: {} }] }, /from is missing/],
    [
      "a key that is a number",
      { then: [{ get: { key: 1 } }] },
      /then\[0\]\.get\.key: expected text/,
    ],
    ["half a character", { then: [{ get: { key: "\ud800" } }] }, /key: expected text/],
    [
      "base64 with a space",
      { then: [{ get: { key: { base64: "/w A=" } } }] },
      /base64: expected canonical/,
    ],
    [
      "base64 without padding",
      { then: [{ get: { key: { base64: "/wA" } } }] },
      /base64: expected canonical/,
    ],
    ["base64 and more", { then: [{ get: { key: { base64: "", a: 1 } } }] }, /expected text/],
    ["a fraction", { then: [{ add: { key: "a", number: 0.5 } }] }, /number: expected a whole/],
    [
      "a number beyond 2^53",
      { then: [{ add: { key: "a", number: 2 ** 53 } }] },
      /expected a whole/,
    ],
    [
      "a number beyond 64 bits",
      { then: [{ add: { key: "a", number: { number: "9223372036854775808" } } }] },
      /expected a whole/,
    ],
    [
      "a revision as a number",
      { if: [{ modified: { key: "a", revision: 5 } }] },
      /revision: expected a revision, as a string/,
    ],
    [
      "a revision beyond 64 bits",
      { if: [{ modified: { key: "a", revision: "18446744073709551616" } }] },
      /expected a revision/,
    ],
    ["a negative count", { then: [{ range: { limit: -1 } }] }, /limit: expected a whole number/],
    ["a flag that is text", { then: [{ range: { reverse: "yes" } }] }, /expected true or false/],
    [
      "a value that is null",
      { then: [{ put: { key: "a", value: null } }] },
      /value: expected text/,
    ],
    ["a space that is a number", { space: 1 }, /space: the name of a space/],
  ];
  for (const [what, json, message] of refused) {
    it(`is refused with ${what}`, () => {
      assert.throws(() => transactionFromJson(json), {
        name: "ProtocolError",
        code: "invalid_request",
        message,
      });
    });
  }

  it("says what is no JSON", () => {
    assert.throws(() => parseTransaction("{"), { code: "invalid_request", message: /^not JSON: / });
    assert.throws(() => parseTransaction('{"space": 1}'), ProtocolError);
  });

  it("does not look for the nearest name of a long one", () => {
    const name = "x".repeat(60_000);
    const message = `transaction: unknown name "${"x".repeat(64)}…"; known are space, if, then, else`;
    assert.throws(() => transactionFromJson({ [name]: 1 }), { message });
  });
});

describe("the JSON of an answer", () => {
  const reply: Reply = {
    sequence: 1,
    revision: 113246208000000000n,
    code: undefined,
    retryable: false,
    outcome: undefined,
    applied: true,
    replayed: false,
    outcomeApplied: false,
    payload: new Uint8Array(0),
  };
  const transaction: NamedTransaction = transactionFromJson({
    then: [{ put: { key: "a", value: "b" } }, { put: { key: "b", value: "c" } }],
  });

  it("has one result for each operation, even where none says anything", () => {
    assert.deepEqual(answerToJson(transaction, reply), {
      applied: true,
      revision: "113246208000000000",
      results: [{}, {}],
    });
  });

  it("has no results where nothing ran", () => {
    assert.deepEqual(answerToJson(transaction, { ...reply, applied: false, replayed: true }), {
      applied: false,
      revision: "113246208000000000",
      replayed: true,
      results: [],
    });
  });

  it("shows entries with text, bytes and numbers", () => {
    const entry = {
      key: bytes("k"),
      value: -(2n ** 60n),
      created: 2n,
      modified: 3n,
      version: 1,
      expiresInMs: undefined,
    };
    const nothing = {
      entry: undefined,
      entries: [],
      more: false,
      count: 0,
      number: undefined,
    };
    const page = resultToJson(
      { kind: "range", from: bytes(""), to: undefined },
      {
        ...nothing,
        more: true,
        entries: [
          entry,
          { ...entry, value: Uint8Array.of(0x80), expiresInMs: 9 },
          { ...entry, value: undefined },
        ],
      },
    );
    const stamps = { key: "k", created: "2", modified: "3", version: 1 };
    assert.deepEqual(page, {
      entries: [
        { ...stamps, value: { number: "-1152921504606846976" } },
        { ...stamps, value: { base64: "gA==" }, expires_in_ms: 9 },
        stamps,
      ],
      more: true,
    });
    assert.deepEqual(resultToJson({ kind: "get", key: bytes("k") }, nothing), { entry: null });
    assert.deepEqual(resultToJson({ kind: "delete", key: bytes("k") }, undefined), { count: 0 });
  });
});

it("what a lenient reader would settle silently is refused with its place", () => {
  const put = (value: string) => `{"then":[{"put":{"key":"a","value":${value}}}]}`;
  const cases: [string, RegExp][] = [
    ['{"space":"a","space":"b"}', /^space: stands twice$/],
    ['{"then":[],"th\\u0065n":[]}', /^then: stands twice$/],
    [
      '{"then":[{"get":{"key":"a"}},{"get":{"key":"a", "key" : "b"}}]}',
      /^then\[1\]\.get\.key: stands twice$/,
    ],
    ['{"then":[{"get":{"key":"a"},"get":{"key":"a"}}]}', /^then\[0\]\.get: stands twice$/],
    ['{"a b":1,"a b":2}', /^\["a b"\]: stands twice$/],
    [put("1.0"), /^then\[0\]\.put\.value: 1\.0 is not an integer$/],
    [put("1e2"), /1e2 is not an integer/],
    [put("1.00000000000000000001"), /is not an integer/],
    [put("1e-400"), /is not an integer/],
    [put('{"base64":"QQ"}'), /^then\[0\]\.put\.value\.base64: expected canonical base64/],
    [put('{"base64":"QR=="}'), /base64: expected canonical/],
    [put('{"base64":"QQ==\\n"}'), /base64: expected canonical/],
    [put('{"base64":"-_8="}'), /base64: expected canonical/],
    [put("[".repeat(60) + "]".repeat(60)), /nested more than/],
  ];
  for (const [text, expected] of cases) {
    assert.throws(
      () => parseTransaction(text),
      (error) => error instanceof ProtocolError && expected.test(error.message),
      text,
    );
  }
  const fine = parseTransaction(` { "then" : [ { "put" : { "key" : "a" , "value" : -12 } } ,
    {"put":{"key":{"base64":"QQ=="},"value":"\\"}, [1.5] \\\\"}} ] , "if" : [ ] } `);
  assert.equal(fine.then.length, 2);
});
