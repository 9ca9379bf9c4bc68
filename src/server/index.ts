/** Starting, draining and stopping a server. */

export type { ClusterView, MemberView, SpaceView } from "../admin/index.js";
export { createLogger, type Logger, type LogTarget } from "./logging.js";
export {
  ExposureError,
  type RunningServer,
  type ServerOptions,
  startServer,
} from "./server.js";
