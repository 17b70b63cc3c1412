/** What a program of the end-to-end benchmark tells when its work is done. */

import { readFileSync } from 'node:fs'

/**
 * Prints what this process has used since its start: seconds of CPU time, and its highest resident size.
 * @param {{ events: number, commits: number }} done
 */
export function tellUse(done) {
  const { user, system } = process.cpuUsage()
  const peakKb = Number(/VmHWM:\s*(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1])
  console.log(JSON.stringify({ done: { ...done, cpu: (user + system) / 1e6, peakMib: peakKb / 1024 } }))
}
