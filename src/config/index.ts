/** Configuration: defaults < file < environment < flags. */

export {
  ConfigError,
  type DescribedSetting,
  describeConfig,
  FILE_DEFAULT,
  type Loaded,
  type LoadOptions,
  loadConfig,
  type Origin,
} from "./load.js";
export { type Config, type NamedSetting, SETTINGS, type TokenSetting } from "./schema.js";
export { formatDuration, formatSize, parseDuration, parseSize } from "./units.js";
