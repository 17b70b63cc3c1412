/** How errors are shown, and what the command's exit code is. */

import pc from 'picocolors'
import { causes } from '../delta/addon.js'
import { asKafkaToDeltaError, type ErrorCode, KafkaToDeltaError } from '../errors.js'

type Colors = Pick<ReturnType<typeof pc.createColors>, 'red' | 'bold' | 'dim' | 'cyan'>

/** What to do, where the message does not say it. */
const HINTS: Partial<Record<ErrorCode, string>> = {
  CONFIG_INVALID: 'all options: resources/kafka2delta.schema.json, which editors read too',
  KAFKA_UNREACHABLE:
    'check kafka.brokers and, for TLS, kafka.ssl; listeners must be reachable by the names they advertise',
  KAFKA_AUTH: 'check kafka.sasl and the rights of its user',
  REGISTRY_UNREACHABLE: 'check schemaRegistry.url',
  REGISTRY_AUTH: 'check schemaRegistry.auth',
  TOPIC_NOT_FOUND: "check the topic's name under tables, and that the connector has written to it",
  DATA_LOSS: 'take a new snapshot of the table with Debezium, then run with failOnDataLoss: false once',
  BAD_RECORD: 'onBadRecord: skip counts such messages and goes on',
  STORAGE: 'check the path and storageOptions; what was committed stays, the next start goes on after it',
  STORAGE_DENIED: 'check the rights on the path and storageOptions',
  FENCED: 'each query of a table needs a queryName of its own and runs once',
  INTERNAL: 'this is a defect of kafka2delta: please report it with the output of --verbose',
}

function positionText(error: KafkaToDeltaError): string {
  const { position } = error
  const parts: string[] = []
  for (const name of ['topic', 'partition', 'offset', 'table', 'version', 'column', 'schemaId'] as const) {
    if (position[name] !== undefined) parts.push(`${name} ${position[name]}`)
  }
  return parts.join(', ')
}

/** An error for people: code, message, position, causes, what to do; stacks only where asked for. */
export function formatError(thrown: unknown, options: { verbose?: boolean; colors?: Colors } = {}): string {
  const colors = options.colors ?? pc
  const error = asKafkaToDeltaError(thrown)
  const lines = [`${colors.red(colors.bold(`error ${error.code}:`))} ${error.message}`]
  const position = positionText(error)
  if (position !== '') lines.push(`  at ${position}`)
  const said = [error.message]
  for (const cause of causes(error).slice(1)) {
    const text = cause instanceof Error ? cause.message : String(cause)
    // A wrapper often repeats what it wraps.
    if (text === '' || said.some((message) => message.includes(text))) continue
    said.push(text)
    const code = cause instanceof Error && 'code' in cause && typeof cause.code === 'string' ? `${cause.code}: ` : ''
    lines.push(`  ${colors.dim('caused by')} ${code}${text}`)
  }
  const hint = HINTS[error.code]
  if (hint) lines.push(`  ${colors.cyan('hint:')} ${hint}`)
  if (options.verbose) {
    for (const cause of causes(error)) if (cause instanceof Error && cause.stack) lines.push(colors.dim(cause.stack))
  }
  return lines.join('\n')
}

/** The exit code of the command for an error. */
export function exitCodeOf(error: unknown): number {
  return error instanceof KafkaToDeltaError ? error.exitCode : 1
}
