/** Prints the comparison: a table for people, or TAP for scripts/test.mjs. */

export class Report {
  readonly #tap: boolean
  readonly #verbose: boolean
  #passed = 0
  #failed = 0
  #skipped = 0

  constructor({ tap, verbose }: { tap: boolean; verbose: boolean }) {
    this.#tap = tap
    this.#verbose = verbose
    if (tap) console.log('TAP version 13')
  }

  /** What goes on. */
  say(text: string): void {
    console.log(this.#tap ? `# ${text}` : `▸ ${text}`)
  }

  /** A long step's own words. */
  progress(text: string): void {
    if (this.#verbose)
      for (const line of text.split('\n').filter(Boolean)) console.log(this.#tap ? `# ${line}` : `  ${line}`)
  }

  title(text: string): void {
    if (!this.#tap) console.log(`\n${text}\n`)
  }

  topic(id: string, { columns, rows, differ }: { columns: number; rows: number; differ: number }): void {
    if (this.#tap) return
    const differing = differ > 0 ? `, ${differ} listed or new differences` : ''
    console.log(`${id}: ${columns} columns equal, ${rows} rows of ours${differing}`)
  }

  /** `shown`: said without --verbose, too. */
  passed(title: string, detail: string, shown = false): void {
    this.#passed++
    if (this.#tap) console.log(`ok ${this.#number()} - ${title}`)
    else if (shown || this.#verbose) console.log(`  ✔ ${title}  ${detail}`)
  }

  failed(title: string, detail: string): void {
    this.#failed++
    const indented = detail.replace(/^/gm, '    ')
    console.log(this.#tap ? `not ok ${this.#number()} - ${title}\n${indented}` : `  ✘ ${title}\n${indented}`)
  }

  skipped(title: string, why: string): void {
    this.#skipped++
    console.log(this.#tap ? `ok ${this.#number()} - ${title} # SKIP ${why}` : `  - ${title}: ${why}`)
  }

  /** The last line, and the exit code. */
  end(): void {
    if (this.#tap) console.log(`1..${this.#number()}`)
    else console.log(`\n${this.#passed} passed, ${this.#failed} failed, ${this.#skipped} skipped`)
    process.exitCode = this.#failed > 0 || this.#passed === 0 ? 1 : 0
  }

  #number(): number {
    return this.#passed + this.#failed + this.#skipped
  }
}
