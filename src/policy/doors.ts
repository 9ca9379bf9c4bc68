/**
 * From where a browser may come in: the `Host` it believes to talk to (against DNS rebinding) and
 * the `Origin` of the page that speaks (against pages that use what the browser's user may reach).
 */

import { hostOfHeader, isAddress, isLoopbackHost, normaliseHost } from "./hosts.js";

export interface DoorPolicy {
  /** Host the listener is bound to. */
  readonly host: string;
  readonly hasTokens: boolean;
  readonly allowedHosts: readonly string[];
  readonly allowedOrigins: readonly string[];
}

export class Doors {
  readonly #loopback: boolean;
  readonly #checkHost: boolean;
  readonly #hosts: ReadonlySet<string>;
  readonly #origins: ReadonlySet<string>;

  constructor({ host, hasTokens, allowedHosts, allowedOrigins }: DoorPolicy) {
    this.#loopback = isLoopbackHost(host);
    // With tokens and off loopback a rebound page has neither the token nor a certificate for us.
    this.#checkHost = this.#loopback || !hasTokens || allowedHosts.length > 0;
    this.#hosts = new Set([host, ...allowedHosts].map(normaliseHost));
    this.#origins = new Set(allowedOrigins.map(normaliseOrigin));
  }

  /** May a request with this `Host` header come in? An empty header is none. */
  admitsHost(header: string): boolean {
    if (!this.#checkHost) return true;
    const host = hostOfHeader(header);
    if (host === undefined) return false;
    if (this.#hosts.has(host)) return true;
    // An address in digits can't be rebound, so off loopback it is as good as a known name.
    return this.#loopback ? isLoopbackHost(host) : isAddress(host);
  }

  /**
   * May a page of this `Origin` connect? No header means that no browser speaks. Without an
   * allow-list: pages served from this very host, and on loopback pages of this machine.
   */
  admitsOrigin(origin: string, hostHeader: string): boolean {
    if (origin === "") return true;
    if (this.#origins.size > 0) {
      return this.#origins.has("*") || this.#origins.has(normaliseOrigin(origin));
    }
    let url: URL;
    try {
      url = new URL(origin);
    } catch {
      return false;
    }
    if (url.protocol !== "http:" && url.protocol !== "https:") return false;
    if (this.#loopback && isLoopbackHost(url.hostname)) return true;
    return url.host.toLowerCase() === hostHeader.toLowerCase();
  }
}

function normaliseOrigin(origin: string): string {
  return origin.toLowerCase().replace(/\/$/, "");
}
