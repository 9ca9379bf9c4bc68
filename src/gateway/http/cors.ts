/** Answers browsers' questions whether a page may speak to this server over HTTP. */

import type { Headers } from "./exchange.js";

/** Seconds for which a browser remembers a preflight's answer. */
const PREFLIGHT_MAX_AGE_S = 600;

/** What a page of an admitted origin may see; nothing where no browser speaks. */
export function corsHeaders(origin: string): Headers {
  if (origin === "") return [];
  return [
    ["Access-Control-Allow-Origin", origin],
    ["Vary", "Origin"],
    [
      "Access-Control-Expose-Headers",
      "ETag, Retry-After, Domp-Revision, Domp-Created, Domp-Modified, Domp-Version, Domp-Kind, Domp-Expires-In",
    ],
  ];
}

/** The answer to the `OPTIONS` request a browser sends ahead. */
export function preflightHeaders(methods: string): Headers {
  return [
    ["Access-Control-Allow-Methods", methods],
    ["Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key"],
    ["Access-Control-Max-Age", String(PREFLIGHT_MAX_AGE_S)],
  ];
}
