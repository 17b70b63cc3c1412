/** Asks many questions as one: those that come while an answer is waited for. */

export interface TogetherHost<T> {
  /** Asks for several; those that are left out of the answer are asked for alone. */
  many(names: readonly string[]): Promise<ReadonlyMap<string, T>>
  one(name: string): Promise<T>
  /** Whether an error of `many` is due to some of the names: the others are asked for again then. */
  isOfSome(error: unknown): boolean
}

/** At a time: kafkajs copies what it has of an answer for each topic of it. */
const MAX_TOGETHER = 100

interface Question<T> {
  answer: Promise<T>
  resolve(answer: T | Promise<T>): void
  reject(error: unknown): void
}

export class AskedTogether<T> {
  readonly #host: TogetherHost<T>
  readonly #waiting = new Map<string, Question<T>>()
  #isAsking = false

  constructor(host: TogetherHost<T>) {
    this.#host = host
  }

  of(name: string): Promise<T> {
    let question = this.#waiting.get(name)
    if (!question) {
      question = newQuestion<T>()
      this.#waiting.set(name, question)
      if (!this.#isAsking) void this.#askAll()
    }
    return question.answer
  }

  async #askAll(): Promise<void> {
    this.#isAsking = true
    // Many come in the same turn.
    await null
    while (this.#waiting.size > 0) {
      const questions = [...this.#waiting].slice(0, MAX_TOGETHER)
      for (const [name] of questions) this.#waiting.delete(name)
      await this.#ask(questions)
    }
    this.#isAsking = false
  }

  /** Never rejects. */
  async #ask(questions: [string, Question<T>][]): Promise<void> {
    const { many, one, isOfSome } = this.#host
    const [first] = questions
    if (questions.length === 1 && first) {
      const [name, { resolve, answer }] = first
      resolve(one(name))
      await answer.catch(() => {})
      return
    }
    try {
      const answers = await many(questions.map(([name]) => name))
      for (const [name, { resolve }] of questions) resolve(answers.get(name) ?? one(name))
    } catch (error) {
      if (!isOfSome(error)) {
        for (const [, { reject }] of questions) reject(error)
        return
      }
      const half = questions.length >> 1
      await this.#ask(questions.slice(0, half))
      await this.#ask(questions.slice(half))
    }
  }
}

function newQuestion<T>(): Question<T> {
  let [resolve, reject]: [Question<T>['resolve'], Question<T>['reject']] = [() => {}, () => {}]
  const answer = new Promise<T>((onAnswer, onError) => {
    resolve = onAnswer
    reject = onError
  })
  return { answer, resolve, reject }
}
