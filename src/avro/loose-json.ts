/** JSON as Kafka Connect writes it in headers: also with control characters in texts, and with words of other kinds. */

import { fault } from './wire.js'

/** A value without quotes, as it is written: a number, a date, `NaN`. 64-bit numbers would lose digits otherwise. */
export class Word {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

export type Loose = null | boolean | string | Word | Loose[] | Map<string, Loose>

const CONTROL = /[^\u0020-\uffff]/g

/** Deeper ones are no keys. */
const MAX_DEPTH = 100

class LooseReader {
  #at = 0
  readonly #text: string

  constructor(text: string) {
    this.#text = text
  }

  /** @throws DecodeFault where the text is not one value */
  read(): Loose {
    const value = this.#value(0)
    this.#blank()
    return this.#at === this.#text.length ? value : this.#bad()
  }

  #bad(): never {
    return fault(`it is not JSON at the character ${this.#at + 1}`)
  }

  #blank(): void {
    while (' \t\r\n'.includes(this.#text[this.#at] ?? 'end')) this.#at++
  }

  /** Passes over the character, with blanks before it, where it is there. */
  #take(character: string): boolean {
    this.#blank()
    if (this.#text[this.#at] !== character) return false
    this.#at++
    return true
  }

  #value(depth: number): Loose {
    if (depth > MAX_DEPTH) fault('it is nested too deeply')
    if (this.#take('{')) return this.#members(depth)
    if (this.#take('[')) return this.#items(depth)
    return this.#text[this.#at] === '"' ? this.#quoted() : this.#word()
  }

  #members(depth: number): Map<string, Loose> {
    const members = new Map<string, Loose>()
    if (this.#take('}')) return members
    do {
      this.#blank()
      const name = this.#quoted()
      if (!this.#take(':') || members.has(name)) this.#bad()
      members.set(name, this.#value(depth + 1))
    } while (this.#take(','))
    return this.#take('}') ? members : this.#bad()
  }

  #items(depth: number): Loose[] {
    const items: Loose[] = []
    if (this.#take(']')) return items
    do items.push(this.#value(depth + 1))
    while (this.#take(','))
    return this.#take(']') ? items : this.#bad()
  }

  #quoted(): string {
    const start = this.#at
    if (this.#text[start] !== '"') this.#bad()
    let end = start + 1
    while (end < this.#text.length && this.#text[end] !== '"') end += this.#text[end] === '\\' ? 2 : 1
    const escaped = (control: string) => `\\u${control.charCodeAt(0).toString(16).padStart(4, '0')}`
    try {
      const value = JSON.parse(this.#text.slice(start, end + 1).replace(CONTROL, escaped)) as string
      this.#at = end + 1
      return value
    } catch {
      return this.#bad()
    }
  }

  #word(): Loose {
    const word = /[^\s,\]}["{]*/y
    word.lastIndex = this.#at
    const text = word.exec(this.#text)?.[0] ?? ''
    if (text === '') this.#bad()
    this.#at += text.length
    return text === 'null' ? null : text === 'true' ? true : text === 'false' ? false : new Word(text)
  }
}

/** @throws DecodeFault where the text is not one value */
export function parseLoose(text: string): Loose {
  return new LooseReader(text).read()
}

const STRUCT = /^Struct\{([^={},]+=[^={},]*(?:,[^={},]+=[^={},]*)*)\}$/

/** A Connect struct as its `toString` writes it, with words alone: texts would have no end. Null for another text. */
export function parseStruct(text: string): Loose | null {
  const fields = STRUCT.exec(text)?.[1]
  if (fields === undefined) return null
  const pairs = fields.split(',').map((field) => field.split('=') as [string, string])
  return new Map(
    pairs.map(([name, word]) => [name, word === 'true' ? true : word === 'false' ? false : new Word(word)]),
  )
}
