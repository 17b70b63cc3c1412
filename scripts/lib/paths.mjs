/** Places that every script needs. No dependencies: scripts run before anything is installed. */

import { homedir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

export const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), '..', '..')

/** What outlives a clone: compiled crates and Python environments. */
export const CACHE_DIR = join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'kafka2delta')

/** Compiled crates are shared between clones; a build from nothing takes half an hour on two cores. */
export const TARGET_DIR = process.env.CARGO_TARGET_DIR || join(CACHE_DIR, 'target')

/** What the scripts remember of this clone. */
export const STATE_DIR = join(ROOT, 'node_modules', '.cache', 'kafka2delta')

/** The environment of every process that calls cargo. */
export const cargoEnv = () => ({ ...process.env, CARGO_TARGET_DIR: TARGET_DIR })

/** Compiles the simulation with an engine of its own, in half the time that full optimisation takes. */
export const SIMULATION = ['kafka2delta', 'kafka2delta-simulation']
  .flatMap((name) => ['--config', `profile.release.package.${name}.opt-level=1`])
  .concat('-p', 'kafka2delta-simulation')

/** In CI the lock file must be right; elsewhere whoever changes Cargo.toml gets it updated. */
export const LOCKED = process.env.CI ? ['--locked'] : []
