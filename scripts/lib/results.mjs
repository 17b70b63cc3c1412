/** Reads what test runners print: numbers of tests, and what failed. */

import { lineReader } from './process.mjs'

/**
 * @typedef {{ passed: number, failed: number, skipped: number, failures: string[] }} Results
 * @typedef {{ feed: (text: string) => void, results: Results }} Reader
 */

const nothing = () => ({ passed: 0, failed: 0, skipped: 0, failures: [] })

/** TAP, as ava prints it: one line a test, then indented details of a failure. @returns {Reader} */
export function tapReader(onTest = (_line) => {}) {
  const results = nothing()
  let details = null
  const feed = lineReader((line) => {
    const test = /^(not )?ok \d+ - (.*?)(?: # (SKIP|TODO).*)?$/.exec(line)
    if (test) {
      details = null
      if (test[3]) results.skipped++
      else if (test[1]) {
        results.failed++
        details = results.failures.push(test[2]) - 1
      } else results.passed++
      onTest(line)
    } else if (/^\s*#? ?(\d+\.\.\d+|tests|pass|fail|skip)/.test(line) || line === '' || /^TAP version/.test(line)) {
      if (!/^\s/.test(line)) details = null
    } else if (details !== null && /^\s/.test(line)) results.failures[details] += `\n${line}`
    else if (/^\s*# /.test(line) || !/^\s/.test(line)) onTest(line)
  })
  return { feed, results }
}

/** cargo test: a closing line for each binary. @returns {Reader} */
export function cargoReader() {
  const results = nothing()
  let inFailures = false
  const feed = lineReader((line) => {
    const total = /^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored/.exec(line)
    if (total) {
      results.passed += Number(total[1])
      results.failed += Number(total[2])
      results.skipped += Number(total[3])
    }
    if (line === 'failures:') inFailures = true
    if (total) inFailures = false
    if (inFailures && line !== 'failures:' && line.trim()) results.failures.push(line)
  })
  return { feed, results }
}

/** Python's unittest. @returns {Reader} */
export function unittestReader() {
  const results = nothing()
  let ran = 0
  const feed = lineReader((line) => {
    const total = /^Ran (\d+) tests?/.exec(line)
    if (total) ran = Number(total[1])
    const end = /^(OK|FAILED)(?: \((.*)\))?$/.exec(line)
    if (end) {
      const count = (name) => Number(new RegExp(`${name}=(\\d+)`).exec(end[2] ?? '')?.[1] ?? 0)
      results.failed = Math.min(ran, count('failures') + count('errors'))
      results.skipped = count('skipped')
      results.passed = ran - results.failed - results.skipped
    }
    if (/^(FAIL|ERROR): /.test(line)) results.failures.push(line)
  })
  return { feed, results }
}
