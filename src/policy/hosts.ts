/** Host names and addresses: which are loopback, which can't be rebound, how they are written. */

import { isIP } from "node:net";

/** `[::1]` and `::1` alike; lower case; without the dot that ends an absolute name. */
export function normaliseHost(host: string): string {
  const bare = host.startsWith("[") && host.endsWith("]") ? host.slice(1, -1) : host;
  const lower = bare.toLowerCase();
  return lower.endsWith(".") ? lower.slice(0, -1) : lower;
}

/** Does this name or address reach only this machine? */
export function isLoopbackHost(host: string): boolean {
  const name = normaliseHost(host);
  if (name === "localhost" || name.endsWith(".localhost")) return true;
  switch (isIP(name)) {
    case 4:
      return name.startsWith("127.");
    case 6:
      return isLoopbackIpv6(name);
    default:
      return false;
  }
}

function isLoopbackIpv6(address: string): boolean {
  if (/^(?:0{1,4}:){7}0{0,3}1$/.test(address) || /^(?:0{0,4}:){1,7}:?0{0,3}1$/.test(address)) {
    return true;
  }
  return /^::ffff:(?:127\.|7f[0-9a-f]{2}:)/.test(address);
}

/** An address in digits: a page's name can't be rebound to it. */
export function isAddress(host: string): boolean {
  return isIP(normaliseHost(host)) !== 0;
}

/** Host and port as they stand in a URL: `127.0.0.1:7400`, `[::1]:7400`. */
export function formatAddress(host: string, port: number): string {
  const name = normaliseHost(host);
  return `${isIP(name) === 6 ? `[${name}]` : name}:${port}`;
}

/** The host of a `Host` header, without its port; undefined if it is malformed. */
export function hostOfHeader(header: string): string | undefined {
  const match = /^(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::\d{1,5})?$/.exec(header);
  return match?.[1] === undefined ? undefined : normaliseHost(match[1]);
}
