/**
 * Closed by default (Promise 12): a listener that others can reach starts only with tokens and
 * TLS, unless it is told otherwise in these words.
 */

import { isLoopbackHost } from "./hosts.js";

/** What `allow_insecure` must say. */
export const INSECURE_WORDS = "yes, without protection";

export interface Listener {
  /** The section of the configuration: `clients` or `admin`. */
  readonly section: string;
  readonly host: string;
  readonly hasTokens: boolean;
  readonly hasTls: boolean;
  readonly allowInsecure: string;
}

export type Exposure =
  | { readonly verdict: "safe" }
  /** Started in spite of what is missing; to be logged as a warning. */
  | { readonly verdict: "insecure"; readonly warning: string }
  | { readonly verdict: "refused"; readonly problem: string };

/** May this listener start? */
export function judgeExposure(listener: Listener): Exposure {
  const { section, host, hasTokens, hasTls, allowInsecure } = listener;
  const key = `${section}.allow_insecure`;
  if (allowInsecure !== "" && allowInsecure !== INSECURE_WORDS) {
    return { verdict: "refused", problem: `${key} must be "${INSECURE_WORDS}", or absent` };
  }
  if (isLoopbackHost(host)) return { verdict: "safe" };
  const missing = [
    ...(hasTokens ? [] : ["a token (auth.tokens)"]),
    ...(hasTls ? [] : [`TLS (${section}.tls_cert and ${section}.tls_key)`]),
  ].join(" and ");
  if (missing === "") return { verdict: "safe" };
  if (allowInsecure === INSECURE_WORDS) {
    return {
      verdict: "insecure",
      warning: `${section} listens on ${host}, which others can reach, without ${missing}`,
    };
  }
  return {
    verdict: "refused",
    problem:
      `${section}.host is ${host}, which others can reach: that needs ${missing}. ` +
      `To do without, set ${key} = "${INSECURE_WORDS}"`,
  };
}
